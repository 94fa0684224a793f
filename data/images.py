"""The one image reader: any image file -> 8-bit RGB, upright. What more than 8 bits mean says data/pixels.py."""

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from data.pixels import AUTO, PixelRule, UnreadableImage, Values, bits_of, check_pixels, most_pixels, to_rgb, too_large
from data.tiff import BITS, MAGIC, NO_DATA, PHOTOMETRIC, is_plain, read_tiff, upright, with_gaps

# Formats that are tried, whatever a file is called, with the suffixes that Pillow registers for them. Left out are
# those that Pillow hands to another program (EPS, WMF) or cannot decode (HDF5), that have no signature, and icons.
FORMATS = {
    "AVIF": (".avif", ".avifs"), "BMP": (".bmp",), "DIB": (".dib",), "FITS": (".fit", ".fits"), "GIF": (".gif",),
    "HEIF": (".heic", ".heics", ".heif", ".heifs", ".hif"),  # by pillow-heif
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "JPEG2000": (".jp2", ".j2k", ".jpc", ".jpf", ".jpx", ".j2c"),
    "PCX": (".pcx",), "PNG": (".png", ".apng"), "PPM": (".pbm", ".pgm", ".ppm", ".pnm", ".pfm"), "PSD": (".psd",),
    "QOI": (".qoi",), "SGI": (".bw", ".rgb", ".rgba", ".sgi"), "SUN": (".ras",), "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
}  # fmt: skip
BY_SUFFIX = {"TGA": (".tga", ".icb", ".vda", ".vst")}  # without a signature: only a file of that name is tried
IMAGE_SUFFIXES = frozenset(suffix for suffixes in (*FORMATS.values(), *BY_SUFFIX.values()) for suffix in suffixes)

DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")  # modes of Pillow with one band of more than 8 bits
# Formats of a family that need a package: the brands of their files, and what to install.
BRANDS = {
    "HEIC": ((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "pip install pillow-heif"),
    "AVIF": ((b"avif", b"avis"), "Pillow 11.3 or later: pip install -U pillow"),
}

# What Pillow's decoders raise for files whose bytes are wrong.
DAMAGED_IMAGE = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error, Image.DecompressionBombError)


@contextmanager
def open_image(path: str | Path, what: str) -> Iterator[Image.Image]:
    """An image file of a known format, not decoded; one over the limit is an `UnreadableImage`, begun with `what`."""
    Image.MAX_IMAGE_PIXELS = most_pixels()  # Pillow's own limit, which also looks at the frames inside a file
    named = tuple(name for name, suffixes in BY_SUFFIX.items() if Path(path).suffix.lower() in suffixes)
    try:
        image = Image.open(path, formats=known_formats() + named)
    except Image.DecompressionBombError as error:
        raise too_large(f"{what} {path}", "far too many") from error
    with image:
        check_pixels(image.height, image.width, f"{what} {path}")
        if image.format == "TIFF":  # Pillow maps a plain one by its name, and mixes up its sides where it lies
            image.filename = ""
        yield image


@cache
def known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that the installed Pillow reads, HEIF where pillow-heif is installed."""
    try:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    except ImportError:
        pass  # a file of that format is then refused by name (`_unknown`)
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image | None]:
    """An opened image; None for a TIFF that Pillow does not know. What is raised inside names the file."""
    try:
        with ExitStack() as stack:
            try:
                image = stack.enter_context(open_image(path, "image"))
            except UnidentifiedImageError as error:
                if problem := _unknown(Path(path)):
                    raise UnreadableImage(problem) from error
                image = None
            yield image
    except FileNotFoundError as error:
        raise UnreadableImage(f"image {path} does not exist; check the path") from error
    except (IsADirectoryError, PermissionError) as error:
        what = f"image {path} cannot be opened ({error.strerror})"
        raise UnreadableImage(f"{what}; check the path, and who may read it") from error
    except DAMAGED_IMAGE as error:
        raise UnreadableImage(f"image {path} cannot be decoded (truncated or damaged): {error}") from error


def _unknown(path: Path) -> str:
    """Why an image that Pillow does not know cannot be read; empty for a TIFF."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[:4] in MAGIC:
        return ""
    for name, (brands, package) in BRANDS.items():
        if start[4:8] == b"ftyp" and start[8:12] in brands:
            return f"image {path} is {name}, which needs {package}; where that is installed, the file is damaged"
    return f"{path} is not an image in a known format (JPEG, PNG, TIFF, ...); convert it or remove it"


