"""Drawing: masks and heat maps over images, errors, legends, contact sheets.

Knows arrays only: images are (H, W, 3) uint8 RGB, masks (H, W) uint8 class values, palettes (N, 3) uint8 with the colour
of value v in row v.
"""

import base64
import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from utils.fonts import drawable, font_for

IGNORE = 255
OUTLINE_PER_SIDE = 1 / 300  # an outline's width as a share of the image's long side
HATCH_LIGHT, HATCH_DARK = 200, 80  # the two greys of what is ignored
RIM = (255, 255, 255)
HEAT = ((0, 0, 8), (60, 10, 112), (140, 38, 110), (214, 70, 68), (250, 142, 8), (246, 215, 70), (252, 255, 200))
GOLDEN_RATIO = 0.618033988749895
INK, PAPER, FAINT = (32, 33, 36), (255, 255, 255), (110, 112, 118)  # of sheets and legends
ERRORS = ("background taken for an object", "object taken for background", "another class")
# Okabe and Ito's, which the colour-blind can tell apart; the first is of what is right.
ERROR_COLOURS = ((0, 0, 0), (230, 159, 0), (0, 114, 178), (204, 121, 167))
# A letter's width and a name's height as shares of the width at which pages show an image at least (230 pixels).
LETTER, LINE = 0.036, 0.07
MAX_ROWS = 60  # of a contact sheet; JPEG files end at 65,535 pixels

Swatch = tuple[str, tuple[int, int, int]]  # a name and its colour


@dataclass(frozen=True)
class Tile:
    """One image of a contact sheet, with a line of text and colour swatches below it."""

    image: np.ndarray
    caption: str = ""
    swatches: Sequence[Swatch] = ()


def overlay(image: np.ndarray, mask: np.ndarray, palette: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """The image with every class tinted in its colour and outlined in it, with a thin light rim; 255 is hatched in grey.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) uint8, 0 is left as it is.
        palette: (N, 3) uint8 with a row for each value below 255 that occurs.
        opacity: of the tint, 0..1; outlines have twice as much, up to 1. At 0 the image is unchanged.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: a mask of another size.
    """
    if mask.shape != image.shape[:2]:
        raise ValueError(f"a mask {mask.shape} does not fit an image {image.shape[:2]}")
    width = max(1, round(max(mask.shape) * OUTLINE_PER_SIDE))
    colours = _colours(mask, palette, 4 * width)
    alpha = np.where(mask == 0, 0.0, opacity).astype(np.float32)
    objects = (mask != 0) & (mask != IGNORE)
    edge = _edges(mask, width)
    alpha[edge & objects] = min(1.0, 2 * opacity)
    rim = _edges(objects, max(1, width // 2)) & ~objects  # parts a dark outline from a dark image
    colours[rim], alpha[rim] = RIM, min(1.0, 2 * opacity)
    blended = image + alpha[..., None] * (colours.astype(np.float32) - image)
    return np.rint(blended).astype(np.uint8)


def heatmap(image: np.ndarray, map_: np.ndarray, opacity: float = 0.65) -> np.ndarray:
    """The image in grey under a map's colours, dark for 0 and bright for 1.

    Args:
        image: (H, W, 3) uint8.
        map_: (h, w) float of any size; values outside 0..1 are clipped.
        opacity: of the colours, 0..1.

    Returns:
        (H, W, 3) uint8.
    """
    height, width = image.shape[:2]
    small = Image.fromarray(np.clip(map_, 0, 1).astype(np.float32))
    values = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR))
    stops = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(values, stops, channel) for channel in np.array(HEAT, np.float64).T], axis=-1)
    grey = np.asarray(Image.fromarray(image).convert("L"), dtype=np.float64)[..., None]
    return np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)


