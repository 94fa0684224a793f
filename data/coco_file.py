"""An annotation file in COCO's format: images, categories, and which image has which; read whole and checked.

    table = read_coco_labels("annotations/instances_val2017.json")
    table.class_names, table.images[0]

The outlines, most of such a file, are dropped while it is read, unless they are asked for: a file of 118,000 images
then takes two fifths of the memory of the class `pycocotools.coco.COCO`, and no more time (`benchmarks/coco_index.py`).
Drawing outlines is pycocotools' work all the same (`data/coco_masks.py`).
"""

import contextlib
import gc
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.coco_records import (
    PLAIN_RULES,
    CocoRules,
    Id,
    category_names,
    checked_annotations,
    is_crowd,
    judge_crowds,
    order,
    unique_records,
)
from data.dataset import Complain, refuse
from data.faults import Faults
from utils.errors import UserError

PARTS = ("images", "annotations", "categories")
DROPPED = ("bbox", "area", "keypoints", "license", "coco_url", "flickr_url", "date_captured")  # what nothing here reads


@dataclass(frozen=True)
class CocoFile:
    """The content of an annotation file.

    Attributes:
        path: the file.
        class_names: the categories, sorted by id, without the background's: COCO's ids 1..90 become 80 classes, 0..79.
        class_of: category id -> index into `class_names`; the background's category has none.
        images: image id -> its record (`file_name`; `height` and `width` where the file has them), sorted by id.
        annotations: image id -> its annotations in the file's order, those without area left out.
        notes: what a person should know of crowds and categories.
    """

    path: Path
    class_names: tuple[str, ...]
    class_of: dict[Id, int]
    images: dict[Id, dict[str, Any]]
    annotations: dict[Id, list[dict[str, Any]]]
    notes: tuple[str, ...] = ()

    def labels(self, image: Id) -> tuple[int, ...]:
        """The classes of an image: those of which at least one annotation is not a crowd."""
        rows = (row for row in self.annotations.get(image, ()) if not is_crowd(row))
        return tuple(sorted({self.class_of[row["category_id"]] for row in rows if row["category_id"] in self.class_of}))


def read_coco_file(
    path: str | Path, *, outlines: bool = False, rules: CocoRules = PLAIN_RULES, complain: Complain = refuse
) -> CocoFile:
    """Read an annotation file.

    An annotation whose box or area is empty shows nothing: it gives neither label nor pixels, and is counted in a note.

    Args:
        path: an `instances_*.json`, or any file with `images` (`id`, `file_name`), `categories` (`id`, `name`) and
            `annotations` (`image_id`, `category_id`); the rest is optional. An id is a whole number or a text.
        outlines: keep `segmentation`, polygons as arrays.
        rules: the background's category, and what crowds are.

    Raises:
        UserError: not such a file, or a malformed record; the message says which.
    """
    with _collector_paused():
        return _read(Path(path), outlines, rules, complain)


@dataclass(frozen=True)
class CocoLabels:
    """What training needs of an annotation file: the classes, and per image its file name and labels, sorted by id."""

    class_names: tuple[str, ...]
    images: tuple[tuple[str, tuple[int, ...]], ...]
    notes: tuple[str, ...] = ()


def read_coco_labels(path: str | Path, rules: CocoRules = PLAIN_RULES, complain: Complain = refuse) -> CocoLabels:
    """The labels of an annotation file, read once in a process, because every stage opens its lists anew.

    Raises:
        UserError: as `read_coco_file`.
    """
    path = Path(path)
    if complain is not refuse:
        return _labels(read_coco_file(path, rules=rules, complain=complain))
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check data.root and who may read it") from error
    return _remember(path, (state.st_size, state.st_mtime_ns), rules)


@lru_cache(maxsize=8)
def _remember(path: Path, state: tuple[int, int], rules: CocoRules) -> CocoLabels:
    """`state` tells versions of the file apart."""
    return _labels(read_coco_file(path, rules=rules))


