"""From the values in an image file to 8-bit RGB: one rule for a whole data set; and how large an image may be.

An image of 8 bits needs no setting. For everything else `data.range` says what black and white are, and `data.bands`
which bands are red, green and blue. A file of a few kilobytes can unpack to more than any memory, so one over the limit
of this process (`data.max_pixels`) is refused before a pixel is decoded.
"""

import math
import os
from dataclasses import dataclass

import numpy as np

from utils.errors import UserError

MAX_PIXELS = 180_000_000  # about 13,400 a side, where Pillow draws the line, too
LIMIT = "IBBNET_MAX_PIXELS"  # in the environment, because loader processes inherit that however they are started
PERCENTILES = (1, 99)  # of `data.range=percentile`
STEP = 4  # every so many pixels are looked at, a side
DARK, LIGHT = 16, 250  # what looks black, and what looks white
MOST = 0.9  # of the pixels
FLAT = 4  # levels between the 1st and the 99th percentile
FEW_COLOURS, DRAWN = 4, "of few colours, like masks,"


class UnreadableImage(UserError):
    """An image that is missing, truncated, too large, of a type that needs a setting, or no image at all."""


class NeedsSetting(UnreadableImage):
    """An image whose values mean nothing until `setting`, `data.range` or `data.bands`, says what."""

    def __init__(self, message: str, setting: str = ""):
        super().__init__(message)
        self.setting = setting


@dataclass(frozen=True)
class PixelRule:
    """How the values of a data set become 8-bit RGB.

    `range` is (low, high) that become 0 and 255; `auto` takes what the type of the file says; `percentile` takes the
    1st and the 99th percentile of each image. `bands`, from 1 on, are red, green and blue, or one for grey; empty takes
    the file's own.
    """

    range: tuple[float, float] | str = "auto"
    bands: tuple[int, ...] = ()


AUTO = PixelRule()


@dataclass(frozen=True)
class Values:
    """The values of one file."""

    array: np.ndarray  # (H, W, B) of any type
    bits: int  # of an unsigned integer, as the file says; 0 for signed integers and floats, whose range no file says
    alpha: bool = False  # whether the last band is alpha, in the full range of its type

    @property
    def colours(self) -> np.ndarray:
        """(H, W, B) without alpha."""
        return self.array[..., :-1] if self.alpha else self.array

    def extent(self) -> tuple[float, float]:
        """The smallest and the largest finite value, alpha apart; (0, 0) where there is none."""
        finite = self.colours[np.isfinite(self.colours)]
        return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def limit_pixels(most: int) -> None:
    """Set the limit of this process and of those that it starts, `data.max_pixels`; one for all, as Pillow's own is."""
    os.environ[LIMIT] = str(most)


def most_pixels() -> int:
    """The limit that holds."""
    return int(os.environ.get(LIMIT, MAX_PIXELS))


def check_pixels(height: int, width: int, what: str) -> None:
    """Refuse what would unpack to more than the limit: an `UnreadableImage` that begins with `what`."""
    if height * width > most_pixels():
        raise too_large(what, f"{width} x {height}")


def too_large(what: str, size: str) -> UnreadableImage:
    """The error for a file that is over the limit."""
    remedy = "make it smaller, or, if you trust it, raise the limit with --set data.max_pixels=..."
    return UnreadableImage(f"{what} is of {size} pixels, above data.max_pixels ({most_pixels()}); {remedy}")


def bits_of(dtype: np.dtype) -> int:
    """The bits of an unsigned integer type up to 16, 1 for truth values, else 0: nobody fills 32 bits."""
    if dtype.kind == "b":
        return 1
    return 8 * dtype.itemsize if dtype.kind == "u" and dtype.itemsize <= 2 else 0


def to_rgb(values: Values, rule: PixelRule, what: str) -> np.ndarray:
    """(H, W, 3) uint8, alpha laid over white, NaN as the low end of the range.

    Where a setting is missing, or `data.bands` names a band that the file has not, an `UnreadableImage` names `what`.
    """
    colours = _bands(values, rule, what)
    low, high = _range(values, colours, rule, what)
    scaled = (colours.astype(np.float32) - low) * (255.0 / (high - low))
    pixels = np.clip(np.rint(np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0)), 0, 255)
    if values.alpha and not rule.bands:
        share = values.array[..., -1:].astype(np.float32) / (2**values.bits - 1)
        pixels = np.rint(pixels * share + 255 * (1 - share))
    return np.repeat(pixels.astype(np.uint8), 3 // pixels.shape[2], axis=2)


def look_of(pixels: np.ndarray) -> str:
    """What is wrong with the look of an image (H, W, 3) uint8; empty where nothing is."""
    some = pixels[::STEP, ::STEP]
    low, high = np.percentile(some, PERCENTILES)
    if (some.max(axis=2) < DARK).mean() > MOST:
        return "nearly black"
    if (some.min(axis=2) >= LIGHT).mean() > MOST:
        return "nearly white"
    if high - low < FLAT:
        return "flat"
    colours = np.unique(some.astype(np.int64) @ [1, 256, 65536])
    return DRAWN if len(colours) <= FEW_COLOURS and some.size > 100 else ""


def unknown_range(dtype: np.dtype | str, low: float, high: float) -> str:
    """The end of a sentence on values whose range no file says, with the option to add."""
    remedy = range_remedy(range_line(low, high))
    return f"{dtype} values, here {low:g} to {high:g}, and nothing says which of them are black and white; {remedy}"


def range_remedy(example: str) -> str:
    """What to do where the range of a data set is not clear."""
    return f"state the range of the whole data set, for example {example}, or take --set data.range=percentile"


def range_line(low: float, high: float) -> str:
    """The option that states a range in which these values lie, as it is typed: whole powers of two, or 0..1."""
    if low < 0 or (high > 1 and high != int(high) and not 128 <= high <= 255):  # up to 255: those of 8 bits, averaged
        low, high = np.floor(low), np.ceil(high)
    else:
        low, high = 0, 1 if high <= 1 else 2 ** math.ceil(high).bit_length() - 1
    return f"--set 'data.range=[{low:g}, {high:.10g}]'"


def _bands(values: Values, rule: PixelRule, what: str) -> np.ndarray:
    """(H, W, 1 or 3): the bands to look at."""
    count = values.array.shape[2]
    if rule.bands and max(rule.bands) > count:
        asked = f"and data.bands asks for band {max(rule.bands)}; name bands in 1..{count}"
        raise UnreadableImage(f"{what} has {count} bands, {asked} with --set 'data.bands=[...]'")
    if rule.bands:
        return values.array[..., [band - 1 for band in rule.bands]]
    if values.colours.shape[2] in (1, 3):
        return values.colours
    unclear = f"has {count} bands, and nothing says which of them are red, green and blue"
    example = f"for example --set 'data.bands={'[3, 2, 1]' if count > 2 else '[1]'}'"
    raise NeedsSetting(f"{what} {unclear}; name three of them, or one for grey, {example}", "data.bands")


def _range(values: Values, colours: np.ndarray, rule: PixelRule, what: str) -> tuple[float, float]:
    if rule.range == "percentile":
        finite = colours[np.isfinite(colours)]
        low, high = (float(value) for value in np.percentile(finite, PERCENTILES)) if finite.size else (0.0, 1.0)
        return (low, high) if high > low else (low, low + 1.0)
    if not isinstance(rule.range, str):
        return rule.range
    if not values.bits:
        raise NeedsSetting(f"{what} holds {unknown_range(values.array.dtype, *values.extent())}", "data.range")
    return 0.0, float(2**values.bits - 1)
