"""The loop of the stages that look at every picture once: read ahead by loader processes, shared by all of torchrun's."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import DataLoader, Dataset

from utils.allocator import give_back_memory
from utils.console import progress
from utils.distributed import WorkQueue, barrier
from utils.interrupts import leave_to_main, started


def read_once(
    dataset: Dataset, positions: Sequence[int], workers: int, title: str, *, pin_memory: bool = False
) -> Iterator[Any]:
    """The dataset's items at those positions, each of them in exactly one process; with a progress bar of them all.

    Ends in all processes together, once all that was made of the items is there.

    Args:
        positions: the same in all processes.
        workers: loader processes, as far as there is work for so many.
        pin_memory: so that copies to a GPU need not be waited for.
    """
    queue = WorkQueue(positions)
    give_back_memory()  # else the system copies what is free, too, once a loader process shares it
    loader = DataLoader(
        dataset,
        sampler=queue,
        batch_size=None,
        num_workers=min(workers, len(queue)),
        pin_memory=pin_memory,
        worker_init_fn=leave_to_main,
    )
    items = started(loader)
    with progress(None, len(queue), title) as bar:
        for item in items:
            yield item
            bar.update(queue.taken - bar.n)
    barrier()