def _labels(coco: CocoFile) -> CocoLabels:
    images = tuple((image["file_name"], coco.labels(record_id)) for record_id, image in coco.images.items())
    return CocoLabels(coco.class_names, images, coco.notes)


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the garbage collector, which looks at a million new records again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(path: Path, outlines: bool, rules: CocoRules, complain: Complain) -> CocoFile:
    document = _load(path, outlines)
    if rules.crowd == "object":
        for row in document["annotations"]:
            if isinstance(row, dict):
                row.pop("iscrowd", None)
    faults = Faults(complain)
    categories = unique_records(path, document["categories"], "category", "name", faults)
    if not (categories or faults):
        raise UserError(f"{path} has no categories; expected records such as {{'id': 1, 'name': 'cat'}}")
    images = unique_records(path, document["images"], "image", "file_name", faults)
    notes: list[str] = []
    annotations = checked_annotations(path, document["annotations"], images, categories, faults, notes)
    used = {row["category_id"] for rows in annotations.values() for row in rows}
    names = category_names(path, categories, used, faults, notes)
    names = {record_id: name for record_id, name in names.items() if not rules.is_background(name)}
    judge_crowds(path, annotations, names, rules, faults, notes)
    faults.report(is_empty=not (names and images))
    if not names:
        raise UserError(f"{path} has no categories; expected records such as {{'id': 1, 'name': 'cat'}}")
    sorted_ids = sorted(names, key=order)
    return CocoFile(
        path,
        tuple(names[record_id] for record_id in sorted_ids),
        {record_id: position for position, record_id in enumerate(sorted_ids)},
        dict(sorted(images.items(), key=lambda item: order(item[0]))),
        annotations,
        tuple(notes),
    )


def read_list(path: Path) -> list[Any]:
    """The list that a JSON file holds; empty where it holds something else, or cannot be read."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            start = file.read(200)
            if not start.lstrip().startswith("["):
                return []
            file.seek(0)
            document = json.load(file)
    except (OSError, ValueError, RecursionError):
        return []
    return document if isinstance(document, list) and document and isinstance(document[0], dict) else []


def _load(path: Path, outlines: bool) -> dict[str, list]:
    def shorten(record: dict[str, Any]) -> dict[str, Any]:
        """Called for each record as soon as it is read, so that the whole file never lies in memory as objects."""
        if "bbox" in record or "area" in record:
            record["empty"] = _is_empty(record.get("bbox"), record.get("area"))
        for name in DROPPED:
            record.pop(name, None)
        if "segmentation" in record:
            if not outlines:
                del record["segmentation"]
            elif isinstance(record["segmentation"], list):
                record["segmentation"] = [_compact(polygon) for polygon in record["segmentation"]]
        return record

    try:
        with path.open(encoding="utf-8-sig") as file:
            document = json.load(file, object_hook=shorten)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: this is not JSON ({error.msg}); download or export it again"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON in UTF-8 ({error}); download or export it again") from error
    if not isinstance(document, dict):
        raise UserError(_other_file(path, f"it holds a {type(document).__name__} and not an object"))
    for part in PARTS:
        if not isinstance(document.get(part), list):
            raise UserError(_other_file(path, f"it has no list '{part}'"))
    return document


def _other_file(path: Path, reason: str) -> str:
    return (
        f"{path} is not an instances file of COCO: {reason}; expected an object with the lists {', '.join(PARTS)}; "
        "export from your tool as COCO, or, for labels alone, as CSV"
    )


def _compact(polygon: Any) -> Any:
    """Numbers take a quarter of the memory in an array; the renderer refuses what is not numbers."""
    try:
        return np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        return polygon


def _is_empty(box: Any, area: Any) -> bool:
    sides = box[2:] if isinstance(box, list) and len(box) == 4 else ()
    return any(isinstance(size, int | float) and size <= 0 for size in (*sides, area))
