"""The files of truth masks: from any format without loss to codes, which are values or colours."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from data.images import DAMAGED_IMAGE, open_image
from data.limits import UnreadableImage
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
    is_colour: bool
    palette: np.ndarray | None = None  # (256,) codes
    has_own_palette: bool = False


def decode_mask(path: str | Path) -> Decoded:
    """The codes of a mask file.

    Raises:
        UserError: missing, damaged, or saved with loss.
    """
    try:
        with open_image(path, "mask") as image:
            if image.format in LOSSY:
                raise MaskFault(
                    f"mask {path} is a {image.format} file, which changes values a little when it is saved; save "
                    f"masks as PNG",
                    "lossy",
                )
            image.load()
            return _codes(image, path)
    except FileNotFoundError as error:
        raise UserError(f"there is no mask {path}; expected a PNG of class values there") from error
    except UnreadableImage:
        raise
    except DAMAGED_IMAGE as error:
        raise UserError(f"mask {path} cannot be decoded (truncated or damaged): {error}; write it again") from error


def _codes(image: Image.Image, path: str | Path) -> Decoded:
    grey = np.arange(256) * 0x010101
    if image.mode == "1":
        return Decoded(np.asarray(image).astype(np.uint8), False, np.array([0, 0xFFFFFF] + [0] * 254))
    if image.mode == "L":
        return Decoded(np.array(image), False, grey)
    if image.mode == "P":
        palette = np.zeros((256, 3), np.int64)
        colours = np.array((image.getpalette("RGB") or [])[:768]).reshape(-1, 3)
        palette[: len(colours)] = colours
        return Decoded(np.array(image), False, packed(palette), has_own_palette=True)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        codes = values.astype(np.int64)
        if image.mode == "F" and not np.array_equal(codes, values):
            raise MaskFault(f"mask {path} holds fractions, expected whole class values; save it as PNG", "fractions")
        return Decoded(codes, False)
    if image.mode in ("LA", "La"):
        return Decoded(np.asarray(image)[..., 0].copy(), False, grey)
    return Decoded(packed(np.asarray(image.convert("RGB"))), True)


def packed(colours: np.ndarray) -> np.ndarray:
    """(...) int64 0xrrggbb of (..., 3)."""
    wide = colours.astype(np.int64)
    return (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]


def used_codes(codes: np.ndarray) -> list[int]:
    """The codes that occur, sorted."""
    if codes.dtype == np.uint8:
        return np.flatnonzero(np.bincount(codes.ravel(), minlength=256)).tolist()
    return np.unique(codes).tolist()