def error_map(target: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Where a mask is wrong, and how.

    Args:
        target: (H, W) uint8 truth, 255 does not count.
        prediction: (H, W) uint8, 255 counts as background.

    Returns:
        (H, W) uint8: 0 right or not counted, else the number of the error in `ERRORS`, from 1.

    Raises:
        ValueError: other shapes.
    """
    if target.shape != prediction.shape:
        raise ValueError(f"a prediction {prediction.shape} does not fit a truth {target.shape}")
    prediction = np.where(prediction == IGNORE, 0, prediction)
    wrong = (target != prediction) & (target != IGNORE)
    errors = np.full(target.shape, 3, np.uint8)
    errors[target == 0] = 1
    errors[prediction == 0] = 2
    return np.where(wrong, errors, 0).astype(np.uint8)


def class_places(
    mask: np.ndarray, class_names: Sequence[str], least_share: float = 0.0
) -> list[tuple[str, float, float]]:
    """Where the classes' names can be written on a mask: each well inside its class, but on no other name.

    Args:
        mask: (H, W) uint8; 0 and 255 have no name.
        class_names: of the values from 1 on; an empty one is not written.
        least_share: of the image, below which a class gets none.

    Returns:
        (name, x, y) with x and y in 0..1. That point of the name itself lies there, so that one at the rim stays inside: x 0 is the
        left end of the name at the left rim, x 1 its right end at the right rim.
    """
    height, width = mask.shape
    ys, xs = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    line = LINE * width
    tops = ys * (height - line)
    sizes = {int(value): count for value, count in zip(*np.unique(mask, return_counts=True), strict=True)}
    places = []
    taken: list[tuple[float, float, float]] = []  # left end, top and length of the names so far
    for value in sorted(sizes, key=sizes.__getitem__):  # the smallest has least choice
        name = class_names[value - 1] if 0 < value < IGNORE else ""
        if not name or sizes[value] < least_share * mask.size:
            continue
        length = min(width, LETTER * width * len(name))
        lefts = xs * (width - length)
        free = np.ones(mask.shape, bool)
        for left, top, other in taken:
            beside = (lefts + length <= left) | (lefts >= left + other)
            free &= beside | (np.abs(tops - top) >= line)[:, None]
        depth = _signed_depth(mask == value)
        if free.any():
            depth[~free] = -np.inf
        row, column = np.unravel_index(depth.argmax(), depth.shape)
        places.append((name, float(xs[column]), float(ys[row])))
        taken.append((lefts[column], tops[row], length))
    return places


def _signed_depth(area: np.ndarray) -> np.ndarray:
    """(H, W) float: how far inside the area (H, W) bool a pixel lies, and below 0 how far outside; the rim is an outside."""
    inside = cv2.distanceTransform(np.pad(area, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    return inside - cv2.distanceTransform((~area).astype(np.uint8), cv2.DIST_L2, 3)


def bright_palette(count: int = 256) -> np.ndarray:
    """(count, 3) uint8: black for value 0, then colours that catch the eye, neighbours far apart in hue.

    Hues follow each other by the golden ratio of the circle, so that any number of the first ones spread evenly.
    """
    palette: list[tuple[int, ...]] = [(0, 0, 0)]
    for number in range(1, count):
        hue = (0.96 + number * GOLDEN_RATIO) % 1
        saturation, value = (0.9, 1.0) if number % 2 else (0.65, 0.95)
        palette.append(tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, saturation, value)))
    return np.array(palette, np.uint8)


def fit(image: np.ndarray, max_side: int, nearest: bool = False) -> np.ndarray:
    """An image, or with `nearest` a mask, made smaller so that its long side is at most `max_side`; never larger."""
    height, width = image.shape[:2]
    factor = max_side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    method = Image.Resampling.NEAREST if nearest else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(image).resize(size, method))


def legend(swatches: Sequence[Swatch], width: int = 480, size: int = 16) -> Image.Image:
    """Names beside their colours, in as many lines as `width` pixels ask for; letters are `size` pixels high."""
    lines = _wrap(swatches, width, size)
    height = round(size * 1.6)
    image = Image.new("RGB", (width, max(1, len(lines) * height)), PAPER)
    for number, line in enumerate(lines):
        _draw_swatches(image, (0, number * height), line, width, size)
    return image


def contact_sheet(
    rows: Sequence[Sequence[Tile]], columns: Sequence[str] = (), title: str = "", tile: int = 260, size: int = 15
) -> Image.Image:
    """Rows of images on one sheet, each with its caption and colours.

    Args:
        rows: tiles from left to right; rows may be of different length. At most `MAX_ROWS` are drawn, and the rest counted.
        columns: titles above the columns.
        title: above everything.
        tile: the side of the square that an image is made to fit, in pixels; smaller ones are not enlarged by more than 2.
        size: the height of letters in pixels.
    """
    gap, line = size, round(size * 1.5)
    shown = rows[:MAX_ROWS]
    images = [[_scaled(cell.image, tile) for cell in row] for row in shown]
    captions = [_caption_lines(row, tile, size) for row in shown]
    heights = [
        max((image.height for image in row), default=0) + line * max((len(lines) for lines in below), default=0)
        for row, below in zip(images, captions, strict=True)
    ]
    width = gap + max([len(row) for row in shown] + [len(columns), 1]) * (tile + gap)
    head = gap + (2 * line if title else 0) + (line if columns else 0)
    left_out = f"and {len(rows) - len(shown)} rows more" if len(rows) > len(shown) else ""
    sheet = Image.new("RGB", (width, head + sum(height + gap for height in heights) + (line if left_out else 0)), PAPER)
    if title:
        _draw_text(sheet, (gap, gap), title, width - 2 * gap, round(size * 1.3), INK)
    for column, text in enumerate(columns):
        _draw_text(sheet, (gap + column * (tile + gap), head - line), text, tile, size, FAINT)
    top = head
    for row, below, height in zip(images, captions, heights, strict=True):
        for column, (image, lines) in enumerate(zip(row, below, strict=True)):
            left = gap + column * (tile + gap)
            sheet.paste(image, (left, top))
            for number, content in enumerate(lines):
                place = (left, top + image.height + 3 + number * line)
                if isinstance(content, str):
                    _draw_text(sheet, place, content, tile, size, INK)
                else:
                    _draw_swatches(sheet, place, content, tile, size)
        top += height + gap
    if left_out:
        _draw_text(sheet, (gap, top), left_out, width, size, FAINT)
    return sheet


def data_uri(image: np.ndarray, quality: int = 82) -> str:
    """An image as a JPEG inside an address, for pages that must be one file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _colours(mask: np.ndarray, palette: np.ndarray, period: int) -> np.ndarray:
    """(H, W, 3) uint8: each pixel's colour, with diagonal stripes where it is ignored."""
    table = np.zeros((256, 3), np.uint8)
    table[: len(palette)] = palette
    colours = table[mask]
    ignored = mask == IGNORE
    if ignored.any():
        rows, columns = np.nonzero(ignored)
        stripes = ((rows + columns) // period) % 2 == 0
        colours[ignored] = np.where(stripes, HATCH_LIGHT, HATCH_DARK)[:, None]
    return colours


def _edges(mask: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: pixels with another value at most `width` pixels away along their row or column."""
    edge = np.zeros(mask.shape, bool)
    for distance in range(1, width + 1):
        for ahead, behind in (
            (np.s_[distance:, :], np.s_[:-distance, :]),
            (np.s_[:, distance:], np.s_[:, :-distance]),
        ):
            differs = mask[ahead] != mask[behind]
            edge[ahead] |= differs
            edge[behind] |= differs
    return edge


def _scaled(image: np.ndarray, side: int) -> Image.Image:
    """The image fit into a square; a small one is enlarged, at most twofold."""
    height, width = image.shape[:2]
    factor = min(side / max(height, width), 2.0)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS if factor < 1 else Image.Resampling.BICUBIC)


def _caption_lines(row: Sequence[Tile], width: int, size: int) -> list[list[str | list[Swatch]]]:
    """What stands below each tile: its caption, then its swatches in lines."""
    return [([cell.caption] if cell.caption else []) + _wrap(cell.swatches, width, size) for cell in row]


def _wrap(swatches: Sequence[Swatch], width: int, size: int) -> list[list[Swatch]]:
    """Swatches in lines of at most `width` pixels."""
    lines: list[list[Swatch]] = []
    used = 0.0
    for swatch in swatches:
        needed = _swatch_width(swatch[0], size)
        if not lines or used + needed > width:
            lines.append([])
            used = 0.0
        lines[-1].append(swatch)
        used += needed
    return lines


def _swatch_width(name: str, size: int) -> float:
    return 1.3 * size + font_for(name, size).getlength(drawable(name, size)) + size


def _draw_swatches(image: Image.Image, place: tuple[int, int], swatches: list[Swatch], width: int, size: int) -> None:
    draw = ImageDraw.Draw(image)
    left, top = place
    for name, colour in swatches:
        box = (left, top + size * 0.2, left + size * 0.9, top + size * 1.1)
        draw.rectangle(box, fill=tuple(int(value) for value in colour), outline=INK)
        room = round(place[0] + width - left - 1.3 * size)
        _draw_text(image, (round(left + 1.3 * size), top), name, room, size, INK)
        left += round(_swatch_width(name, size))


def _draw_text(
    image: Image.Image, place: tuple[int, int], text: str, width: int, size: int, colour: tuple[int, int, int]
) -> None:
    """One line of text; what does not fit into `width` pixels ends in an ellipsis."""
    font = font_for(printable(text), size)
    text = drawable(printable(text), size)
    if font.getlength(text) > width:
        while text and font.getlength(text + "…") > width:
            text = text[:-1]
        text += "…"
    ImageDraw.Draw(image).text(place, text, fill=colour, font=font)


def printable(text: str) -> str:
    """The text without what cannot be written in UTF-8 (file names may hold any bytes) and without line breaks."""
    return " ".join(text.encode("utf-8", "replace").decode("utf-8").splitlines())
