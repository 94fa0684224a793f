"""A CSV of labels: its rows, and how a cell of labels is read.

image,labels                        image,cat,dog
1.jpg,cat;dog                       1.jpg,1,1
2.jpg,                              2.jpg,0,0

The columns may have other usual names (`filename`, `class`, ...). Labels are separated by ';'. Another separator is
read where all its parts are known classes; lists such as ['cat', 'dog'] are read as lists; what looks like either and
is not known is named.
"""

import ast
import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.faults import Complain, Faults, counted
from data.image_names import composed
from data.layouts import SPLITS
from data.tables import read_rows
from utils.errors import UserError

IMAGE_COLUMNS = (
    "image", "filename", "file_name", "file", "path", "filepath", "file_path", "image_path", "image_name",
    "image_id", "img", "img_path", "name", "id",
)  # fmt: skip
LABEL_COLUMNS = (
    "labels", "label", "classes", "class", "class_name", "class_names", "category", "categories", "choice",
    "choices", "tags", "tag", "target", "species",
)  # fmt: skip
BOX_COLUMNS = frozenset({"xmin", "x_min", "x1", "left", "bbox", "box", "bbox_x"})  # a row is one object of an image
LIST_COLUMNS = ("split", "set", "subset", "partition", "phase")
NO_LABEL = frozenset({"nan", "none", "null", "n/a", "<na>", "[]", "{}", "()"})
YES, NO = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false", ""})
EXPECTED = "the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog', or 'image,cat,dog' and rows of 0 and 1"
SEPARATORS = (",", r"\|", "/", r"\+", "&", r"\s+", r"[,|/+&\s]+")  # tried in turn; the last is any of them

Cells = tuple[str, list[str]]  # where a row is, for errors; its cells
Row = tuple[str, str, set[str]]  # where it is; the image as it is named there; its labels


@dataclass
class LabelTable:
    """What a table says of images."""

    class_names: tuple[str, ...]  # where the table itself has an order of them, else none
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # for people
    lists: list[str] = field(default_factory=list)  # of each row: train, val or test, where a column says so


def read_label_table(path: Path, known: Collection[str], complain: Complain) -> LabelTable:
    """The rows of a table.

    Args:
        known: the classes, where they are known from elsewhere; they decide where a cell of several labels is cut.

    Raises:
        UserError: the file is empty, or has another header.
    """
    lines = read_rows(path)
    if not lines:
        raise UserError(f"{path} is empty; expected {EXPECTED}")
    header = _unpadded(lines[0][1], 1)
    columns = [cell.casefold() for cell in header]
    image = next((columns.index(name) for name in IMAGE_COLUMNS if name in columns), None)
    if image is None or len(header) < 2:
        raise UserError(f"{path}, line {lines[0][0]}: expected {EXPECTED}; found '{','.join(header)[:80]}'")
    faults = Faults(complain)
    body = _body(path, header, image, lines[1:], faults)
    found = (columns.index(name) for name in LIST_COLUMNS if name in columns)
    split = next((column for column in found if all(row[column].casefold() in SPLITS for _, row in body)), None)
    label = next((columns.index(name) for name in LABEL_COLUMNS if name in columns), None)
    if len(header) == 2 and split is None and any(row[1 - image].casefold() not in YES | NO for _, row in body):
        label = 1 - image
    if label is not None:
        table = _column(path, [(where, row[image], row[label]) for where, row in body], known, faults)
        others = [name for position, name in enumerate(header) if position not in (image, label, split)]
        table.notes += counted(path, "columns that are not used", others, f"labels are those of '{header[label]}'")
    else:
        table = _one_hot(path, header, [image] if split is None else [image, split], body, faults)
    faults.report(is_empty=not table.rows)
    if not table.rows:
        raise UserError(f"{path} has no rows under its header; expected {EXPECTED}")
    if split is not None and len(table.rows) == len(body):
        table.lists = [SPLITS[row[split].casefold()] for _, row in body]
    # Without a column of labels, one called `box` is a class.
    return table if label is None or BOX_COLUMNS.isdisjoint(columns) else _joined(path, table)


def _body(path: Path, header: list[str], image: int, lines: list[tuple[int, list[str]]], faults: Faults) -> list[Cells]:
    """The rows below the header that have as many cells and, in the column `image`, a name."""
    body = []
    for line, cells in lines:
        where, row = f"{path}, line {line}", _unpadded(cells, len(header))
        if len(row) != len(header):
            faults.add(
                "cells",
                f"{where}: expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}; separate labels "
                "with ';', and leave the cell empty, but keep its comma, where an image has none",
            )
        elif not row[image]:
            faults.add("name", f"{where}: there is no image's name in the column '{header[image]}'")
        else:
            body.append((where, row))
    return body


