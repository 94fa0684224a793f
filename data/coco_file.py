"""An annotation file in COCO's format: classes, and the images with their labels; read whole and checked.

Outlines, most of such a file, are dropped while it is read, unless they are asked for: a file of 118,000 images then
takes two fifths of the memory of the class `pycocotools.coco.COCO`. pycocotools draws them (`data/coco.py`).
"""

import gc
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.faults import Complain, Faults, counted, refuse
from data.image_names import composed
from utils.errors import UserError

PARTS = ("images", "annotations", "categories")
SCORED = "all are read as labels: keep those alone that a person has checked"
DROPPED = ("bbox", "area", "keypoints", "license", "coco_url", "flickr_url", "date_captured")  # what nothing here reads

Id = int | str
Json = dict[str, Any]


@dataclass(frozen=True)
class CocoRules:
    """How a file is read: the category that stands for no class, and what an annotation marked `iscrowd` is.

    `ignore`: a region without a label, which does not count in the truth. `object`: an object like others. `auto`:
    `ignore`, but a file where all annotations of a category are crowds, as brush masks of tools, is refused.
    """

    background: str = ""
    crowd: str = "auto"

    def is_background(self, name: str) -> bool:
        """Whether a label means none of the classes; LabelMe writes `_background_`."""
        return name.casefold().strip("_") == composed(self.background).casefold().strip("_")


PLAIN_RULES = CocoRules()


@dataclass(frozen=True, slots=True)
class CocoImage:
    """One image."""

    file_name: str
    labels: tuple[int, ...]  # indices of the classes of which at least one annotation is not a crowd, sorted
    height: Any  # whatever the file has
    width: Any
    annotations: tuple[tuple[int, Json], ...]  # (index of the class, annotation) in the file's order, if asked for


@dataclass(frozen=True)
class CocoFile:
    """The categories sorted by id, without the background's: COCO's ids 1..90 are 80 classes; the images by id."""

    class_names: tuple[str, ...]
    images: tuple[CocoImage, ...]
    notes: tuple[str, ...]


def is_crowd(annotation: Json) -> bool:
    """Whether an annotation outlines a group; such a region is ignored (255) and gives no label."""
    return str(annotation.get("iscrowd") or 0).casefold() not in ("0", "false")


def read_coco_file(
    path: Path, rules: CocoRules = PLAIN_RULES, complain: Complain = refuse, *, outlines: bool = False
) -> CocoFile:
    """Read an annotation file; without outlines once in a process, because every stage opens its lists anew.

    An annotation whose box, or without a box whose area, is empty is counted in a note. Another file, or a malformed
    record, is a `UserError`.

    Args:
        path: a file with `images` (`id`, `file_name`), `categories` (`id`, `name`) and `annotations` (`image_id`,
            `category_id`); the rest is optional. An id is a whole number or a text.
        outlines: keep `segmentation`, polygons as arrays.
    """
    if outlines or complain is not refuse:
        return _Reader(path, rules, complain).read(outlines)
    state = path.stat()
    return _remembered(path, (state.st_size, state.st_mtime_ns), rules)


@lru_cache(maxsize=8)
def _remembered(path: Path, state: tuple[int, int], rules: CocoRules) -> CocoFile:
    """`state` tells versions of the file apart."""
    return _Reader(path, rules, refuse).read(outlines=False)