def read_image(path: str | Path, least_side: int = 0, rule: PixelRule = AUTO) -> Image.Image:
    """Read an image as RGB, EXIF rotation applied, grey, palette and CMYK converted, alpha laid over white.

    A JPEG may be decoded at a fraction of its size, which is faster, of at least `least_side` pixels a side (0: whole).
    A file that cannot be opened or decoded, or that needs a setting, is an `UnreadableImage`; the message names it.
    """
    what = f"image {path}"
    with _opened(path) as image:
        if image is None:
            return Image.fromarray(to_rgb(read_tiff(path, rule.bands), rule, what))
        values = _deep_values(image, path, rule.bands)
        if least_side and rule == AUTO:
            image.draft(None, (least_side, least_side))
        image.load()
        if values is None:
            return image_to_rgb(image, rule, what)
        return Image.fromarray(upright(to_rgb(values, rule, what), orientation_of(image)))


def read_values(path: Path, bands: tuple[int, ...] = ()) -> Values | None:
    """The values of an image that is not of 8 bits; None where it is. `UnreadableImage` where it cannot be decoded."""
    with _opened(path) as image:
        if image is None:
            return read_tiff(path, bands)
        return _one_band(image) if image.mode in DEEP else _deep_values(image, path, bands)


def image_to_rgb(image: Image.Image, rule: PixelRule = AUTO, what: str = "the image") -> Image.Image:
    """As `read_image`, of an image of Pillow that is in memory."""
    source = image
    if image.mode in ("La", "RGBa"):  # colours multiplied by alpha
        image = image.convert(image.mode.upper())
    alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    if image.mode in DEEP:
        values = _one_band(image)
    elif rule == AUTO:
        if alpha:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image if image.mode == "RGB" else image.convert("RGB")  # Pillow would copy what is RGB
        turn = orientation_of(source)
        return image if turn == 1 else Image.fromarray(upright(np.asarray(image), turn))
    else:
        mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
        array = np.asarray(image.convert(mode + "A" if alpha else mode))
        values = Values(array[..., None] if array.ndim == 2 else array, 8, alpha)
    return Image.fromarray(upright(to_rgb(values, rule, what), orientation_of(source)))


def array_to_rgb(array: np.ndarray, rule: PixelRule = AUTO, what: str = "the array") -> np.ndarray:
    """(H, W, 3) uint8 of an array (H, W) or (H, W, B) with the values that a file would hold.

    An array of another shape or type, or one that needs a setting, is an `UnreadableImage`.
    """
    if array.ndim not in (2, 3) or not array.size or array.dtype.kind not in "buif":
        expected = "(H, W) or (H, W, bands) of numbers, for example (H, W, 3) uint8"
        raise UnreadableImage(f"{what} is {array.shape} {array.dtype}; expected {expected}")
    array = array[..., None] if array.ndim == 2 else array
    if array.dtype.kind == "b":
        array = array.astype(np.uint8) * 255
    bits = bits_of(array.dtype)
    return to_rgb(Values(array, bits, bits > 0 and array.shape[2] in (2, 4)), rule, what)


def frames_of(path: Path) -> int:
    """How many images a file holds; the first is read. A camera's thumbnails (MPO) do not count."""
    try:
        with open_image(path, "image") as image:
            return 1 if image.format == "MPO" else int(getattr(image, "n_frames", 1))
    except (*DAMAGED_IMAGE, UnreadableImage):
        return 1


def turn_of(path: Path) -> int:
    """EXIF's orientation of a file, 1 where it has none; of a PNG only what stands before the pixels."""
    try:
        with open_image(path, "image") as image:
            return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (*DAMAGED_IMAGE, UnreadableImage):
        return 1


def _deep_values(image: Image.Image, path: str | Path, bands: tuple[int, ...]) -> Values | None:
    """What the file holds, where Pillow would not give it in full; None where it does."""
    if image.format == "TIFF":
        pages = getattr(image, "n_frames", 1) if bands else 1
        if (not is_plain(image) and image.mode not in DEEP) or len(image.getbands()) < max(bands, default=1) <= pages:
            return read_tiff(path, bands)
        return None
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    sixteen = image.format == "PNG" and image.mode not in DEEP and "16" in str(arguments)
    maximum = arguments[-1] if image.format == "PPM" and isinstance(arguments, tuple) else 0
    if not sixteen and not (image.mode == "RGB" and isinstance(maximum, int) and maximum > 255):
        return None
    image.load()  # says what is truncated; OpenCV does not
    array = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.ndim != 3:
        return None
    order = [2, 1, 0, 3][: array.shape[2]]  # OpenCV's is blue, green, red
    return Values(array[..., order], (int(maximum) or 65535).bit_length(), array.shape[2] == 4)


def _one_band(image: Image.Image) -> Values:
    array = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    bits = int(tags.get(BITS, (16,))[0]) if bits_of(array.dtype) else 0
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # which have no more than 16 bits
        bits = 16
    if bits and tags.get(PHOTOMETRIC) == 0:  # white is zero
        array = 2**bits - 1 - array
    return Values(with_gaps(array, tags.get(NO_DATA, ""))[..., None], bits)


def orientation_of(image: Image.Image) -> int:
    """What EXIF says, 1 where it says nothing; Pillow turns a TIFF itself when it is loaded, which comes first."""
    image.load()
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except DAMAGED_IMAGE:
        return 1
