"""The files of truth masks: from any format without loss to codes, which are values or colours."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import DAMAGED_IMAGE, open_image
from utils.errors import UserError

LOSSY = frozenset({"JPEG", "MPO", "AVIF", "HEIF", "JPEG2000"})  # a value of 3 may come back as 2


class MaskFault(UserError):
    """A mask that cannot be read as class values; `kind` is the same for faults that have one cause in many masks."""

    def __init__(self, message: str, kind: str = ""):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Decoded:
    """Codes (H, W): values, or colours as 0xrrggbb; `palette` has the colour of each value, where there is one."""

    codes: np.ndarray
    is_colour: bool = False
    palette: np.ndarray | None = None  # (256,) codes
    has_own_palette: bool = False

    def keys(self, code: int) -> list[str]:
        """What a setting may call a code: `255` or `#rrggbb`; both where the file has both, its own first."""
        if self.is_colour:
            return [colour_key(code), *([str(code & 255)] if code == (code & 255) * 0x010101 else [])]
        return [str(code), *([colour_key(int(self.palette[code]))] if self.palette is not None else [])]


@contextmanager
def opened_mask(path: str | Path) -> Iterator[Image.Image]:
    """An opened mask file.

    Raises:
        UserError: missing, too large or damaged.
    """
    try:
        with open_image(path, "mask") as image:
            yield image
    except FileNotFoundError as error:
        raise UserError(f"there is no mask {path}; expected a palette or grey PNG of class values there") from error
    except DAMAGED_IMAGE as error:
        raise UserError(f"mask {path} cannot be decoded (truncated or damaged): {error}; write it again") from error


def decode_mask(path: str | Path) -> Decoded:
    """The codes of a mask file.

    Raises:
        UserError: missing, damaged, or saved with loss.
    """
    with opened_mask(path) as image:
        if image.format in LOSSY:
            change = f"is a {image.format} file, which changes values a little when it is saved"
            raise MaskFault(f"mask {path} {change}; save masks as PNG", "lossy")
        if image.mode in ("1", "L", "LA", "La"):
            values = np.atleast_3d(np.array(image).astype(np.uint8))[..., 0]
            greys = np.arange(256) * (0xFFFFFF if image.mode == "1" else 0x010101)
            return Decoded(values.copy(), palette=greys)
        if image.mode == "P":
            palette = np.zeros((256, 3), np.int64)
            colours = np.array((image.getpalette("RGB") or [])[:768]).reshape(-1, 3)
            palette[: len(colours)] = colours
            return Decoded(np.array(image), palette=packed(palette), has_own_palette=True)
        if image.mode == "F" or image.mode.startswith("I"):
            values = np.asarray(image)
            codes = values.astype(np.int64)
            if not np.array_equal(codes, values):
                raise MaskFault(f"mask {path} holds fractions, expected class values; save it as PNG", "fractions")
            return Decoded(codes)
        return Decoded(packed(np.asarray(image.convert("RGB"))), is_colour=True)


def packed(colours: np.ndarray) -> np.ndarray:
    """(...) int64 0xrrggbb of (..., 3)."""
    return colours.astype(np.int64) @ np.array([0x10000, 0x100, 1])


def colour_key(code: int) -> str:
    """A colour as `#rrggbb`."""
    return f"#{code:06x}"


def used_codes(codes: np.ndarray) -> list[int]:
    """The codes that occur, sorted."""
    if codes.dtype == np.uint8:
        return np.flatnonzero(np.bincount(codes.ravel(), minlength=256)).tolist()
    return np.unique(codes).tolist()
