"""Images, masks and maps as data inside a page, and the layers that are made of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from PIL import Image

from pages.page import Layer, css
from utils.ignore import IGNORE
from utils.visualize import fit, heat_colours

SIDE = 320  # pixels, long side of an image in the page
QUALITY = 72  # of WebP
HEAT_STEPS = 64  # colours of a map in the page
LEAST_NAMED = 0.004  # share of an image that a class must have for its name to be written on it
# A letter's width and a name's height as shares of the width at which pages show an image at least (230 pixels).
LETTER, LINE = 0.036, 0.07
RIM, GREY = (255, 255, 255), (128, 128, 128)


def image_uri(image: np.ndarray, side: int = SIDE) -> str:
    """An image (H, W, 3) uint8 as an address that holds it; a larger one is made smaller to `side`."""
    buffer = io.BytesIO()
    # Method 2 takes half the time of method 4, for files that are 3 % larger.
    Image.fromarray(fit(image, side)).save(buffer, format="WEBP", quality=QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def mask_layer(name: str, mask: np.ndarray, palette: np.ndarray, class_names: Sequence[str], **more: Any) -> Layer:
    """A mask (H, W) uint8 to lay over an image: background is clear, objects have a light rim, 255 is half clear.

    `palette` (N, 3) uint8 has a row for each value below 255 that occurs, and `class_names` has the names of the values
    from 1 on, for a legend and for the mask itself; `more` are attributes of the layer.
    """
    small = fit(mask, SIDE, nearest=True)
    values, indices = np.unique(small, return_inverse=True)
    indexed = indices.reshape(small.shape).astype(np.uint8)
    colours = [GREY if value == IGNORE else palette[value].tolist() for value in values]
    alpha = [{0: 0, IGNORE: 128}.get(int(value), 255) for value in values]
    if len(values) <= IGNORE:  # an index is left for the rim
        edge = cv2.dilate(small, np.ones((2, 2), np.uint8)) != cv2.erode(small, np.ones((2, 2), np.uint8))
        indexed[edge] = len(values)
        colours, alpha = [*colours, RIM], [*alpha, 255]
    legend = [(class_names[value - 1], css(palette[value]), "") for value in np.unique(mask) if 0 < value < IGNORE]
    layer = Layer(name, _indexed_uri(indexed, colours, alpha), legend=legend, names=name_positions(small, class_names))
    return replace(layer, **more)


def heat_layer(name: str, map_: np.ndarray) -> Layer:
    """A map (h, w) of 0..1, dark for 0, bright for 1, with a legend of its colours; the page enlarges it smoothly."""
    indexed = np.rint(np.clip(map_, 0, 1) * (HEAT_STEPS - 1)).astype(np.uint8)
    uri = _indexed_uri(indexed, heat_colours(np.linspace(0, 1, HEAT_STEPS)).tolist(), [255] * HEAT_STEPS)
    stops = ", ".join(css(colour) for colour in heat_colours(np.linspace(0, 1, 7)))
    return Layer(name, uri, legend=[("0 to 1", f"linear-gradient(to right, {stops})", "")])


def name_positions(mask: np.ndarray, class_names: Sequence[str]) -> list[tuple[str, float, float]]:
    """Where names of classes (of the values from 1 on) are written on a mask (H, W): where each is thickest.

    But not on another name; 0 and 255 have none. Each is (name, x, y) with x and y in 0..1, of the image and of the
    name itself: x 1 is the right end of both, so that a name at the rim stays inside.
    """
    height, width = mask.shape
    ys, xs = (np.arange(height)[:, None] + 0.5) / height, (np.arange(width) + 0.5) / width
    found: list[tuple[str, float, float]] = []
    taken: list[tuple[float, float, float]] = []  # left end, top and length of each name, in widths of the image
    values, counts = np.unique(mask, return_counts=True)
    for value, size in sorted(zip(values.tolist(), counts, strict=True), key=lambda row: row[1]):  # small ones first
        name = class_names[value - 1] if 0 < value < IGNORE and size >= LEAST_NAMED * mask.size else ""
        length = min(1.0, LETTER * len(name))
        lefts, tops = xs * (1 - length), ys * (height / width - LINE)
        depth = cv2.distanceTransform(np.pad(mask == value, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
        for left, top, other in taken:
            depth[(abs(tops - top) < LINE) & (lefts + length > left) & (lefts < left + other)] = 0
        if name and depth.max() > 0:
            row, column = np.unravel_index(depth.argmax(), mask.shape)
            found.append((name, round(float(xs[column]), 3), round(float(ys[row, 0]), 3)))
            taken.append((lefts[column], tops[row, 0], length))
    return found


def _indexed_uri(indexed: np.ndarray, colours: Sequence[Sequence[int]], alpha: Sequence[int]) -> str:
    image = Image.fromarray(indexed)
    image.putpalette(bytes(channel for colour in colours for channel in colour))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, transparency=bytes(alpha))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
