"""Labels in the files of tools: YOLO's boxes, and Label Studio's tasks in JSON.

YOLO: images/a.jpg and labels/a.txt, whose lines begin with the index of a class; the names come from a YAML file
(`names:`), or from classes.txt or obj.names. An image without boxes shows none of the classes.
Label Studio: a list of tasks, each with its image and what was chosen, in the long form or in JSON-MIN.
"""

import json
import re
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from data.coco_file import SCORED
from data.faults import Faults, counted
from data.image_names import composed, plain
from data.label_table import LABEL_COLUMNS, LIST_COLUMNS, LabelTable, Row
from data.layouts import SPLITS, Layout
from data.tables import flat, read_class_names, read_lines, start_of
from data.tree import Tree
from utils.config_file import NOT_YAML, parse_yaml
from utils.errors import UserError

NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")
BOX = re.compile(r"\S+(\s+[-+.eE\d]+){4}")  # the class, then numbers
IMAGE_KEYS = ("image", "img", "file_upload", "filename", "file_name", "path")


def yolo_file(image: str, files: set[str]) -> str | None:
    """The file of boxes of an image, in the folder `labels` instead of `images` or beside the image."""
    stem = str(PurePosixPath(image).with_suffix(".txt"))
    moved = re.sub(r"(^|/)images/(?!.*(^|/)images/)", r"\1labels/", stem)
    return next((path for path in (moved, stem) if path in files and PurePosixPath(path).name != "classes.txt"), None)


def is_yolo(layout: Layout) -> bool:
    """Whether the texts of images are boxes, or all empty; others beside images are captions and the like."""
    files = [file for image in layout.images if (file := yolo_file(image, layout.tree.files)) is not None]
    texts = (start_of(layout.root / file).strip() for file in files)
    lines = filter(None, (text.partition("\n")[0] for text in texts))  # read up to the first box
    first = next(lines, "")
    return bool(files) and (not first or any(map(BOX.match, chain([first], lines))))


def read_yolo(layout: Layout) -> LabelTable:
    """The classes and the labels of every image; `UserError` where nothing names the classes."""
    names, faults = _yolo_names(layout.tree), Faults(layout.complain)
    table = LabelTable(tuple(names.values()), [])
    without, scored, empty = [], [], []
    for image in layout.images:
        file = yolo_file(image, layout.tree.files)
        labels: set[str] = set()
        if file is None:
            without.append(image)
        source = layout.root / (file or image)
        for number, line in read_lines(source) if file is not None else ():
            first, *numbers = line.split()
            if len(numbers) == 4 and any(re.fullmatch(r"0*\.?0*", side) for side in numbers[2:]):
                empty.append(f"{file}, line {number}")
                continue
            if len(numbers) == 5 and "." in numbers[4]:
                scored.append(f"{file}, line {number}")
            if first.isdecimal() and len(first) < 6 and int(first) in names:
                labels.add(names[int(first)])
            else:
                expected = f"expected the index of a class, {min(names)}..{max(names)}, and a box; found '{line[:40]}'"
                faults.add("class", f"{source}, line {number}: {expected}")
        table.rows.append(Row(f"{source}", image, labels))
    what = "class folders are not read, because YOLO's files of boxes give the labels"
    table.notes += counted(layout.root, what, {*layout.class_of.values()}, "remove those files if the folders do")
    remedy = "they are read as none of the classes"
    table.notes += counted(layout.root, "images without a file of boxes", without, remedy)
    table.notes += counted(layout.root, "boxes without an area", empty, "they are left out")
    table.notes += counted(layout.root, "boxes with a score, as of a network", scored, SCORED)
    faults.report()
    return table


