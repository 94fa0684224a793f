"""The loop of stages that read every image once: read ahead by processes or threads, shared by all processes."""

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
    dataset: Dataset,
    positions: Sequence[int],
    workers: int,
    title: str,
    *,
    pin_memory: bool = False,
    threads: bool = False,
) -> Iterator[Any]:
    """The dataset's items at those positions, each of them in exactly one process; with a progress bar of them all.

    Ends in all processes together, once all that was made of the items is there.

    Args:
        positions: the same in all processes.
        workers: loader processes, as far as there is work for so many.
        pin_memory: so that copies to a GPU need not be waited for.
        threads: of this process in place of loader processes: they are there at once, and decoding a file lets the
            others run.
    """
    queue = WorkQueue(positions)
    workers = min(workers, len(queue))
    if threads and workers:
        items: Iterator[Any] = read_ahead(dataset.__getitem__, queue, workers)
    else:
        give_back_memory()  # else the system copies what is free, too, once a loader process shares it
        loader = DataLoader(
            dataset,
            sampler=queue,
            batch_size=None,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=leave_to_main,
        )
        items = started(loader)
    with progress(None, len(queue), title) as bar:
        for item in items:
            yield item
            bar.update(queue.taken - bar.n)
    barrier()


def read_ahead(read: Callable[[Item], T], items: Iterable[Item], count: int) -> Iterator[T]:
    """`read` of each item, in order, by `count` threads, which read at most `count` ahead of what is asked for."""
    ahead: deque[Future[T]] = deque()
    with ThreadPoolExecutor(count) as pool:
        for item in items:
            ahead.append(pool.submit(read, item))
            if len(ahead) > count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def leave_to_main(worker: int) -> None:
    """For loader processes: Ctrl-C, which the terminal sends to all, is for the process that can keep what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def started(loader: DataLoader) -> Iterator[Any]:
    """The loader's items, its processes running.

    Python loses an exception that is raised while it starts a process, so that Ctrl-C then would be ignored; it waits
    here.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    with deferred_interrupt() as stop:
        items = iter(loader)
    if stop.is_set():
        raise KeyboardInterrupt
    return items
