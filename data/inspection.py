"""What reading images finds out: which cannot be read, which are the same, what their values and their masks are.

A series of 12 bits in files of 16 looks nearly black if nothing says so. The answer must be the same for all files of
a data set, so it is a setting, and a list of images that needs one is refused with the line to add.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from data.dataset import Index, Record, check_fit
from data.images import frames_of, read_values
from data.mask_values import MaskFacts, read_with_facts
from data.pixels import NeedsSetting, UnreadableImage, look_of, range_line, unknown_range
from utils.console import progress
from utils.errors import UserError
from utils.reading import load_items

SAMPLE = 12  # images that every opening of a list looks at, spread evenly; the check looks at all


@dataclass(frozen=True)
class Depth:
    """The values of an image of more than 8 bits; `bits` is what the file says, 0 where that gives no range."""

    bits: int
    dtype: str
    low: float
    high: float
    has_nan: bool = False


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


def depth_of(path: Path, bands: tuple[int, ...] = ()) -> Depth | None:
    """What an image holds; None where it has 8 bits or cannot be read, which its reader will say."""
    try:
        values = read_values(path, bands)
    except UnreadableImage:
        return None
    if values is None or values.bits in (1, 8):
        return None
    return Depth(values.bits, str(values.array.dtype), *values.extent(), bool(np.isnan(values.colours).any()))


def sample_depths(records: Sequence[Record]) -> list[tuple[Path, Depth]]:
    """Those of a sample of the images."""
    found = [(record.image, depth_of(record.image, record.pixels.bands)) for record in spread(records, SAMPLE)]
    return [(path, depth) for path, depth in found if depth is not None]


def spread(records: Sequence[Record], most: int) -> list[Record]:
    """At most so many of the records, spread evenly."""
    positions = np.linspace(0, len(records) - 1, min(most, len(records))).round().astype(int)
    return [records[position] for position in positions]


def series_problem(depths: Iterable[tuple[Path, Depth]], what: str) -> str:
    """What is unclear about the values of images that no `data.range` is set for; empty where nothing is.

    Args:
        what: the list, for the message.
    """
    by_bits: dict[int, list[tuple[Path, Depth]]] = {}
    for path, depth in depths:
        by_bits.setdefault(depth.bits, []).append((path, depth))
    for bits, found in sorted(by_bits.items()):
        path, first = found[0]
        low, high = min(depth.low for _, depth in found), max(depth.high for _, depth in found)
        if not bits:
            return f"{what}: images such as {path} hold {unknown_range(first.dtype, low, high)}"
        if high < 2 ** (bits - 1):
            return (
                f"{what}: images such as {path} have {bits} bits, and their values end at {high:g}, so they would look "
                f"nearly black; state the range of the whole data set, for example {range_line(0, high)} (or "
                f"[0, {2**bits - 1}] if it is right as it is), or take --set data.range=percentile"
            )
    return ""


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