class _Reader:
    def __init__(self, path: Path, rules: CocoRules, complain: Complain):
        self.path, self.rules, self.faults, self.notes = path, rules, Faults(complain), list[str]()

    def read(self, outlines: bool) -> CocoFile:
        gc.disable()  # it would look at a million new records again and again
        try:
            document = _load(self.path, outlines)
            images = self._records(document["images"], "image", "file_name")
            categories = self._records(document["categories"], "category", "name")
            rows_of = self._annotations(document["annotations"], images, categories)
        finally:
            gc.enable()
        used = Counter(row["category_id"] for rows in rows_of.values() for row in rows)
        names = self._class_names(categories, used)
        crowds = Counter(row["category_id"] for rows in rows_of.values() for row in rows if is_crowd(row))
        self._judge_crowds(names, crowds, used)
        self.faults.report(is_empty=not (names and images))
        if not names:
            raise UserError(f"{self.path} has no categories; expected records such as {{'id': 1, 'name': 'cat'}}")
        class_of = {category: index for index, category in enumerate(names)}
        found = []
        for image_id, image in images.items():
            rows = [(class_of[r["category_id"]], r) for r in rows_of.get(image_id, ()) if r["category_id"] in names]
            labels = tuple(sorted({label for label, row in rows if not is_crowd(row)}))
            size = image.get("height"), image.get("width")
            found.append(CocoImage(image["file_name"], labels, *size, tuple(rows) if outlines else ()))
        return CocoFile(tuple(names.values()), tuple(found), tuple(self.notes))

    def _wrong(self, kind: str, where: str, expected: str, found: Any) -> None:
        text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False, default=str)
        text = text if len(text) <= 80 else text[:77] + "..."
        message = f"{self.path}: {where}: expected {expected}, found {text}; correct it, or export the file again"
        self.faults.add(kind, message)

    def _records(self, records: list, what: str, text: str) -> dict[Id, Json]:
        """The records by id, numbers first, in their order."""
        found: dict[Id, Json] = {}
        file_names = set()
        for position, record in enumerate(records, start=1):
            where = f"{what} number {position} of the list"
            record_id = _id_of(record.get("id")) if isinstance(record, dict) else None
            if record_id is None:
                self._wrong(f"{what} id", where, "an 'id' that is a whole number or a text", record)
            elif not isinstance(record.get(text), str) or not record[text].strip():
                self._wrong(f"{what} {text}", f"{where} (id {record_id})", f"a '{text}'", record)
            elif record_id in found:
                self._wrong(f"{what} twice", where, "an id of its own", f"id {record_id} again")
            elif what == "image" and record[text] in file_names:
                self._wrong("same file", where, "a file of its own", f"{record[text]} again")
            else:
                found[record_id] = record
                file_names.add(record[text])
        return dict(sorted(found.items(), key=lambda item: (isinstance(item[0], str), item[0])))

    def _annotations(self, records: list, images: dict[Id, Json], categories: dict[Id, Json]) -> dict[Id, list[Json]]:
        """The annotations by image; where images or categories have faults, unknown ones follow from these."""
        are_whole = not self.faults.found
        found = defaultdict(list)
        empty, scored = [], []
        for position, record in enumerate(records, start=1):
            if not isinstance(record, dict):
                self._wrong("object", f"annotation number {position} of the list", "an object", record)
                continue
            name = f"number {position} of the list" if record.get("id") is None else str(record["id"])
            ids = {}
            for key, known in (("image_id", images), ("category_id", categories)):
                ids[key] = _id_of(record.get(key))
                if ids[key] is None:
                    self._wrong(key, f"annotation {name}", f"an '{key}' that is a whole number or a text", record)
                elif known and ids[key] not in known and are_whole:
                    expected = f"one of the {len(known)} ids in the file as '{key}'"
                    self._wrong(f"unknown {key}", f"annotation {name}", expected, str(ids[key]))
            if ids["image_id"] not in images or ids["category_id"] not in categories:
                continue
            if record.get("empty"):
                empty.append(name)
                continue
            if "score" in record:
                scored.append(name)
            record["category_id"] = ids["category_id"]
            if self.rules.crowd == "object":
                record.pop("iscrowd", None)
            found[ids["image_id"]].append(record)
        self.notes += counted(self.path, "annotations whose box has no area", empty, "they are left out")
        self.notes += counted(self.path, "annotations with a score, as of a network", scored, SCORED)
        return found

    def _class_names(self, categories: dict[Id, Json], used: Counter[Id]) -> dict[Id, str]:
        """The classes, by id; a category that only groups others, as Roboflow's first one, is none."""
        groups = {str(category.get("supercategory")) for category in categories.values()}
        names: dict[Id, str] = {}
        for record_id, category in categories.items():
            name = composed(category["name"].strip())
            if record_id not in used and name in groups and category.get("supercategory") != name:
                what = f"category '{name}' has no annotation and only groups others"
                self.notes.append(f"{self.path}: {what}; it takes no class value")
            elif name in names.values():
                self._wrong("same name", f"category {record_id}", "a name of its own", f"'{name}' again")
            elif not self.rules.is_background(name):
                names[record_id] = name
        return names

    def _judge_crowds(self, names: dict[Id, str], crowds: Counter[Id], used: Counter[Id]) -> None:
        """Refuse a class that would vanish because all its annotations are crowds, unless the setting allows it."""
        whole = [name for key, name in names.items() if crowds[key] == used[key] > 0]
        count, every = (sum(of_class[key] for key in names) for of_class in (crowds, used))
        if whole and self.rules.crowd == "auto":
            what = f"all annotations of {', '.join(whole[:5])} are marked iscrowd, as labelling tools mark brush masks"
            remedy = "add --set data.crowd=object if they are objects, or --set data.crowd=ignore if they are crowds"
            self.faults.add("crowd", f"{self.path}: {what}, and would give no label; {remedy}")
        elif count:
            effect = "they give no label and do not count in the truth; data.crowd=object makes objects of them"
            self.notes.append(f"{self.path}: {count} of {every} annotations are marked iscrowd; {effect}")


def _id_of(value: Any) -> Id | None:
    """An id; a text of digits is the number, because some tools write both for one."""
    if isinstance(value, str) and value.strip():
        return int(value) if re.fullmatch(r"0|[1-9]\d{0,16}", value, re.ASCII) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _load(path: Path, outlines: bool) -> dict[str, list]:
    def shorten(record: Json) -> Json:
        """Called for each record as soon as it is read, so that the whole file never lies in memory as objects."""
        if "bbox" in record or "area" in record:
            box = record.get("bbox")
            # Some tools write 0 for the area of every object.
            sizes = box[2:] if isinstance(box, list) and len(box) == 4 else [record.get("area")]
            record["empty"] = any(isinstance(size, int | float) and size <= 0 for size in sizes)
        for name in DROPPED if outlines else (*DROPPED, "segmentation"):
            record.pop(name, None)
        if isinstance(record.get("segmentation"), list):
            record["segmentation"] = [_compact(polygon) for polygon in record["segmentation"]]
        return record

    try:
        with path.open(encoding="utf-8-sig") as file:
            document = json.load(file, object_hook=shorten)
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}"
        raise UserError(f"{where}: this is not JSON ({error.msg}); download or export it again") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON in UTF-8 ({error}); download or export it again") from error
    for part in PARTS:
        if not isinstance(document, dict) or not isinstance(document.get(part), list):
            expected = f"expected an object with {', '.join(PARTS)}; export as COCO, or labels alone as CSV"
            raise UserError(f"{path} is not an instances file of COCO: it has no list '{part}'; {expected}")
    return document


def _compact(polygon: Any) -> Any:
    """Numbers take a quarter of the memory in an array; the renderer refuses what is not numbers."""
    try:
        return np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        return polygon
