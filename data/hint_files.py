"""Files of hints, in the formats of this project, of LabelMe and of COCO -> shapes by the image that a file names.

    {"hints": [{"image": "a.jpg", "width": 500, "height": 375, "shapes": [
        {"shape_type": "point", "label": "cat", "points": [[120.5, 80]]},
        {"shape_type": "line", "label": "background", "points": [[10, 10], [90, 14]]}]}]}

LabelMe's file is one such record with other names. COCO's annotations become polygons, or boxes where they have no
outline. Points are x, y in pixels of the upright image, from its upper left corner.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.faults import Faults
from utils.errors import UserError

# Kind of a shape -> how many points it has at least and at most.
KINDS = {
    "point": (1, None),
    "points": (1, None),
    "line": (2, None),
    "linestrip": (2, None),
    "rectangle": (2, 4),
    "polygon": (3, None),
    "circle": (2, 2),
    "outline": (0, None),
}
ADVICE = "hints of this project, LabelMe's or COCO's JSON, or a folder of them and of PNG (docs/hints.md)"


@dataclass(frozen=True)
class Shape:
    """What a person has said of some pixels.

    Attributes:
        kind: of `KINDS`; an `outline` is COCO's segmentation.
        label: the name of a class or of the background.
        points: (x, y) in pixels.
        outline: COCO's polygons or run lengths.
    """

    kind: str
    label: str
    points: tuple[tuple[float, float], ...] = ()
    outline: Any = None


@dataclass(frozen=True)
class ShapesOfImage:
    """The shapes of one image.

    Attributes:
        where: the file and the record, for messages.
        image: its name, as the file gives it.
        size: (H, W) as the file gives it; None where it does not.
    """

    where: str
    image: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]


def read_hint_file(path: Path, faults: Faults) -> list[ShapesOfImage]:
    """The shapes of a JSON file.

    Raises:
        UserError: it cannot be read, or is of no known format.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"data.hints: {path} cannot be read as JSON ({error}); expected {ADVICE}") from error
    if isinstance(content, dict) and isinstance(content.get("hints"), list):
        records = [(f"{path}, record {number}", record) for number, record in enumerate(content["hints"], 1)]
    elif isinstance(content, dict) and "shapes" in content and "imagePath" in content:
        names = {"image": "imagePath", "width": "imageWidth", "height": "imageHeight", "shapes": "shapes"}
        records = [(str(path), {name: content.get(other) for name, other in names.items()})]
    elif isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys():
        return _read_coco(path, content, faults)
    else:
        raise UserError(f"data.hints: {path} holds no hints; expected {ADVICE}")
    return [found for where, record in records if (found := _read_record(where, record, faults)) is not None]


def _read_record(where: str, record: Any, faults: Faults) -> ShapesOfImage | None:
    """The shapes of one record; what is malformed is a fault."""
    image = record.get("image") if isinstance(record, dict) else None
    if not isinstance(image, str) or not isinstance(record.get("shapes"), list):
        faults.add("record", f"{where}: expected 'image' (a name) and 'shapes' (a list)")
        return None
    shapes = []
    for number, shape in enumerate(record["shapes"], 1):
        try:
            shapes.append(_read_shape(shape))
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            faults.add("shape", f"{where}: shape {number} of image '{image}' is malformed: {error}; {_KNOWN}")
    return ShapesOfImage(where, image.replace("\\", "/"), _size_of(record), tuple(shapes))


_KNOWN = "expected 'label', 'points' of numbers, and a 'shape_type' of: " + ", ".join(KINDS)


def _read_shape(shape: Any) -> Shape:
    kind, label = str(shape.get("shape_type", "polygon")), shape["label"]
    points = tuple((float(x), float(y)) for x, y in shape["points"])
    least, most = KINDS[kind] if kind != "outline" else (1, 0)
    if not isinstance(label, str) or not all(math.isfinite(value) for point in points for value in point):
        raise ValueError("the label is no text, or a point no number")
    if len(points) < least or (most is not None and len(points) > most):
        raise ValueError(f"a {kind} has {len(points)} points")
    return Shape(kind, label, points)


def _read_coco(path: Path, content: dict[str, Any], faults: Faults) -> list[ShapesOfImage]:
    """COCO's annotations: an outline where there is one, else a box; crowds are left out."""
    found: dict[Any, list[Shape]] = {}
    try:
        names = {row["id"]: str(row["name"]) for row in content["categories"]}
        images = {row["id"]: row for row in content["images"]}
        for row in content["annotations"]:
            if not row.get("iscrowd"):
                found.setdefault(row["image_id"], []).append(_coco_shape(row, names[row["category_id"]]))
        return [
            ShapesOfImage(f"{path}, image {key}", str(row["file_name"]), _size_of(row), tuple(found.get(key, ())))
            for key, row in images.items()
        ]
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        faults.add("record", f"{path} is malformed as COCO's file ({type(error).__name__}: {error}); expected {ADVICE}")
        return []


def _coco_shape(row: dict[str, Any], label: str) -> Shape:
    if row.get("segmentation"):
        return Shape("outline", label, outline=row["segmentation"])
    x, y, width, height = (float(value) for value in row["bbox"])
    return Shape("rectangle", label, ((x, y), (x + width, y + height)))


def _size_of(record: dict[str, Any]) -> tuple[int, int] | None:
    height, width = record.get("height"), record.get("width")
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None
