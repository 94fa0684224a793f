"""Loops over images: read once, ahead by processes or threads, shared by all processes; Ctrl-C stops them safely."""

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from utils.console import deferred_interrupt, progress
from utils.distributed import WorkQueue, barrier
from utils.memory import give_back_memory

Item = TypeVar("Item")
T = TypeVar("T")


def read_once(
    dataset: Dataset, positions: Sequence[int], workers: int, title: str, pinned: bool = False, threads: bool = False
) -> Iterator[Any]:
    """The dataset's items at those positions, each of them in exactly one process; with a progress bar of them all.

    Ends in all processes together. `workers` is how many loader processes there are at most, or with `threads` threads
    of this process, which are there at once.
    """
    queue = WorkQueue(positions)
    workers = min(workers, len(queue))
    if threads and workers:
        items: Iterator[Any] = read_ahead(dataset.__getitem__, queue, workers)
    else:
        items = load_items(dataset, workers, sampler=queue, pin_memory=pinned)
    with progress(None, len(queue), title) as bar:
        for item in items:
            yield item
            bar.update(queue.taken - bar.n)
    barrier()


def read_ahead(
    read: Callable[[Item], T], items: Iterable[Item], count: int, begin: Callable[[], None] | None = None
) -> Iterator[T]:
    """`read` of each item, in order, by `count` threads, which read at most `count` ahead of what is asked for.

    Each thread calls `begin` first. What has not begun when the loop is left is not done.
    """
    ahead: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(count, initializer=begin)
    try:
        for item in items:
            ahead.append(pool.submit(read, item))
            if len(ahead) > count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def leave_to_main(worker: int) -> None:
    """For loader processes: Ctrl-C, which the terminal sends to all, is for the process that can keep what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def load_items(dataset: Any, workers: int, **options: Any) -> Iterator[Any]:
    """The items of a dataset or a list, from running loader processes; `options` are those of `DataLoader`.

    Python loses an exception that is raised while it starts a process. So Ctrl-C waits until they are started.
    """
    give_back_memory()  # else the system copies free memory, too, once a loader process shares it
    with deferred_interrupt() as stop:
        items = iter(DataLoader(dataset, None, num_workers=workers, worker_init_fn=leave_to_main, **options))
    if stop.is_set():
        raise KeyboardInterrupt
    return items
