"""Shapes of a person drawn into an image of values, and what of them contradicts others."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

from data.coco_masks import render_mask
from data.hint_files import Shape
from utils.ignore import IGNORE

THICKNESS = 0.01  # of the long side: a person's finger is no finer; at least one pixel
FINE = ("point", "points", "line", "linestrip")
Box = tuple[int, int, int, int, int]  # class, left, top, right, bottom; the last two are the first outside


@dataclass(frozen=True)
class Hint:
    """What is said of one image.

    Attributes:
        values: (H, W) uint8; 0 background, c + 1 class c, 255 not said.
        boxes: of classes; a class that has boxes is nowhere outside of them, and somewhere in each.
    """

    values: np.ndarray
    boxes: tuple[Box, ...] = ()


def is_inside(shape: Shape, size: tuple[int, int]) -> bool:
    """Whether all points are in the image; those of areas may leave it by a pixel."""
    over = 0 if shape.kind in FINE else 1
    return all(-over <= x <= size[1] + over and -over <= y <= size[0] + over for x, y in shape.points)


def draw(values: np.ndarray, shapes: Iterable[tuple[Shape, int]]) -> tuple[Hint, list[str]]:
    """Shapes drawn into values (H, W), and what of them contradicts others, in words."""
    size, boxes, regions = values.shape, [], []
    for shape, label in shapes:
        if shape.kind == "rectangle" and label >= 0:
            boxes.append((label, *_box_of(shape, size)))
        else:
            region = _region_of(shape, size)
            regions.append((shape.kind in FINE, shape.kind.startswith("point"), -int(region.sum()), region, label))
    inside = {label: _any_box(boxes, label, size) for label in {box[0] for box in boxes}}
    drawn = values.copy()
    for *_, region, label in sorted(regions, key=lambda row: row[:3]):
        drawn[region & inside[label] if label in inside else region] = label + 1
    lost = []
    for *_, region, label in regions:
        if not (region & (drawn == label + 1)).any():
            lost.append("one is wholly covered by another of another class, or outside of the boxes of its class")
    for label, left, top, right, bottom in boxes:
        part = drawn[top:bottom, left:right]
        if ((part != IGNORE) & (part != label + 1)).all():
            lost.append("a box has nothing left that may be its class")
    return Hint(drawn, tuple(boxes)), lost


def _any_box(boxes: list[Box], label: int, size: tuple[int, ...]) -> np.ndarray:
    inside = np.zeros(size, bool)
    for own, left, top, right, bottom in boxes:
        if own == label:
            inside[top:bottom, left:right] = True
    return inside


def _box_of(shape: Shape, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The pixels of a rectangle, at least one, by any of its corners."""
    points = np.array(shape.points)
    (left, top), (right, bottom) = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
    left, top = min(max(0, left), size[1] - 1), min(max(0, top), size[0] - 1)
    return left, top, max(left + 1, min(right, size[1])), max(top + 1, min(bottom, size[0]))


def _region_of(shape: Shape, size: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: the pixels of a point, a line or an area."""
    drawn = np.zeros(size, np.uint8)
    thickness = max(1, round(THICKNESS * max(size)))
    points = [(min(int(x), size[1] - 1), min(int(y), size[0] - 1)) for x, y in shape.points]
    if shape.kind.startswith("point"):
        for point in points:
            cv2.circle(drawn, point, thickness // 2, 1, -1)
    elif shape.kind in FINE:
        cv2.polylines(drawn, [np.array(points, np.int32)], False, 1, thickness)
    elif shape.kind == "circle":
        (x, y), (to_x, to_y) = points
        cv2.circle(drawn, (x, y), max(1, round(float(np.hypot(to_x - x, to_y - y)))), 1, -1)
    elif shape.kind == "rectangle":
        left, top, right, bottom = _box_of(shape, size)
        drawn[top:bottom, left:right] = 1
    else:
        outline = shape.outline or [[value for point in shape.points for value in point]]
        drawn = render_mask([(1, {"segmentation": outline, "id": "of a hint"})], size[0], size[1], "data.hints")
    return drawn > 0
