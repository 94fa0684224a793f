"""The one image reader: any image file -> 8-bit RGB the right way up.

A file of a few kilobytes can unpack to more than any memory. So what it says of its size is looked at first, and what is over
the process's limit (`data.max_pixels`) is refused before a pixel is decoded.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from utils.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

# The formats that are tried, whatever a file is called. Not among them: those that Pillow hands to another program (EPS).
FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 180_000_000  # about 13,400 a side, where Pillow draws the line, too
LIMIT = "IBBNET_MAX_PIXELS"  # in the environment, because loader processes inherit that however they are started

# What Pillow's decoders raise for files whose bytes are wrong.
DAMAGED_IMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


# EXIF orientation -> what puts the image upright; 1 is upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImage(UserError):
    """An image that is missing, truncated, too large, or no image at all."""


def limit_pixels(most: int) -> None:
    """Set the limit of this process and of those that it starts, `data.max_pixels`; one for all, as Pillow's own is."""
    os.environ[LIMIT] = str(most)


def most_pixels() -> int:
    """The limit that holds."""
    return int(os.environ.get(LIMIT, MAX_PIXELS))


def check_pixels(height: int, width: int, what: str) -> None:
    """Refuse what would unpack to more than the limit.

    Raises:
        UnreadableImage: the message begins with `what`.
    """
    if height * width > most_pixels():
        raise _too_large(what, f"{width} x {height}")


def _too_large(what: str, size: str) -> UnreadableImage:
    return UnreadableImage(
        f"{what} is of {size} pixels, above data.max_pixels ({most_pixels()}), which keeps small files from filling the memory; "
        "make it smaller, or, if you trust it, raise the limit with --set data.max_pixels=..."
    )


@contextmanager
def open_image(path: str | Path, what: str) -> Iterator[Image.Image]:
    """An image file of a known format and no more pixels than the limit, not decoded yet.

    Raises:
        UnreadableImage: it is too large; the message begins with `what`.
    """
    Image.MAX_IMAGE_PIXELS = most_pixels()  # Pillow's own limit, which also looks at the frames inside a file
    try:
        image = Image.open(path, formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_large(f"{what} {path}", "far too many") from error
    with image:
        check_pixels(image.height, image.width, f"{what} {path}")
        yield image


def read_image(path: str | Path, least_side: int = 0) -> Image.Image:
    """Read an image as RGB, EXIF rotation applied, grey, palette, CMYK and 16-bit converted, alpha laid over white.

    Args:
        least_side: a JPEG may be decoded at a fraction of its size, which is faster, of at least so many pixels a side;
            0 decodes it whole.

    Raises:
        UnreadableImage: the file cannot be opened or decoded; the message names it.
    """
    try:
        with open_image(path, "image") as image:
            if least_side:
                image.draft(None, (least_side, least_side))
            image.load()
            return _to_rgb(_upright(image))
    except FileNotFoundError as error:
        raise UnreadableImage(f"image {path} does not exist; check the path") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is not an image in a known format (JPEG, PNG, TIFF, ...)") from error
    except DAMAGED_IMAGE as error:
        raise UnreadableImage(f"image {path} cannot be decoded (truncated or damaged): {error}") from error


def find_images(folder: str | Path) -> list[Path]:
    """All image files below a folder by suffix, hidden ones left out, sorted by path."""
    folder = Path(folder)
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _upright(image: Image.Image) -> Image.Image:
    """The image as its EXIF orientation says; an EXIF block that cannot be read says nothing.

    `ImageOps.exif_transpose` would also write the other entries anew, and fails where one of them is malformed.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED_IMAGE:
        orientation = None
    method = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit: Pillow's own conversion clips at 255
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # Pillow would copy what is RGB
