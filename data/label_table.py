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
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import Complain
from data.faults import Faults
from data.image_names import composed
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
NO_LABEL = frozenset({"nan", "none", "null", "n/a", "<na>", "[]", "{}", "()"})
YES, NO = frozenset({"1", "1.0", "true"}), frozenset({"0", "0.0", "false", ""})
EXPECTED = "the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog', or 'image,cat,dog' and rows of 0 and 1"
SEPARATORS = (",", r"\|", "/", r"\+", "&", r"\s+")

Row = tuple[str, str, set[str]]  # where it is, for errors; the image as it is named there; its labels


@dataclass
class LabelTable:
    """The classes where the table itself has an order of them, else none; the rows; and what a person should know."""

    class_names: tuple[str, ...]
    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def read_label_table(path: Path, known: Collection[str], complain: Complain) -> LabelTable:
    """The rows of a table.

    Args:
        known: the classes, where they are known from elsewhere; they decide where a cell of several labels is cut.

    Raises:
        UserError: the file is empty, or has another header.
    """
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path} is empty; expected {EXPECTED}")
    line, header = rows[0]
    while len(header) > 1 and not header[-1]:  # spreadsheets pad rows with empty cells
        header.pop()
    columns = [cell.casefold() for cell in header]
    image = next((columns.index(name) for name in IMAGE_COLUMNS if name in columns), None)
    label = next((columns.index(name) for name in LABEL_COLUMNS if name in columns), None)
    if image is None or len(header) < 2:
        raise UserError(f"{path}, line {line}: expected {EXPECTED}; found '{','.join(header)[:80]}'")
    faults = Faults(complain)
    body = list(_whole_rows(path, rows[1:], header, image, faults))
    if label is None and len(header) == 2 and any(row[1 - image].casefold() not in YES | NO for _, row in body):
        label = 1 - image
    if label is not None:
        table = _column(path, [(where, row[image], row[label]) for where, row in body], known, faults)
    else:
        table = _one_hot(path, header, image, body, faults)
    faults.report(is_empty=not table.rows)
    if not table.rows:
        raise UserError(f"{path} has no rows under its header; expected {EXPECTED}")
    return table


def _whole_rows(
    path: Path, rows: list[tuple[int, list[str]]], header: list[str], image: int, faults: Faults
) -> Iterator[tuple[str, list[str]]]:
    for line, row in rows:
        where = f"{path}, line {line}"
        while len(row) > len(header) and not row[-1]:
            row.pop()
        if len(row) != len(header):
            faults.add(
                "cells",
                f"{where}: expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}; separate labels "
                "with ';', and leave the cell empty, but keep its comma, where an image has none",
            )
        elif not row[image]:
            faults.add("name", f"{where}: there is no image's name in the column '{header[image]}'")
        else:
            yield where, row


def _one_hot(
    path: Path, header: list[str], image: int, body: list[tuple[str, list[str]]], faults: Faults
) -> LabelTable:
    """Columns of 0 and 1."""
    names = [composed(name) for position, name in enumerate(header) if position != image]
    if "" in names or len(set(names)) < len(names):
        raise UserError(f"{path}: expected different classes in the header, found '{','.join(header)[:80]}'")
    rows: list[Row] = []
    for where, row in body:
        cells = [cell.casefold() for position, cell in enumerate(row) if position != image]
        strange = next((position for position, cell in enumerate(cells) if cell not in YES | NO), None)
        if strange is None:
            rows.append((where, row[image], {name for name, cell in zip(names, cells, strict=True) if cell in YES}))
        else:
            faults.add(
                f"column {names[strange]}",
                f"{where}: expected 0 or 1 in the column '{names[strange]}', found '{cells[strange][:40]}'; remove "
                "the column if it is no class, or call the column of the labels 'labels'",
            )
    return LabelTable(tuple(names), rows)


