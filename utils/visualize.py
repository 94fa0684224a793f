"""Drawing: masks and maps over images, legends, contact sheets, letters of any script.

Images are (H, W, 3) uint8 RGB, masks (H, W) uint8 class values, palettes (N, 3) uint8, the colour of value v in row v.
"""

import colorsys
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.ignore import IGNORE

OUTLINE_PER_SIDE = 1 / 300  # an outline's width as a share of the image's long side
HATCH_LIGHT, HATCH_DARK = 200, 80  # the two greys of what is ignored
RIM = (255, 255, 255)
GOLDEN_RATIO = 0.618033988749895
INK, PAPER = (32, 33, 36), (255, 255, 255)  # of sheets and legends
MAX_ROWS = 60  # of a contact sheet; JPEG files end at 65,535 pixels
# Fonts with many letters, by the file names under which systems have them; Pillow searches the system's folders.
FILES = (
    *("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "wqy-zenhei.ttc", "wqy-microhei.ttc", "SourceHanSans.ttc"),
    *("msyh.ttc", "simhei.ttf", "PingFang.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "FreeSans.ttf", "arial.ttf"),
    *("LiberationSans-Regular.ttf", "Helvetica.ttc"),
)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Swatch = tuple[str, tuple[int, int, int]]  # a name and its colour


@dataclass(frozen=True)
class Tile:
    """An image of a contact sheet, with a line of text and colour swatches below it."""

    image: np.ndarray
    caption: str = ""
    swatches: Sequence[Swatch] = ()


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The image with every class tinted and outlined in its colour, with a thin light rim; 255 is hatched in grey.

    `opacity` of the tint is 0..1; outlines have twice as much, up to 1. A mask of another size is a `ValueError`.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask {mask.shape} does not fit an image {image.shape[:2]}")
    width = max(1, round(max(mask.shape) * OUTLINE_PER_SIDE))
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    colours = table[mask]
    rows, columns = np.nonzero(mask == IGNORE)
    stripes = (rows + columns) // (4 * width) % 2 == 0
    colours[rows, columns] = np.where(stripes, HATCH_LIGHT, HATCH_DARK)[:, None]
    alpha = np.where(mask == 0, 0.0, opacity).astype(np.float32)
    objects = (mask != 0) & (mask != IGNORE)
    alpha[_edges(mask, width) & objects] = min(1.0, 2 * opacity)
    # The rim keeps a dark outline visible on a dark image.
    rim = _edges(objects.astype(np.uint8), max(1, width // 2)) & ~objects
    colours[rim], alpha[rim] = RIM, min(1.0, 2 * opacity)
    blended = image + alpha[..., None] * (colours.astype(np.float32) - image)
    return np.rint(blended).astype(np.uint8)


def heatmap(image: np.ndarray, map_: np.ndarray, opacity: float = 0.65) -> np.ndarray:
    """The image in grey under the colours of a map (h, w) float of any size, dark for 0 and bright for 1; clipped."""
    small = Image.fromarray(np.clip(map_, 0, 1).astype(np.float32))
    colours = heat_colours(np.asarray(small.resize(image.shape[1::-1], Image.Resampling.BILINEAR)))
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float64)[..., None]
    return np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """(...) float of 0..1 -> (..., 3) uint8, from dark to bright (matplotlib's inferno)."""
    grey = np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)
    return cv2.applyColorMap(grey.reshape(-1, 1), cv2.COLORMAP_INFERNO)[:, 0, ::-1].reshape(*grey.shape, 3)


def bright_palette() -> np.ndarray:
    """(256, 3) uint8: black for value 0, then bright colours, whose hues differ by the golden ratio of the circle."""
    palette = np.zeros((256, 3), np.uint8)
    for index in range(1, 256):
        hue = (0.96 + index * GOLDEN_RATIO) % 1
        saturation, value = (0.9, 1.0) if index % 2 else (0.65, 0.95)
        palette[index] = [round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value)]
    return palette


def fit(image: np.ndarray, max_side: int, nearest: bool = False) -> np.ndarray:
    """An image, or with `nearest` a mask, made smaller so that its long side is at most `max_side`; never larger."""
    factor = max_side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = [max(1, round(side * factor)) for side in image.shape[1::-1]]
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, method))


