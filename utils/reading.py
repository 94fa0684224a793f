"""The loop of the stages that look at every image once: read ahead by loader processes or threads, shared by all of torchrun's."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch.utils.data import DataLoader, Dataset

from utils.allocator import give_back_memory
from utils.console import progress
from utils.distributed import WorkQueue, barrier
from utils.interrupts import leave_to_main, started


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
        threads: of this process in place of loader processes: they are there at once, and decoding a file lets the others run.
    """
    queue = WorkQueue(positions)
    workers = min(workers, len(queue))
    if threads and workers:
        items = _read_by_threads(dataset, queue, workers)
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


def _read_by_threads(dataset: Dataset, queue: WorkQueue, count: int) -> Iterator[Any]:
    """Items in the queue's order, of which `count` are being read ahead."""
    ahead: deque[Future] = deque()
    with ThreadPoolExecutor(count) as pool:
        for position in queue:
            ahead.append(pool.submit(dataset.__getitem__, position))
            if len(ahead) > count:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
