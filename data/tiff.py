"""TIFF files that Pillow does not read in full: several bands, more than 8 bits in colour, floats in colour.

`tifffile` reads them, and `imagecodecs` what is packed or compressed; both are extras.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.pixels import UnreadableImage, Values, bits_of, check_pixels

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and big, of both byte orders
BITS, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA, FORMAT, NO_DATA = 258, 262, 274, 277, 338, 339, 42113  # tags
PALETTE, INK, LUMA, UNSIGNED = 3, 5, (6, 8), 1  # photometric meanings that Pillow converts, and a sample format
ALPHA = (1, 2)  # extra samples that are alpha
MOST_PAGES = 64  # that are taken for bands


def is_plain(image: Image.Image) -> bool:
    """Whether Pillow gives all that an opened TIFF holds: 8 bits of grey, palette, RGB or ink, alpha or not."""
    tags: Any = getattr(image, "tag_v2", {})
    bits, samples = tags.get(BITS, (1,)), int(tags.get(SAMPLES, 1))
    kinds = tags.get(FORMAT, (UNSIGNED,))
    photometric = tags.get(PHOTOMETRIC, 1)
    if max(bits) > 8 or set(kinds) - {UNSIGNED, 4}:
        return False
    if photometric in (PALETTE, INK, *LUMA):
        return True
    extra = tags.get(EXTRA, ())
    return samples in (1, 3) or (samples in (2, 4) and len(extra) == 1 and extra[0] in ALPHA)


def read_tiff(path: str | Path, bands: tuple[int, ...] = ()) -> Values:
    """All bands of the first image in a TIFF file.

    Where `bands` asks for more bands than an image of the file has, the images of the file are the bands. A file that
    needs a package which is not there, is too large or damaged is an `UnreadableImage`.
    """
    with _opened(path) as file:
        page = file.pages[0]
        check_pixels(page.imagelength * -(-page.samplesperpixel // 4), page.imagewidth, f"image {path}")
        array = _last(page.asarray(), page.axes)
        last = max(bands, default=1)
        if array.shape[2] < last <= min(len(file.pages), MOST_PAGES):
            array = np.concatenate([_last(p.asarray(), p.axes) for p in file.pages[:last]], axis=2)
        bits = page.bitspersample if bits_of(array.dtype) else 0
        alpha = bool(bits) and array.shape[2] in (2, 4) and tuple(page.extrasamples) in ((1,), (2,))
        if page.photometric == 0:  # white is zero
            array = (2**bits - 1 if bits else array.max(initial=0)) - array
        elif not alpha:
            array = with_gaps(array, page.tags.valueof(NO_DATA, ""))
        return Values(upright(array, page.tags.valueof(ORIENTATION, 1)), bits, alpha)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, ...) turned as the tag of TIFF and EXIF says; 1, and what is none, leaves it as it is."""
    array = array.swapaxes(0, 1) if orientation in (5, 6, 7, 8) else array
    array = array[::-1] if orientation in (3, 4, 7, 8) else array
    return np.ascontiguousarray(array[:, ::-1] if orientation in (2, 3, 6, 7) else array)


def with_gaps(array: np.ndarray, no_data: object) -> np.ndarray:
    """An array with NaN where it has the value that a GeoTIFF's tag calls no data."""
    try:
        gaps = array == float(str(no_data).strip(" \0"))
    except ValueError:
        return array
    return np.where(gaps, np.float32(np.nan), array) if gaps.any() else array


def _last(array: np.ndarray, axes: str) -> np.ndarray:
    """(H, W, B) of an array whose axes are named."""
    if array.ndim == 2:
        return array[..., None]
    return np.moveaxis(array, axes.index("S"), -1) if "S" in axes and array.ndim == 3 else array


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    try:
        import tifffile
    except ImportError as error:
        what = "is a TIFF of several bands or of more than 8 bits, which Pillow cannot read"
        raise UnreadableImage(f"image {path} {what}; pip install tifffile imagecodecs") from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it finds wrong is raised as well
    try:
        with tifffile.TiffFile(path) as file:
            yield file
    except (UnreadableImage, FileNotFoundError):
        raise
    except Exception as error:  # a decoder for damaged bytes raises whatever Python has
        needs = "; pip install imagecodecs reads more kinds" if "imagecodecs" in str(error) else ""
        raise UnreadableImage(f"image {path} cannot be decoded (truncated or damaged): {error}{needs}") from error
