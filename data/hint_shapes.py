"""Shapes that a person has drawn: read from files of this project (docs/hints.md), of LabelMe and of COCO, and drawn.

LabelMe's file is one record of this project's with other names. COCO's annotations become polygons, or boxes where they
have no outline. Points are x, y in pixels of the upright image, from its upper left corner.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data.coco import render_mask, whole
from data.coco_file import is_crowd
from data.faults import Faults
from utils.errors import UserError
from utils.ignore import IGNORE

# Kind of a shape -> how many points it has at least and at most. A shape of COCO may also be an `outline`.
LEAST = {"point": 1, "points": 1, "line": 2, "linestrip": 2, "rectangle": 2, "polygon": 3, "circle": 2}
MOST = {"rectangle": 4, "circle": 2}
FINE = ("point", "points", "line", "linestrip")
THICKNESS = 0.01  # of the long side: a person's finger is no finer; at least one pixel
ADVICE = "hints of this project, LabelMe's or COCO's JSON, or a folder of them and of PNG (docs/hints.md)"
EXPECTED = "expected 'label', 'points' of numbers, and a 'shape_type' of: " + ", ".join(LEAST)
LABELME = {"image": "imagePath", "width": "imageWidth", "height": "imageHeight", "shapes": "shapes"}
MALFORMED = (ValueError, TypeError, LookupError, AttributeError, OverflowError)

Size = tuple[int, int]  # (H, W)
Box = tuple[int, int, int, int, int]  # class, left, top, right, bottom; the last two are the first outside


@dataclass(frozen=True)
class Shape:
    """What a person has said of some pixels."""

    kind: str  # of `LEAST`, or `outline`
    label: str  # the name of a class or of the background
    points: tuple[tuple[float, float], ...] = ()  # (x, y) in pixels; of an outline those of all its polygons
    outline: Any = None  # COCO's polygons or run lengths


@dataclass(frozen=True)
class ShapesOfImage:
    """The shapes of one image."""

    where: str  # the file and the record, for messages
    image: str  # its name, as the file gives it
    size: Size | None  # as the file gives it; None where it does not
    shapes: list[Shape]
    content: str = ""  # digest of the image's file when the hints were given, as this project's page writes it


@dataclass(frozen=True)
class Hint:
    """What is said of one image."""

    values: np.ndarray  # (H, W) uint8; 0 background, c + 1 class c, 255 not said
    boxes: tuple[Box, ...] = ()  # a class that has boxes is nowhere outside of them, and somewhere in each


def read_hint_file(path: Path, faults: Faults) -> list[ShapesOfImage]:
    """The shapes of a JSON file; `UserError` where it cannot be read, or is of no known format."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"data.hints: {path} cannot be read as JSON ({error}); expected {ADVICE}") from error
    content = content if isinstance(content, dict) else {}
    if isinstance(content.get("hints"), list):
        records = enumerate(content["hints"], 1)
        found = [one for number, row in records for one in _read_record(f"{path}, record {number}", row, faults)]
    elif {"shapes", "imagePath"} <= content.keys():
        found = _read_record(str(path), {name: content.get(other) for name, other in LABELME.items()}, faults)
    elif {"images", "annotations", "categories"} <= content.keys():
        found = _read_coco(path, content, faults)
    else:
        raise UserError(f"data.hints: {path} holds no hints; expected {ADVICE}")
    values = [value for one in found for shape in one.shapes for point in shape.points for value in point]
    if values and 0 <= min(values) <= max(values) <= 1 and any(value % 1 for value in values):
        what = "all of its points are within 0..1, as parts of the size"
        faults.add("parts", f"data.hints: {path}: {what}; give pixels: x times the width, y times the height")
        return []
    return found


def _read_record(where: str, record: Any, faults: Faults) -> list[ShapesOfImage]:
    image = record.get("image") if isinstance(record, dict) else None
    if not isinstance(image, str) or not isinstance(record.get("shapes"), list):
        faults.add("record", f"{where}: expected 'image' (a name) and 'shapes' (a list)")
        return []
    try:
        content = str(record.get("content") or "")
        found = ShapesOfImage(where, image.replace("\\", "/"), _size_of(record), [], content)
    except ValueError as error:
        faults.add("sides", f"{where}: {error}")
        return []
    for number, shape in enumerate(record["shapes"], 1):
        try:
            found.shapes.append(_read_shape(shape))
        except MALFORMED as error:
            faults.add("shape", f"{where}: shape {number} of image '{image}' is malformed: {error}; {EXPECTED}")
    return [found]


def _read_shape(shape: Any) -> Shape:
    kind, label = str(shape.get("shape_type", "polygon")), shape["label"]
    points = tuple((x, y) for x, y in shape["points"])
    least = LEAST[kind]
    are_numbers = all(isinstance(value, int | float) and math.isfinite(value) for point in points for value in point)
    if not isinstance(label, str) or not are_numbers:
        raise ValueError("the label is no text, or a point no number")
    if not least <= len(points) <= MOST.get(kind, math.inf):
        raise ValueError(f"a {kind} has {len(points)} points")
    if kind == "rectangle":
        low, high = np.min(points, axis=0), np.max(points, axis=0)
        if not (low < high).all() or np.minimum(points - low, high - points).max() > 1:
            raise ValueError("a rectangle has no area, or is turned; draw what is turned as a polygon")
    return Shape(kind, label, points)


