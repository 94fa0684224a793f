"""What reading every image of some lists finds out: which cannot be read, which are the same, what masks hold."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from data.dataset import Index, Record, read_mask_of
from data.images import read_image
from utils.console import progress
from utils.errors import UserError
from utils.interrupts import leave_to_main, started


@dataclass(frozen=True)
class Facts:
    """One image.

    Attributes:
        image: its file.
        size: (H, W), the right way up; (0, 0) where it cannot be read.
        content: fingerprint of its pixels; equal images have equal ones, whatever their format.
        mask_values: the values in its mask, where there is one; empty otherwise.
        problems: what cannot be read, as messages for a person.
    """

    image: Path
    size: tuple[int, int] = (0, 0)
    content: str = ""
    mask_values: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


def inspect(indexes: Iterable[Index], workers: int) -> dict[Path, Facts]:
    """Read every image once, and the mask of those whose record has one, by loader processes; by the image's file."""
    records: dict[Path, Record] = {}
    for index in indexes:
        for record in index.records:
            known = records.get(record.image)
            if known is None or known.mask is None:
                records[record.image] = record
    reader = _Reader(list(records.values()))
    loader = DataLoader(reader, batch_size=None, num_workers=min(workers, len(reader)), worker_init_fn=leave_to_main)
    return {facts.image: facts for facts in progress(started(loader), len(reader), "reading images")}


def same_content(facts: Iterable[Facts]) -> list[list[Path]]:
    """Groups of files that hold the same image."""
    groups: dict[str, list[Path]] = {}
    for one in facts:
        if one.content:
            groups.setdefault(one.content, []).append(one.image)
    return [sorted(group) for group in groups.values() if len(group) > 1]


class _Reader(Dataset):
    def __init__(self, records: list[Record]):
        self.records = records

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> Facts:
        record = self.records[position]
        try:
            image = read_image(record.image)
        except UserError as error:
            return Facts(record.image, problems=(str(error),))
        size = (image.height, image.width)
        content = hashlib.sha256(f"{size}".encode() + image.tobytes()).hexdigest()
        if record.mask is None or not record.mask.is_file():
            return Facts(record.image, size, content)
        try:
            values = np.unique(read_mask_of(record, record.mask, image))
        except UserError as error:
            return Facts(record.image, size, content, problems=(str(error),))
        return Facts(record.image, size, content, tuple(values.tolist()))