def _column(path: Path, cells: list[tuple[str, str, str]], known: Collection[str], faults: Faults) -> LabelTable:
    """One column of labels."""
    folded = {composed(name).casefold() for name in known}
    items = [_items(text, folded) for _, _, text in cells]
    alone = folded or {item.casefold() for row in items for item in row if not re.search(r"[,|/+&\s]", item)}
    table = LabelTable((), [])
    odd: dict[str, str] = {}  # labels that may be several -> the part that is a class of its own
    for (where, image, text), row in zip(cells, items, strict=True):
        labels: set[str] = set()
        for item in row:
            parts = _parts(item, alone)
            labels.update(parts)
            if len(parts) == 1 and item.casefold() not in alone:
                if re.search(r"[,|]|^[\[{('\"]", item):
                    faults.add(
                        "separator",
                        f"{where}: separate labels with ';', found '{text[:80]}'; if it is one label, or to have it "
                        "cut, name the classes in data.classes",
                    )
                elif any(part.casefold() in alone for part in re.split(r"[/+&\s]+", item)):
                    odd.setdefault(item, where)
        table.rows.append((where, image, labels))
    empty = [where for (where, _, text), row in zip(cells, items, strict=True) if text and not row]
    if empty:
        table.notes.append(f"{empty[0]}: cells such as 'nan' or 'none' are read as no label ({len(empty)} such)")
    if not known:
        _judge_spaces(path, items, alone, odd, faults, table.notes)
    return table


def _judge_spaces(
    path: Path, items: list[list[str]], alone: set[str], odd: dict[str, str], faults: Faults, notes: list[str]
) -> None:
    """Labels of several words: many made of few words are lists; one that holds the word of another class may be."""
    several = {item for row in items for item in row if " " in item and len(_parts(item, alone)) == 1}
    words = {word for item in several for word in item.split()}
    if len(several) > max(2, len(words)):
        example = sorted(words)[:3]
        faults.add(
            "spaces",
            f"{path}: labels such as '{min(several)}' look like several, separated by spaces; separate them with ';', "
            f"or name the classes: data.classes=[{', '.join(example)}, ...]",
        )
    elif len(several) > 1 and len(words) < sum(len(item.split()) for item in several):
        notes.append(
            f"{path}: {len(several)} labels of several words are each read as one class, such as '{min(several)}'; if "
            "these are several labels, separate them with ';'"
        )
    elif odd:
        first, where = next(iter(odd.items()))
        notes.append(
            f"{where}: '{first}' is read as one class, though a part of it is a class of its own ({len(odd)} such); if "
            "these are several labels, separate them with ';'"
        )


def _items(text: str, known: Collection[str]) -> list[str]:
    """The labels of a cell that ';' separates, or a list in the notation of Python or JSON."""
    if text.casefold() in NO_LABEL and text.casefold() not in known:
        return []
    if text.startswith(("[", "{")):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                return [composed(item) for item in flat(read(text))]
        text = ";".join(text.strip("[]{}").split(","))
    found = [_unquoted(item.strip()) for item in text.split(";")]
    return [composed(item) for item in found if item]


def flat(value: Any) -> list[str]:
    """The texts in a value of JSON: in lists of any depth, and in the lists of objects."""
    if isinstance(value, dict):
        value = [inner for inner in value.values() if isinstance(inner, list)]
    if isinstance(value, list | tuple | set):
        return [text for inner in value for text in flat(inner)]
    return [str(value).strip()] if value is not None and str(value).strip() else []


def _unquoted(text: str) -> str:
    return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _parts(item: str, known: Collection[str]) -> list[str]:
    """The labels that are joined in one: the first separator that gives known classes alone, else the whole."""
    if item.casefold() not in known:
        for separator in (*SEPARATORS, r"[,|/+&\s]+"):
            parts = [part.strip() for part in re.split(separator, item) if part.strip()]
            if len(parts) > 1 and all(part.casefold() in known for part in parts):
                return parts
    return [item]
