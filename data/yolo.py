"""Labels from YOLO's files: images/a.jpg and labels/a.txt, whose lines begin with the index of a class.

The names of the classes come from a YAML file (`names:`) or from classes.txt or obj.names. An image without a file of
boxes, or with an empty one, shows none of the classes.
"""

import re
from pathlib import PurePosixPath
from typing import Any

from data.faults import Faults
from data.label_table import LabelTable
from data.tables import read_class_names, read_lines
from data.tree import Tree
from utils.config_file import NOT_YAML, parse_yaml
from utils.errors import UserError

NAME_FILES = ("classes.txt", "obj.names", "labels/classes.txt")


def label_file(image: str, files: set[str]) -> str | None:
    """The file of boxes of an image, in the folder `labels` instead of `images` or beside the image."""
    stem = str(PurePosixPath(image).with_suffix(".txt"))
    moved = re.sub(r"(^|/)images/(?!.*(^|/)images/)", r"\1labels/", stem)
    return next((path for path in (moved, stem) if path in files and PurePosixPath(path).name != "classes.txt"), None)


def read_yolo(tree: Tree, images: list[str], faults: Faults) -> LabelTable:
    """The classes and the labels of every image.

    Raises:
        UserError: nothing names the classes.
    """
    names = _class_names(tree)
    table = LabelTable(names, [])
    without = []
    for image in images:
        file = label_file(image, tree.files)
        labels: set[str] = set()
        if file is None:
            without.append(image)
            table.rows.append((f"{tree.root / image}", image, labels))
            continue
        for number, line in read_lines(tree.root / file):
            first = line.split()[0]
            if first.isdecimal() and len(first) < 6 and int(first) < len(names):
                labels.add(names[int(first)])
            else:
                faults.add(
                    "class",
                    f"{tree.root / file}, line {number}: expected the index of a class, 0..{len(names) - 1}, and a "
                    f"box; found '{line[:40]}'",
                )
        table.rows.append((f"{tree.root / file}", image, labels))
    if without:
        table.notes.append(
            f"{tree.root}: {len(without)} images have no file of boxes, first {without[0]}; they are read as none of "
            "the classes"
        )
    return table


def _class_names(tree: Tree) -> tuple[str, ...]:
    yamls = sorted(path for path in tree.files if path.count("/") < 2 and path.endswith((".yaml", ".yml")))
    for path in yamls:
        try:
            _, document = parse_yaml((tree.root / path).read_text(encoding="utf-8-sig"))
        except (OSError, *NOT_YAML) as error:
            raise UserError(
                f"{tree.root / path} cannot be read as YAML ({error}); export the data set again"
            ) from error
        names: Any = document.get("names") if isinstance(document, dict) else None
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names)] if all(isinstance(key, int) for key in names) else None
        if isinstance(names, list) and names:
            return tuple(str(name) for name in names)
    for name in NAME_FILES:
        if name in tree.files:
            return read_class_names(tree.root / name)
    raise UserError(
        f"{tree.root} has YOLO's files of boxes, and nothing names the classes: put data.yaml with 'names:' or "
        "classes.txt there, one name a line"
    )
