"""The records of an annotation file in COCO's format, checked: one message for each kind of fault."""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.faults import Faults
from data.image_names import composed

Id = int | str


@dataclass(frozen=True)
class CocoRules:
    """How a file is read: the category that stands for no class, and what an annotation marked `iscrowd` is.

    `ignore`: a region without a label, which does not count in the truth, as in COCO. `object`: an object like others,
    as the brush masks of labelling tools, which have the same mark. `auto`: `ignore`, but a file where all annotations
    of a category are crowds is refused.
    """

    background: str = ""
    crowd: str = "auto"

    def is_background(self, name: str) -> bool:
        """Whether a label means none of the classes."""
        return name.casefold() == composed(self.background).casefold()


PLAIN_RULES = CocoRules()


def is_crowd(annotation: dict[str, Any]) -> bool:
    """Whether an annotation outlines a group; such a region is ignored (255) and gives no label."""
    return bool(annotation.get("iscrowd"))


def order(record_id: Id) -> tuple[bool, int, str]:
    """Numbers before texts."""
    return (False, record_id, "") if isinstance(record_id, int) else (True, 0, record_id)


def category_names(
    path: Path, categories: dict[Id, dict[str, Any]], used: set[Id], faults: Faults, notes: list[str]
) -> dict[Id, str]:
    """The categories' names; a category that only groups others, as Roboflow's first one, is no class."""
    groups = {str(category.get("supercategory")) for category in categories.values()}
    names: dict[Id, str] = {}
    for record_id, category in categories.items():
        name = category["name"].strip()
        if record_id not in used and name in groups and category.get("supercategory") != name:
            notes.append(f"{path}: category '{name}' has no annotation and only groups others; it takes no class value")
        elif name in names.values():
            other = next(key for key, known in names.items() if known == name)
            faults.add(
                "same name",
                f"{path}: categories {other} and {record_id} are both named '{name}'; expected different names",
            )
        else:
            names[record_id] = name
    return names


def judge_crowds(
    path: Path,
    annotations: dict[Id, list[dict[str, Any]]],
    names: dict[Id, str],
    rules: CocoRules,
    faults: Faults,
    notes: list[str],
) -> None:
    """Refuse a category that would vanish because all its annotations are crowds, unless the setting allows it."""
    rows = [row for of_image in annotations.values() for row in of_image if row["category_id"] in names]
    crowds = Counter(row["category_id"] for row in rows if is_crowd(row))
    if not crowds:
        return
    counts = Counter(row["category_id"] for row in rows)
    whole = [names[record_id] for record_id in crowds if crowds[record_id] == counts[record_id]]
    if whole and rules.crowd == "auto":
        faults.add(
            "crowd",
            f"{path}: all annotations of {', '.join(whole[:5])} are marked iscrowd, as labelling tools mark brush "
            "masks, and would give no label; add --set data.crowd=object if they are objects, or --set "
            "data.crowd=ignore if they are crowds",
        )
    else:
        notes.append(
            f"{path}: {crowds.total()} of {len(rows)} annotations are marked iscrowd; they give no label and do not "
            "count in the truth; data.crowd=object makes objects of them"
        )


def unique_records(path: Path, records: list, what: str, text: str, faults: Faults) -> dict[Id, dict[str, Any]]:
    """Records with an `id` of their own and a text, by id."""
    found: dict[Id, dict[str, Any]] = {}
    texts: dict[str, Id] = {}
    for position, record in enumerate(records, start=1):
        where = f"{path}: {what} number {position} of the list"
        record_id = id_of(record.get("id")) if isinstance(record, dict) else None
        if record_id is None:
            faults.add(f"{what} id", f"{where} has no 'id' that is a whole number or a text, found {_short(record)}")
        elif not isinstance(record.get(text), str) or not record[text].strip():
            faults.add(f"{what} {text}", f"{where} (id {record_id}) has no '{text}', found {_short(record)}")
        elif record_id in found:
            faults.add(
                f"{what} twice", f"{where} has id {record_id}, which another {what} has already; each needs its own"
            )
        elif text == "file_name" and record[text] in texts:
            faults.add(
                "same file",
                f"{path}: images {texts[record[text]]} and {record_id} are the same file {record[text]}; make them one",
            )
        else:
            found[record_id] = record
            texts[record[text]] = record_id
    return found


def checked_annotations(
    path: Path, records: list, images: dict[Id, Any], categories: dict[Id, Any], faults: Faults, notes: list[str]
) -> dict[Id, list[dict[str, Any]]]:
    """The annotations by image, checked.

    Where images or categories have faults, annotations of unknown ones follow from these and are no faults.
    """
    are_whole = not faults
    found: dict[Id, list[dict[str, Any]]] = defaultdict(list)
    ids: set[Hashable] = set()
    empty: list[Any] = []
    for position, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            faults.add(
                "object", f"{path}: annotation number {position} of the list is not an object, found {_short(record)}"
            )
            continue
        record_id = record.get("id")
        where = f"{path}: annotation " + (f"number {position} of the list" if record_id is None else f"{record_id}")
        image, category = (id_of(record.get(name)) for name in ("image_id", "category_id"))
        if image is None or category is None:
            name = "image_id" if image is None else "category_id"
            faults.add(name, f"{where} has no '{name}' that is a whole number or a text, found {_short(record)}")
        elif image not in images or category not in categories:
            what, key = ("image", image) if image not in images else ("category", category)
            if are_whole:
                faults.add(
                    f"unknown {what}",
                    f"{where} is of {what} {key}, which is not in the list of the file; add it or remove the "
                    "annotation",
                )
        elif record_id is not None and (not isinstance(record_id, Hashable) or record_id in ids):
            faults.add(
                "annotation id", f"{where}: another annotation has the id {record_id} already; each needs its own"
            )
        elif record.get("empty"):
            empty.append(record_id if record_id is not None else position)
        else:
            record["category_id"] = category
            found[image].append(record)
        if record_id is not None and isinstance(record_id, Hashable):
            ids.add(record_id)
    if empty:
        notes.append(f"{path}: {len(empty)} annotations have a box without area and are left out, first {empty[0]}")
    return dict(found)


def id_of(value: Any) -> Id | None:
    """An id; a text of digits is the number, because some tools write both for one."""
    if isinstance(value, str) and value.strip():
        return int(value) if re.fullmatch(r"0|[1-9]\d{0,16}", value, re.ASCII) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _short(record: Any) -> str:
    text = json.dumps(record, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "..."