def _yolo_names(tree: Tree) -> dict[int, str]:
    """The name of each index, in the order of the indices, which need not begin with 0 where a file gives them."""
    found: dict[str, dict[int, str]] = {}
    for path in sorted(path for path in tree.files if path.count("/") < 2 and path.endswith((".yaml", ".yml"))):
        try:
            _, document = parse_yaml((tree.root / path).read_text(encoding="utf-8-sig"))
        except (OSError, *NOT_YAML) as error:
            raise UserError(f"{tree.root / path} cannot be read as YAML ({error}); export it again") from error
        names: Any = document.get("names") if isinstance(document, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if isinstance(names, dict) and names and all(isinstance(key, int) for key in names):
            found[path] = {key: composed(str(names[key])) for key in sorted(names)}
    for name in (name for name in NAME_FILES if name in tree.files):
        found[name] = dict(enumerate(read_class_names(tree.root / name, all_lines=True)))
    first, *others = found or [""]
    if different := [path for path in others if found[path] != found[first]]:
        what = f"{first} and {different[0]} name different classes for YOLO's boxes"
        raise UserError(f"{tree.root}: {what}; remove what does not belong to these images")
    if first:
        return found[first]
    remedy = "put data.yaml with 'names:' or classes.txt there, one name a line"
    raise UserError(f"{tree.root} has YOLO's files of boxes, and nothing names the classes: {remedy}")


def label_studio_tasks(path: Path) -> list[Any]:
    """The list of tasks that a JSON file holds; empty where it holds something else, or cannot be read."""
    if not start_of(path).lstrip().startswith("["):
        return []  # COCO's format, maybe of gigabytes
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []
    return document if document and isinstance(document[0], dict) else []


def read_label_studio(path: Path, tasks: list[Any]) -> LabelTable:
    """The labels of every task that has an annotation: choices, and the labels of boxes, polygons and brushes."""
    table = LabelTable((), [])
    without, various, questions = [], [], set[str]()
    for position, task in enumerate(task for task in tasks if isinstance(task, dict)):
        data = task["data"] if isinstance(task.get("data"), dict) else task
        name = next((data[key] for key in IMAGE_KEYS if isinstance(data.get(key), str)), "")
        done = [one for one in task.get("annotations") or () if isinstance(one, dict) and not one.get("was_cancelled")]
        by_person = [[answer for answer in one.get("result") or () if isinstance(answer, dict)] for one in done]
        answers = list(chain.from_iterable(by_person))
        questions.update(str(answer.get("from_name")) for answer in answers if answer.get("type") == "choices")
        values = ([answer["value"] for answer in one if isinstance(answer.get("value"), dict)] for one in by_person)
        chosen = list(map(flat, values))
        keys = () if "annotations" in task else task
        columns = [key for name in LABEL_COLUMNS for key in keys if plain(key) == name]
        labels = list(chain.from_iterable(chosen)) or flat([task[key] for key in columns[:1]])
        where = f"task {task.get('id', position + 1)}"
        if not done and {*labels} <= {"0", "1"} and len(labels) > len({*labels}) and isinstance(task[columns[0]], list):
            what = f"the labels look like a 0 or 1 for each class, found {str(task[columns[0]])[:80]}"
            raise UserError(f"{path}, {where}: {what}; give the names of the classes that the image shows")
        if not name or not (done or columns) or (answers and not labels):
            without.append(where)
        else:
            split = next((str(data[key]).casefold() for key in data if plain(key) in LIST_COLUMNS), "")
            table.rows.append(Row(f"{path}, {where}", name, set(map(composed, labels)), SPLITS.get(split, "")))
        if len(set(map(frozenset, chosen))) > 1:
            various.append(where)
    what = "tasks without an image, or whose annotations name no class"
    table.notes += counted(path, what, without, "they are left out")
    table.notes += counted(path, "tasks of several annotations with different labels", various, "all labels count")
    if len(questions) > 1:
        what = f"answers to different questions ({', '.join(sorted(questions))}) are all read as classes"
        table.notes.append(f"{path}: {what}; remove those that are none, or export a CSV with one column of labels")
    return table
