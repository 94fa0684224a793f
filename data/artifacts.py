"""The files that stages hand to each other: seeds (`ID.npz`) and masks (`ID.png`, palette, 255 = ignore).

A seed file holds `classes` (K,) int64, `maps` (K, h, w) uint8 at stride 4 with 0..255 meaning 0..1, and `size` (H, W)
of the image. Both kinds hold the names of all classes of their data: a seed as `class_names` (JSON as uint8), a mask as
the text `class_names` of the PNG. Files of other programs and of older versions hold no names, and are accepted.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from data.images import orientation_of
from data.mask_values import grey_values, opened_mask, voc_palette
from data.pixels import check_pixels
from data.tiff import upright
from utils.errors import UserError
from utils.files import atomic_path
from utils.ignore import IGNORE
from utils.names import visible

SEED_STRIDE = 4
SHOWN_NAMES = 12  # in a message
CLASS_NAMES = "class_names"  # the key of both kinds
MOST_NAMES = 1 << 18  # bytes that the names of all classes may take
HEADER = 1024  # bytes that the header of an array may take; numpy writes 128


@dataclass(frozen=True)
class Seed:
    """Activation maps of one image."""

    classes: np.ndarray  # (K,) class indices, 0 is the first foreground class
    maps: np.ndarray  # (K, h, w) float32 in 0..1 with h = ceil(H / 4), w = ceil(W / 4)
    size: tuple[int, int]  # (H, W) of the image


def seed_size(height: int, width: int) -> tuple[int, int]:
    """Height and width of a seed's maps for an image of that size."""
    return -(-height // SEED_STRIDE), -(-width // SEED_STRIDE)


def check_class_names(found: Sequence[str], expected: Sequence[str], what: str) -> None:
    """Refuse an artifact whose classes are others than the data's, or the same in another order: a `UserError`."""
    if list(found) == list(expected):
        return
    order = ", in this order" if sorted(found) == sorted(expected) else ""
    known = f"expected {_shown_names(expected)}{order}"
    remedy = "run train.py without --stages, which makes it again, or give the data or the network that it is for"
    raise UserError(f"{what} was made for the classes {_shown_names(found)}{order}; {known}; {remedy}")


def _shown_names(names: Sequence[str]) -> str:
    shown = ", ".join(visible(name[:40]) for name in names[:SHOWN_NAMES])
    return f"{shown}{', ...' if len(names) > SHOWN_NAMES else ''} ({len(names)} in all)"


def write_seed(path: str | Path, seed: Seed, class_names: Sequence[str] = ()) -> None:
    """Write a seed of data with these classes; maps are rounded to 1/255; `ValueError` unless (K, h, w) at stride 4."""
    if seed.maps.shape != (len(seed.classes), *seed_size(*seed.size)):
        raise ValueError(f"maps {seed.maps.shape} do not fit {len(seed.classes)} classes of an image {seed.size}")
    maps = np.clip(np.rint(seed.maps * 255), 0, 255).astype(np.uint8)
    arrays = {"classes": np.asarray(seed.classes, np.int64), "maps": maps, "size": np.asarray(seed.size, np.int64)}
    if class_names:
        arrays[CLASS_NAMES] = np.frombuffer(_names_as_text(class_names).encode(), np.uint8)
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)


