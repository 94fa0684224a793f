"""What reading every image of some lists finds out: which cannot be read, which are the same, what masks hold."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from data.dataset import Index, Record, check_fit
from data.images import frames_of
from data.mask_values import MaskFacts, read_with_facts
from data.pixels import NeedsSetting, look_of
from data.series import Depth, depth_of
from utils.console import progress
from utils.errors import UserError
from utils.reading import load_items


@dataclass(frozen=True)
class Facts:
    """One image.

    Attributes:
        image: its file.
        size: (H, W), upright; (0, 0) where it cannot be read.
        content: fingerprint of its pixels; equal images have equal ones, whatever their format.
        brightness: `nearly black`, `nearly white` or `flat`, as the network sees it; else empty.
        depth: its values, where they are not of 8 bits.
        frames: how many images the file holds.
        mask: what its mask holds, where there is one.
        needs: that `data.bands` is missing, as a message; a missing range is one message for all images.
        problems: what else cannot be read, as messages for a person.
    """

    image: Path
    size: tuple[int, int] = (0, 0)
    content: str = ""
    brightness: str = ""
    depth: Depth | None = None
    frames: int = 1
    mask: MaskFacts | None = None
    needs: str = ""
    problems: tuple[str, ...] = ()


def inspect(indexes: Iterable[Index], workers: int) -> dict[Path, Facts]:
    """Read every image once, and the mask of those whose record has one, by loader processes; by the image's file."""
    reader = _Reader(records_of(indexes))
    items = load_items(reader, min(workers, len(reader)))
    return {facts.image: facts for facts in progress(items, len(reader), "reading images")}


def records_of(indexes: Iterable[Index]) -> list[Record]:
    """Every image once, with its mask where a list has it."""
    found: dict[Path, Record] = {}
    for index in indexes:
        for record in index.records:
            if record.image not in found or record.mask is not None:
                found[record.image] = record
    return list(found.values())


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
        depth = depth_of(record.image, record.pixels.bands)
        try:
            image = record.read_image()
        except NeedsSetting as error:
            return Facts(record.image, depth=depth, needs=str(error) if error.setting == "data.bands" else "")
        except UserError as error:
            return Facts(record.image, problems=(str(error),))
        size = (image.height, image.width)
        content = hashlib.sha256(f"{size}".encode() + image.tobytes()).hexdigest()
        frames = 1 if record.pixels.bands else frames_of(record.image)
        mask: MaskFacts | None = None
        problems: tuple[str, ...] = ()
        if record.mask is not None and record.mask.is_file():
            values, mask = read_with_facts(record.mask, record.truth, record.labels)
            try:
                if values is not None:
                    check_fit(record, record.mask, values, image)
            except UserError as error:
                mask, problems = None, (str(error),)
        facts = Facts(record.image, size, content, look_of(np.asarray(image)), depth, frames)
        return replace(facts, mask=mask, problems=problems)
