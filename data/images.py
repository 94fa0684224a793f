"""The one image reader: any file that Pillow opens -> 8-bit RGB the right way up."""

import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from utils.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

# What Pillow's decoders raise for files whose bytes are wrong.
DAMAGED_PICTURE = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)


# EXIF orientation -> what puts the picture upright; 1 is upright.
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
    """A picture that is missing, truncated, or no picture at all."""


def read_image(path: str | Path, least_side: int = 0) -> Image.Image:
    """Read a picture as RGB, EXIF rotation applied, grey, palette, CMYK and 16-bit converted, alpha laid over white.

    Args:
        least_side: a JPEG may be decoded at a fraction of its size, which is faster, of at least so many pixels a side;
            0 decodes it whole.

    Raises:
        UnreadableImage: the file cannot be opened or decoded; the message names it.
    """
    try:
        with Image.open(path) as image:
            if least_side:
                image.draft(None, (least_side, least_side))
            image.load()
            return _to_rgb(_upright(image))
    except FileNotFoundError as error:
        raise UnreadableImage(f"picture {path} does not exist; check the path") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"{path} is not a picture in a known format (JPEG, PNG, TIFF, ...)") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"picture {path} is too large to decode safely: {error}") from error
    except DAMAGED_PICTURE as error:
        raise UnreadableImage(f"picture {path} cannot be decoded (truncated or damaged): {error}") from error


def find_images(folder: str | Path) -> list[Path]:
    """All picture files below a folder by suffix, hidden ones left out, sorted by path."""
    folder = Path(folder)
    return sorted(path for path in folder.rglob("*")
                  if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
                  and not any(part.startswith(".") for part in path.relative_to(folder).parts))  # fmt: skip


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF orientation says; an EXIF block that cannot be read says nothing.

    `ImageOps.exif_transpose` would also write the other entries anew, and fails where one of them is malformed.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DAMAGED_PICTURE:
        orientation = None
    method = UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":  # 16 and 32 bit: Pillow's own conversion clips at 255
        values = np.asarray(image, dtype=np.float32)
        top = 65535.0 if values.max(initial=0) > 255 else 255.0
        return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).round().astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        opaque = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(opaque, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