def legend(swatches: Sequence[Swatch], width: int, size: int = 16) -> Image.Image:
    """Names beside their colours, in as many lines as `width` pixels ask for; letters are `size` pixels high."""
    line, corners, left, top = round(size * 1.6), [], 0, 0
    for name, _ in swatches:
        text = printable(name)
        needed = round(2.3 * size + font_for(text, size).getlength(drawable(text, size)))
        if left and left + needed > width:
            left, top = 0, top + line
        corners.append((left, top))
        left += needed
    drawn = Image.new("RGB", (width, top + line), PAPER)
    for (name, colour), (left, top) in zip(swatches, corners, strict=True):
        box = (left, top + size * 0.2, left + size * 0.9, top + size * 1.1)
        ImageDraw.Draw(drawn).rectangle(box, fill=tuple(map(int, colour)), outline=INK)
        _draw_text(drawn, (left + round(1.3 * size), top), name, size)
    return drawn


def contact_sheet(
    rows: Sequence[Sequence[Tile]], columns: Sequence[str] = (), title: str = "", tile: int = 260, size: int = 15
) -> Image.Image:
    """Rows of images on one sheet, each with its caption and colours; below `columns` and `title`.

    Args:
        rows: may differ in length. At most `MAX_ROWS` are drawn, and the rest counted.
        tile: the side in pixels of the square that an image is made to fit; a small one is enlarged at most twofold.
        size: the height of letters in pixels.
    """
    gap, line = size, round(size * 1.5)
    drawn = [[_draw_tile(cell, tile, size) for cell in row] for row in rows[:MAX_ROWS]]
    heights = [max((cell.height for cell in row), default=0) + gap for row in drawn]
    left_out = f"and {len(rows) - len(drawn)} rows more" if len(rows) > len(drawn) else ""
    top = gap + (2 * line if title else 0) + (line if columns else 0)
    width = gap + max([len(row) for row in drawn] + [len(columns), 1]) * (tile + gap)
    sheet = Image.new("RGB", (width, top + sum(heights) + (line if left_out else 0)), PAPER)
    _draw_text(sheet, (gap, gap), title, round(size * 1.3))
    for column, text in enumerate(columns):
        _draw_text(sheet, (gap + column * (tile + gap), top - line), text, size, tile)
    for row, height in zip(drawn, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(cell, (gap + column * (tile + gap), top))
        top += height
    _draw_text(sheet, (gap, top), left_out, size)
    return sheet


def printable(text: str) -> str:
    """The text without what cannot be written in UTF-8 (file names may hold any bytes) and without line breaks."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").splitlines())


@cache
def font_for(text: str, size: int) -> Font:
    """The font that has most letters of the text; the one of Pillow where it has all."""
    default = ImageFont.load_default(size)
    if not _missing(default, text):
        return default
    return min((default, *_system_fonts(size)), key=lambda font: len(_missing(font, text)))


def drawable(text: str, size: int = 16) -> str:
    """The text with a question mark for each letter that no font here has."""
    missing = _missing(font_for(text, size), text)
    return "".join("?" if letter in missing else letter for letter in text)


def _missing(font: Font, text: str) -> set[str]:
    """The letters that the font draws as it draws what does not exist."""
    nothing = bytes(font.getmask("\U000fffff"))
    return {letter for letter in set(text) if not letter.isspace() and bytes(font.getmask(letter)) == nothing}


@cache
def _system_fonts(size: int) -> list[Font]:
    found: list[Font] = []
    for name in FILES:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found


def _edges(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels with another value at most `width` pixels away along their row or column."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (2 * width + 1, 2 * width + 1))
    return cv2.morphologyEx(mask, cv2.MORPH_GRADIENT, cross) != 0


def _draw_tile(cell: Tile, side: int, size: int) -> Image.Image:
    factor = min(side / max(cell.image.shape[:2]), 2.0)
    method = Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC
    shape = [max(1, round(own * factor)) for own in cell.image.shape[1::-1]]
    image = Image.fromarray(cell.image).resize(shape, method)
    top = image.height + 3
    line = top + (round(size * 1.5) if cell.caption else 0)
    below = legend(cell.swatches, side, size) if cell.swatches else Image.new("RGB", (side, 1), PAPER)
    drawn = Image.new("RGB", (side, line + below.height), PAPER)
    drawn.paste(image, (0, 0))
    _draw_text(drawn, (0, top), cell.caption, size)
    drawn.paste(below, (0, line))
    return drawn


def _draw_text(image: Image.Image, corner: tuple[int, int], text: str, size: int, room: int | None = None) -> None:
    """One line of text; what does not fit into `room` pixels, or into the image, ends in an ellipsis."""
    text = printable(text)
    font, text, room = font_for(text, size), drawable(text, size), room or image.width - corner[0]
    if font.getlength(text) > room:
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(image).text(corner, text, fill=INK, font=font)