def _joined(path: Path, table: LabelTable) -> LabelTable:
    """A table of objects as one of images: the labels of all rows of an image."""
    first: dict[str, int] = {}  # image -> its first row
    for number, (_, image, labels) in enumerate(table.rows):
        table.rows[first.setdefault(image, number)][2].update(labels)
    rows = [table.rows[number] for number in first.values()]
    lists = [table.lists[number] for number in first.values()] if table.lists else []
    notes = [*table.notes, f"{path}: {len(table.rows)} rows of objects are the labels of {len(rows)} images"]
    return LabelTable(table.class_names, rows, notes, lists)


def _unpadded(cells: list[str], length: int) -> list[str]:
    """Without the empty cells that spreadsheets add at the end of a row."""
    while len(cells) > length and not cells[-1]:
        cells = cells[:-1]
    return cells


def _one_hot(path: Path, header: list[str], apart: list[int], body: list[Cells], faults: Faults) -> LabelTable:
    """Columns of 0 and 1, but for those `apart`, the first of which has the images."""
    names = [composed(name) for position, name in enumerate(header) if position not in apart]
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"{path}: expected different classes in the header, found '{','.join(header)[:80]}'")
    rows: list[Row] = []
    for where, row in body:
        cells = dict(zip(names, (cell.casefold() for n, cell in enumerate(row) if n not in apart), strict=True))
        strange = next((name for name, cell in cells.items() if cell not in YES | NO), None)
        if strange is None:
            rows.append((where, row[apart[0]], {name for name, cell in cells.items() if cell in YES}))
        else:
            faults.add(
                f"column {strange}",
                f"{where}: expected 0 or 1 in the column '{strange}', found '{cells[strange][:40]}'; remove the column "
                "if it is no class, or call the column of the labels 'labels'",
            )
    return LabelTable(tuple(names), rows)


def _column(path: Path, cells: list[tuple[str, str, str]], known: Collection[str], faults: Faults) -> LabelTable:
    """One column of labels."""
    folded = {composed(name).casefold() for name in known}
    items = [_items(text, folded) for _, _, text in cells]
    alone = folded or {item.casefold() for row in items for item in row if not re.search(SEPARATORS[-1], item)}
    table = LabelTable((), [])
    for (where, image, text), row in zip(cells, items, strict=True):
        labels = {part for item in row for part in _parts(item, alone)}
        if any(label.casefold() not in alone and re.search(r"[,|]|^[\[{('\"]", label) for label in labels):
            faults.add(
                "separator",
                f"{where}: separate labels with ';', found '{text[:80]}'; if it is one label, or to have it cut, name "
                "the classes in data.classes",
            )
        table.rows.append((where, image, labels))
    empty = [where for (where, _, text), row in zip(cells, items, strict=True) if text and not row]
    table.notes += counted(path, "cells that are read as no label", empty, "they hold 'nan', 'none' or the like")
    if not known:
        table.notes += _judge_words(path, {label for _, _, labels in table.rows for label in labels}, faults)
    return table


def _judge_words(path: Path, labels: set[str], faults: Faults) -> list[str]:
    """Labels of several words that share words with others: many made of few words are lists, the others may be."""
    words_of = {label: {word for word in re.split(SEPARATORS[-1], label.casefold()) if word} for label in labels}
    counts = Counter(word for words in words_of.values() for word in words)
    shared = {label for label, words in words_of.items() if len(words) > 1 and max(counts[w] for w in words) > 1}
    words = sorted(set().union(*(words_of[label] for label in shared)))
    if len(shared) > max(2, len(words)):
        faults.add(
            "spaces",
            f"{path}: labels such as '{min(shared)}' look like several, separated by spaces; separate them with ';', "
            f"or name the classes: data.classes=[{', '.join(words[:3])}, ...]",
        )
        return []
    what = "labels that are each read as one class, though other labels have some of their words"
    return counted(path, what, shared, "if these are several labels, separate them with ';'")


def _items(text: str, known: Collection[str]) -> list[str]:
    """The labels of a cell that ';' separates, or a list in the notation of Python or JSON."""
    if text.casefold() in NO_LABEL and text.casefold() not in known:
        return []
    if text.startswith(("[", "{")):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return [composed(item) for item in flat(read(text))]
        text = ";".join(text.strip("[]{}").split(","))
    found = [re.sub(r"^(['\"])(.+)\1$", r"\2", item.strip()).strip() for item in text.split(";")]
    return [composed(item) for item in found if item]


def flat(value: Any) -> list[str]:
    """The texts in a value of JSON: in lists of any depth, and in the lists of objects."""
    if isinstance(value, dict):
        value = [inner for inner in value.values() if isinstance(inner, list)]
    if isinstance(value, list | tuple | set):
        return [text for inner in value for text in flat(inner)]
    return [str(value).strip()] if value is not None and str(value).strip() else []


def _parts(item: str, known: Collection[str]) -> list[str]:
    """The labels that are joined in one: the first separator that gives known classes alone, else the whole."""
    for separator in SEPARATORS if item.casefold() not in known else ():
        parts = [part.strip() for part in re.split(separator, item) if part.strip()]
        if len(parts) > 1 and all(part.casefold() in known for part in parts):
            return parts
    return [item]