def read_seed(path: str | Path, class_names: Sequence[str] | None = None) -> Seed:
    """Read a seed file; `class_names` are those of the data that it is read for, None where any will do.

    One that is missing, damaged, not a seed file, or of other classes is a `UserError`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            height, width = _read_array(archive, "size", np.int64, (2,)).tolist()
            if min(height, width) < 1:
                raise ValueError(f"an image of {width} x {height} pixels")
            check_pixels(height, width, f"the image of seed file {path}")
            classes = _read_array(archive, "classes", np.int64, None)
            if not all(0 <= value < IGNORE for value in classes.tolist()):
                raise ValueError(f"classes {classes.tolist()[:5]}")
            maps = _read_array(archive, "maps", np.uint8, (len(classes), *seed_size(height, width)))
            own = None
            if class_names is not None and f"{CLASS_NAMES}.npy" in archive.namelist():
                own = _names_of_text(_read_array(archive, CLASS_NAMES, np.uint8, None, MOST_NAMES).tobytes())
    except FileNotFoundError as error:
        remedy = "run the stage that writes it: python train.py --stages seeds"
        raise UserError(f"there is no seed file {path}; {remedy}") from error
    except UserError:
        raise
    except Exception as error:  # for damaged bytes numpy and zipfile raise whatever Python has
        what = f"is damaged or of another kind ({type(error).__name__}: {error})"
        raise UserError(f"seed file {path} {what}; delete it and run train.py again, which makes it") from error
    if own is not None and class_names is not None:
        check_class_names(own, class_names, f"seed file {path}")
    elif class_names is not None and classes.size and classes.max() >= len(class_names):
        known = f"the data has classes 0..{len(class_names) - 1}: {_shown_names(class_names)}"
        raise UserError(f"seed file {path} has class {classes.max()}; {known}; name the data that it was made for")
    return Seed(classes, maps.astype(np.float32) / 255, (height, width))


def _names_as_text(names: Sequence[str]) -> str:
    return json.dumps(list(names), separators=(",", ":"))


def _names_of_text(text: str | bytes) -> list[str]:
    try:
        names = json.loads(text)
    except RecursionError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"'{CLASS_NAMES}' is no list of names")
    return names


def _read_array(
    archive: zipfile.ZipFile, name: str, dtype: type, shape: tuple[int, ...] | None, most_values: int = IGNORE
) -> np.ndarray:
    """An array of that type and shape (None: a vector of at most `most_values`); no more than that is unpacked."""
    info = archive.getinfo(f"{name}.npy")
    most = math.prod(shape or (most_values,)) * np.dtype(dtype).itemsize
    if info.file_size > most + HEADER:
        raise ValueError(f"'{name}' unpacks to {info.file_size} bytes, expected at most {most}")
    array = np.lib.format.read_array(io.BytesIO(archive.read(info)), allow_pickle=False)
    if array.dtype != dtype or (array.shape != shape if shape else array.ndim != 1):
        raise ValueError(f"'{name}' is {array.dtype} {array.shape}, expected {np.dtype(dtype)} {shape or '(K,)'}")
    return array


def write_mask(
    path: str | Path, mask: np.ndarray, palette: np.ndarray | None = None, class_names: Sequence[str] = ()
) -> None:
    """Write an (H, W) mask of class values 0..255 as palette PNG; `ValueError` where there are others.

    `palette` (N, 3) has the colours of the first N values, the others have VOC's; `class_names` are of those from 1 on.
    """
    values = np.asarray(mask)
    if values.size and not 0 <= values.min() <= values.max() <= 255:
        raise ValueError(f"mask values must be in 0..255, found {values.min()}..{values.max()}")
    image = Image.fromarray(values.astype(np.uint8))
    colours = voc_palette().copy()  # all 256, because a short palette makes a PNG of fewer bits, which loses the 255
    if palette is not None:
        colours[: len(palette)] = palette
    image.putpalette(colours.tobytes())
    metadata = PngImagePlugin.PngInfo()
    if class_names:
        metadata.add_text(CLASS_NAMES, _names_as_text(class_names))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", pnginfo=metadata)


def read_mask(path: str | Path, class_names: Sequence[str] | None = None) -> np.ndarray:
    """Read a palette or grey mask as (H, W) uint8 class values; `class_names` as for `read_seed`.

    One that is missing, damaged, a colour image, or of other classes is a `UserError`.
    """
    with opened_mask(path) as image:
        if image.mode not in ("P", "L", "1"):
            expected = "expected one channel of class values: save it as palette or grey PNG"
            raise UserError(f"mask {path} is an image of mode {image.mode}; {expected}")
        values = upright(grey_values(image)[1], orientation_of(image))
        if class_names is not None and (own := _names_in(image)):
            check_class_names(own, class_names, f"mask {path}")
        return values


def names_in_mask(path: str | Path) -> list[str]:
    """The classes of the values from 1 on that a mask was written with; none where it does not say."""
    with opened_mask(path) as image:
        return _names_in(image)


def _names_in(image: Image.Image) -> list[str]:
    own = image.info.get(CLASS_NAMES)
    return _names_of_text(own) if isinstance(own, str) else []


def count_pixels(masks: Iterable[np.ndarray]) -> np.ndarray:
    """(3,) int64: how many pixels of the masks are background, are ignored, and all."""
    counts = ((np.count_nonzero(mask == 0), np.count_nonzero(mask == IGNORE), mask.size) for mask in masks)
    return sum(map(np.array, counts), np.zeros(3, np.int64))