def _read_coco(path: Path, content: dict[str, Any], faults: Faults) -> list[ShapesOfImage]:
    """COCO's annotations: an outline where there is one, else a box.

    Crowds are left out. Where their class has boxes in the image, they get one, too: it is nowhere outside of boxes.
    """
    crowds: list[tuple[dict[str, Any], str]] = []
    try:
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        found = {}
        for row in content["images"]:
            where = f"{path}, image {row['id']}"
            found[row["id"]] = ShapesOfImage(where, str(row["file_name"]), _size_of(row), [])
        if len(names) + len(found) < len(content["categories"]) + len(content["images"]):
            raise ValueError("two images or two categories have one id")
        for row in content["annotations"]:
            shapes, name = found[row["image_id"]].shapes, names[row["category_id"]]
            if is_crowd(row):
                crowds.append((row, name))
            else:
                shapes.append(_coco_shape(row, name))
        for row, name in crowds:
            shapes = found[row["image_id"]].shapes
            if any(shape.kind == "rectangle" and shape.label == name for shape in shapes):
                shapes.append(_coco_shape(row | {"segmentation": None}, name))
    except MALFORMED as error:
        faults.add("record", f"{path} is malformed as COCO's file ({type(error).__name__}: {error}); expected {ADVICE}")
        return []
    drawn = {shape.label for one in found.values() for shape in one.shapes}
    if lost := {name for _, name in crowds} - drawn:
        what = f"all annotations of {min(lost)} are marked iscrowd, as labelling tools mark brush masks"
        faults.add("crowd", f"{path}: {what}, and crowds are left out; set iscrowd to 0, or remove them")
    return list(found.values())


def _coco_shape(row: dict[str, Any], label: str) -> Shape:
    if outline := row.get("segmentation"):
        polygons = [polygon for polygon in outline if isinstance(polygon, list)]  # none of run lengths
        pairs = [pair for polygon in polygons for pair in zip(polygon[::2], polygon[1::2], strict=False)]
        return Shape("outline", label, tuple((float(x), float(y)) for x, y in pairs), outline)
    x, y, width, height = (float(value) for value in row["bbox"])
    if not min(width, height) > 0 or (row.get("attributes") or {}).get("rotation"):  # the second: CVAT's
        raise ValueError(f"the box of annotation {row.get('id')} has no area, or is turned; give an outline")
    return Shape("rectangle", label, ((x, y), (x + width, y + height)))


def _size_of(record: dict[str, Any]) -> Size | None:
    given = record.get("height"), record.get("width")
    height, width = map(whole, given)
    if (height is None or width is None) and given != (None, None):
        raise ValueError(f"the height and width of the image are {given[0]!r} and {given[1]!r}; expected pixels")
    return None if height is None or width is None else (height, width)


def is_inside(shape: Shape, size: Size) -> bool:
    """Whether all points are in the image; those of areas may leave it by a pixel."""
    over = 0 if shape.kind in FINE else 1
    return all(-over <= x <= size[1] + over and -over <= y <= size[0] + over for x, y in shape.points)


def draw(values: np.ndarray, shapes: Iterable[tuple[Shape, int]]) -> tuple[Hint, list[str]]:
    """Shapes, each with its class (-1 background), drawn into values (H, W), and what is wrong with these, in words."""
    height, width = values.shape
    boxes, regions = [], []
    inside: dict[int, np.ndarray] = {}  # class -> (H, W) bool, the pixels in any of its boxes
    for shape, label in shapes:
        if shape.kind == "rectangle" and label >= 0:
            left, top, right, bottom = _box_of(shape, (height, width))
            boxes.append((label, left, top, right, bottom))
            inside.setdefault(label, np.zeros(values.shape, bool))[top:bottom, left:right] = True
        else:
            region = _region_of(shape, (height, width))
            regions.append((shape.kind in FINE, shape.kind.startswith("point"), -int(region.sum()), region, label))
    drawn = values.copy()
    for *_, region, label in sorted(regions, key=lambda row: row[:3]):
        drawn[region & inside[label] if label in inside else region] = label + 1
    covered = "contradict: one is wholly covered by another of another class, or outside of the boxes of its class"
    nothing = "cover no pixel: one is too thin, or has no area; draw it larger, or remove it"
    kept = [(region, region & (drawn == label + 1)) for *_, region, label in regions]
    lost = [covered if region.any() else nothing for region, part in kept if not part.any()]
    for label, left, top, right, bottom in boxes:
        part = drawn[top:bottom, left:right]
        if ((part != IGNORE) & (part != label + 1)).all():
            lost.append("contradict: a box has nothing left that may be its class")
    return Hint(drawn, tuple(boxes)), lost


def _box_of(shape: Shape, size: Size) -> tuple[int, int, int, int]:
    """The pixels of a rectangle, at least one, by any of its corners."""
    points = np.array(shape.points)
    (left, top), (right, bottom) = np.floor(points.min(axis=0)).astype(int), np.ceil(points.max(axis=0)).astype(int)
    left, top = min(max(0, left), size[1] - 1), min(max(0, top), size[0] - 1)
    return left, top, max(left + 1, min(right, size[1])), max(top + 1, min(bottom, size[0]))


def _region_of(shape: Shape, size: Size) -> np.ndarray:
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
