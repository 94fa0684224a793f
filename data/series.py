"""Images of more than 8 bits: is it clear what their values mean?

A series of 12 bits in files of 16 looks nearly black if nothing says so. The answer must be the same for all files of
a data set, so it is a setting, and a list of images that needs one is refused with the line to add.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.dataset import Record
from data.images import read_values
from data.limits import UnreadableImage
from data.pixels import range_line, unknown_range

SAMPLE = 12  # images that every opening of a list looks at, spread evenly; the check looks at all


@dataclass(frozen=True)
class Depth:
    """The values of an image of more than 8 bits; `bits` is what the file says, 0 where that gives no range."""

    bits: int
    dtype: str
    low: float
    high: float
    has_nan: bool = False


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
    positions = np.unique(np.linspace(0, len(records) - 1, min(SAMPLE, len(records))).round().astype(int))
    chosen = [records[position] for position in positions]
    found = [(record.image, depth_of(record.image, record.pixels.bands)) for record in chosen]
    return [(path, depth) for path, depth in found if depth is not None]


def series_problem(depths: Iterable[tuple[Path, Depth]], what: str) -> str:
    """What is unclear about the values of a list of images that no `data.range` is set for; empty where nothing is.

    Args:
        what: the list, for the message.
    """
    unknown = [(path, depth) for path, depth in depths if not depth.bits]
    if unknown:
        low, high = min(depth.low for _, depth in unknown), max(depth.high for _, depth in unknown)
        return f"{what}: images such as {unknown[0][0]} hold {unknown_range(np.dtype(unknown[0][1].dtype), low, high)}"
    for bits in sorted({depth.bits for _, depth in depths}):
        of_bits = [(path, depth) for path, depth in depths if depth.bits == bits]
        highest = max(depth.high for _, depth in of_bits)
        if highest < 2 ** (bits - 1):
            return (
                f"{what}: images such as {of_bits[0][0]} have {bits} bits, and their values end at {highest:g}, so "
                f"they would look "
                f"nearly black; state the range of the whole data set, for example {range_line(0, highest)} (or "
                f"[0, {2**bits - 1}] if it is right as it is), or take --set data.range=percentile"
            )
    return ""
