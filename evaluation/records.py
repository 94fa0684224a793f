"""Reading something of every image of a list once, shared by all processes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from data.dataset import Index, Record
from utils.reading import read_once

FEW = 500  # images, up to which loader processes take longer to start than they save, and threads do


@dataclass
class Groups(Dataset):
    """Of each `size` records, the position of the first and what `read` makes of them."""

    records: Sequence[Record]
    read: Callable[..., Any]
    size: int = 1

    def __len__(self) -> int:
        return -(-len(self.records) // self.size)

    def __getitem__(self, number: int) -> tuple[int, Any]:
        first = number * self.size
        return first, self.read(*self.records[first : first + self.size])


def read_records(
    index: Index, read: Callable[..., Any], workers: int, title: str, size: int = 1
) -> Iterator[tuple[int, Any]]:
    """The position of each record and the result of `read`, in exactly one process; `size` records at a time."""
    groups = Groups(index.records, read, size)
    return read_once(groups, range(len(groups)), workers, title, threads=len(index) <= FEW)
