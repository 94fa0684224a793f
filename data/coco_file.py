"""An annotation file in COCO's format: images, categories, and which image has which; read whole, checked record by record.

    table = read_label_table("annotations/instances_val2017.json")
    table.class_names, table.images[0]

The outlines, most of such a file, are dropped while it is read, unless they are asked for: a file of 118,000 images then takes
two fifths of the memory of the class `pycocotools.coco.COCO`, and no more time (`benchmarks/coco_index.py`).
Drawing outlines is pycocotools' work all the same (`data/coco_masks.py`).
"""

import contextlib
import gc
import json
import logging
from collections import defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Complain, refuse
from utils.errors import UserError
from utils.names import fault_of, shown

logger = logging.getLogger(__name__)

PARTS = ("images", "annotations", "categories")
DROPPED = ("bbox", "area", "keypoints", "license", "coco_url", "flickr_url", "date_captured")  # what nothing here reads


@dataclass(frozen=True)
class CocoFile:
    """What an annotation file says.

    Attributes:
        path: the file.
        class_names: the categories, sorted by id, without the background's: COCO's ids 1..90 become 80 classes, 0..79.
        class_of: category id -> index into `class_names`; the background's category has none.
        images: image id -> its record (`file_name`; `height` and `width` where the file has them), sorted by id.
        annotations: image id -> its annotations in the file's order, those without area left out.
    """

    path: Path
    class_names: tuple[str, ...]
    class_of: dict[int, int]
    images: dict[int, dict[str, Any]]
    annotations: dict[int, list[dict[str, Any]]]

    def labels(self, image: int) -> tuple[int, ...]:
        """The classes of an image: those of which at least one annotation is not a crowd."""
        rows = (row for row in self.annotations.get(image, ()) if not is_crowd(row))
        return tuple(sorted({self.class_of[row["category_id"]] for row in rows if row["category_id"] in self.class_of}))


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Whether an annotation outlines a group; such a region is ignored (255) and gives no label."""
    return bool(annotation.get("iscrowd"))


def read_coco_file(
    path: str | Path, *, outlines: bool = False, background: str = "", complain: Complain = refuse
) -> CocoFile:
    """Read an annotation file.

    An annotation whose box or area is empty shows nothing: it gives neither label nor pixels, and is counted in a warning.

    Args:
        path: an `instances_*.json`, or any file with `images` (`id`, `file_name`), `categories` (`id`, `name`) and
            `annotations` (`image_id`, `category_id`); the rest is optional.
        outlines: keep `segmentation`, polygons as arrays.
        background: name of a category that stands for no class.
        complain: what to do about a record that is not as it should be.

    Raises:
        UserError: not such a file, or a malformed record; the message says which.
    """
    with _collector_paused():
        return _read(Path(path), outlines, background, complain)


@dataclass(frozen=True)
class LabelTable:
    """What training needs of an annotation file: the classes, and per image its file name and labels, sorted by id."""

    class_names: tuple[str, ...]
    images: tuple[tuple[str, tuple[int, ...]], ...]


def read_label_table(path: str | Path, background: str = "", complain: Complain = refuse) -> LabelTable:
    """The labels of an annotation file, read once in a process, because every stage opens its lists anew.

    Raises:
        UserError: as `read_coco_file`.
    """
    path = Path(path)
    if complain is not refuse:
        return _label_table(read_coco_file(path, background=background, complain=complain))
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check data.root and who may read it") from error
    return _remember(path, (state.st_size, state.st_mtime_ns), background)


@lru_cache(maxsize=8)
def _remember(path: Path, state: tuple[int, int], background: str) -> LabelTable:
    """`state` tells versions of the file apart."""
    return _label_table(read_coco_file(path, background=background))


def _label_table(coco: CocoFile) -> LabelTable:
    images = tuple((image["file_name"], coco.labels(number)) for number, image in coco.images.items())
    return LabelTable(coco.class_names, images)


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


def _read(path: Path, outlines: bool, background: str, complain: Complain) -> CocoFile:
    document = _load(path, outlines)
    categories = _unique(path, document["categories"], "category", "name", complain)
    by_name: dict[str, int] = {}
    for number, category in list(categories.items()):
        name = category["name"].strip()
        if name in by_name:
            complain(
                f"{path}: categories {by_name[name]} and {number} are both named '{name}'; expected different names"
            )
        by_name.setdefault(name, number)
    names = {number: name for name, number in by_name.items() if name.casefold() != background.casefold()}
    class_of = {number: place for place, number in enumerate(sorted(names))}
    if not class_of:
        raise UserError(f"{path} has no categories; expected records such as {{'id': 1, 'name': 'cat'}}")

    images = _unique(path, document["images"], "image", "file_name", complain)
    for number, image in list(images.items()):
        if (fault := fault_of(image["file_name"])) is not None:
            complain(
                f"{path}: image {number} has the file name {shown(image['file_name'])}, which {fault}; expected a path under "
                "the folder of images, such as 000000000009.jpg"
            )
            del images[number]
    return CocoFile(
        path,
        tuple(names[number] for number in sorted(names)),
        class_of,
        dict(sorted(images.items())),
        _annotations(path, document["annotations"], images, categories, complain),
    )


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
    return f"{path} is not an instances file of COCO: {reason}; expected an object with the lists {', '.join(PARTS)}"


def _compact(polygon: Any) -> Any:
    """Numbers take a quarter of the memory in an array; what is not a list of numbers stays for the renderer to refuse."""
    try:
        return np.array(polygon, np.float64)
    except (TypeError, ValueError, OverflowError):
        return polygon


def _is_empty(box: Any, area: Any) -> bool:
    sides = box[2:] if isinstance(box, list) and len(box) == 4 else ()
    return any(isinstance(size, int | float) and size <= 0 for size in (*sides, area))


def _unique(path: Path, records: list, what: str, text: str, complain: Complain) -> dict[int, dict[str, Any]]:
    """Records with a whole number `id` of their own and a text, by id."""
    found: dict[int, dict[str, Any]] = {}
    texts: dict[str, int] = {}
    for place, record in enumerate(records, start=1):
        where = f"{path}: {what} number {place} of the list"
        if not isinstance(record, dict) or not _is_id(record.get("id")):
            complain(f"{where} has no whole number 'id', found {_short(record)}")
        elif not isinstance(record.get(text), str) or not record[text].strip():
            complain(f"{where} (id {record['id']}) has no '{text}', found {_short(record)}")
        elif record["id"] in found:
            complain(f"{where} has id {record['id']}, which another {what} has already; each needs its own")
        elif text == "file_name" and record[text] in texts:
            complain(
                f"{path}: images {texts[record[text]]} and {record['id']} are the same file {record[text]}; make them one"
            )
        else:
            found[record["id"]] = record
            texts[record[text]] = record["id"]
    return found


def _annotations(
    path: Path, records: list, images: dict[int, Any], categories: dict[int, Any], complain: Complain
) -> dict[int, list[dict[str, Any]]]:
    """The annotations by image, checked."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    ids: set[Hashable] = set()
    empty: list[Any] = []
    for place, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            complain(f"{path}: annotation number {place} of the list is not an object, found {_short(record)}")
            continue
        number = record.get("id")
        where = f"{path}: annotation " + (f"number {place} of the list" if number is None else f"{number}")
        missing = [name for name in ("image_id", "category_id") if not _is_id(record.get(name))]
        if missing:
            complain(f"{where} has no whole number '{missing[0]}', found {_short(record)}")
        elif record["image_id"] not in images:
            complain(
                f"{where} is of image {record['image_id']}, which is not among the images; add it or remove the annotation"
            )
        elif record["category_id"] not in categories:
            complain(f"{where} is of category {record['category_id']}, which is not among the categories; mend either")
        elif number is not None and (not isinstance(number, Hashable) or number in ids):
            complain(f"{where}: another annotation has the id {number} already; each needs its own")
        elif record.get("empty"):
            empty.append(number if number is not None else place)
        else:
            found[record["image_id"]].append(record)
        if number is not None and isinstance(number, Hashable):
            ids.add(number)
    if empty:
        logger.warning(
            "%s: %d annotations have a box without area and are left out, first %s", path, len(empty), empty[0]
        )
    return dict(found)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _short(record: Any) -> str:
    text = json.dumps(record, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
