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
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

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
VECTOR = re.compile(r"[\[(]?\s*[01](\.0?)?([\s,]+[01](\.0?)?)+\s*[\])]?")  # of 0 and 1, as NumPy and lists show it
SEPARATORS = (",", r"\|", "/", r"\+", "&", r"\s+", r"[,|/+&\s]+")  # tried in turn; the last is any of them

Cells = tuple[str, list[str]]  # where a row is, for errors; its cells


class Row(NamedTuple):
    """What a file says of one image."""

    where: str  # for errors
    image: str  # as it is named there
    labels: set[str]
    split: str = ""  # train, val or test, where a column says so


@dataclass
class LabelTable:
    """What a file says of images."""

    class_names: tuple[str, ...]  # where the file itself has an order of them, else none
    rows: list[Row]
    notes: list[str] = field(default_factory=list)  # for people


def read_label_table(path: Path, known: Collection[str], complain: Complain) -> LabelTable:
    """The rows of a table; `UserError` where the file is empty, or has another header.

    `known` are the classes, where they are known from elsewhere; they decide where a cell of several labels is cut.
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
    split = _split_column(header, body, faults)
    label = next((columns.index(name) for name in LABEL_COLUMNS if name in columns), None)
    if len(header) == 2 and split is None and any(row[1 - image].casefold() not in YES | NO for _, row in body):
        label = 1 - image
    table = LabelTable((), [])
    labels: Sequence[set[str] | None]
    if label is not None:
        labels = _column(path, [(where, row[label]) for where, row in body], known, faults, table.notes)
        others = [name for position, name in enumerate(header) if position not in (image, label, split)]
        table.notes += counted(path, "columns that are not used", others, f"labels are those of '{header[label]}'")
    else:
        classes = [position for position in range(len(header)) if position not in (image, split)]
        table.class_names = tuple(composed(header[position]) for position in classes)
        if "" in table.class_names or len(set(table.class_names)) < len(table.class_names):
            raise UserError(f"{path}: expected different classes in the header, found '{','.join(header)[:80]}'")
        labels = [_one_hot(where, table.class_names, [row[n] for n in classes], faults) for where, row in body]
    for (where, row), of_row in zip(body, labels, strict=True):
        if of_row is not None:
            in_list = "" if split is None else SPLITS.get(row[split].casefold(), "")
            table.rows.append(Row(where, row[image], of_row, in_list))
    faults.report(is_empty=not table.rows)
    if not table.rows:
        raise UserError(f"{path} has no rows under its header; expected {EXPECTED}")
    if label is not None and not BOX_COLUMNS.isdisjoint(columns):  # without labels, a column called `box` is a class
        _join_objects(path, table)
    return table


def _split_column(header: list[str], body: list[Cells], faults: Faults) -> int | None:
    """The column of train, val and test, where there is one; an empty cell is an image of none of these lists."""
    columns = [cell.casefold() for cell in header]
    for column in (columns.index(name) for name in LIST_COLUMNS if name in columns):
        if not any(row[column].casefold() in SPLITS for _, row in body):
            continue
        for where, row in body:
            if row[column] and row[column].casefold() not in SPLITS:
                what = f"expected train, val or test in the column '{header[column]}', found '{row[column][:40]}'"
                faults.add("list", f"{where}: {what}; correct it, or call the column otherwise if it names no list")
        return column
    return None


def _body(path: Path, header: list[str], image: int, lines: list[tuple[int, list[str]]], faults: Faults) -> list[Cells]:
    """The rows below the header that have as many cells and, in the column `image`, a name."""
    body = []
    for line, cells in lines:
        where, row = f"{path}, line {line}", _unpadded(cells, len(header))
        if len(row) != len(header):
            what = f"expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}"
            remedy = "separate labels with ';', and leave the cell empty, but keep its comma, where an image has none"
            faults.add("cells", f"{where}: {what}; {remedy}")
        elif not row[image]:
            faults.add("name", f"{where}: there is no image's name in the column '{header[image]}'")
        else:
            body.append((where, row))
    return body


def _unpadded(cells: list[str], length: int) -> list[str]:
    """Without the empty cells that spreadsheets add at the end of a row."""
    while len(cells) > length and not cells[-1]:
        cells = cells[:-1]
    return cells


def _join_objects(path: Path, table: LabelTable) -> None:
    """Make a table of objects one of images: the labels of all rows of an image."""
    first: dict[str, Row] = {}
    for row in table.rows:
        first.setdefault(row.image, row).labels.update(row.labels)
    table.notes.append(f"{path}: {len(table.rows)} rows of objects are the labels of {len(first)} images")
    table.rows = list(first.values())


def _one_hot(where: str, names: Iterable[str], cells: Iterable[str], faults: Faults) -> set[str] | None:
    """The labels of a row of 0 and 1; None where there is something else."""
    found = set()
    for name, cell in zip(names, cells, strict=True):
        if cell.casefold() in YES:
            found.add(name)
        elif cell.casefold() not in NO:
            what = f"expected 0 or 1 in the column '{name}', found '{cell[:40].casefold()}'"
            remedy = "remove the column if it is no class, or call the column of the labels 'labels'"
            faults.add(f"column {name}", f"{where}: {what}; {remedy}")
            return None
    return found


def _column(
    path: Path, cells: list[tuple[str, str]], known: Collection[str], faults: Faults, notes: list[str]
) -> Sequence[set[str] | None]:
    """The labels of each cell of a column; None where it holds something else."""
    folded = {composed(name).casefold() for name in known}
    if not {"0", "1"} <= folded and (vectors := _vectors(cells)):
        where, text = vectors[0]
        what = f"the labels look like a 0 or 1 for each class, found '{text[:80]}'"
        faults.add("vector", f"{where}: {what}; give each class a column: {EXPECTED}")
        return [None for _ in cells]
    items = [_items(text, folded) for _, text in cells]
    alone = folded or {item.casefold() for row in items for item in row if not re.search(SEPARATORS[-1], item)}
    found = []
    for (where, text), row in zip(cells, items, strict=True):
        labels = {part for item in row for part in _parts(item, alone)}
        if any(label.casefold() not in alone and re.search(r"[,|]|^[\[{('\"]", label) for label in labels):
            remedy = "if it is one label, or to have it cut, name the classes in data.classes"
            faults.add("separator", f"{where}: separate labels with ';', found '{text[:80]}'; {remedy}")
        found.append(labels)
    empty = [where for (where, text), row in zip(cells, items, strict=True) if text and not row]
    notes += counted(path, "cells that are read as no label", empty, "they hold 'nan', 'none' or the like")
    if not known:
        notes += _judge_words(path, set().union(*found), faults)
    return found


def _vectors(cells: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The cells that hold a 0 or 1 for each class; none where not all are such, of one length."""
    vectors = [(where, text) for where, text in cells if VECTOR.fullmatch(text)]
    lengths = {len(text.replace(",", " ").split()) for _, text in vectors}
    return vectors if len(lengths) == 1 and len(vectors) == sum(bool(text) for _, text in cells) else []


def _judge_words(path: Path, labels: set[str], faults: Faults) -> list[str]:
    """Labels of several words that share words with others: many made of few words are lists, the others may be."""
    words_of = {label: {word for word in re.split(SEPARATORS[-1], label.casefold()) if word} for label in labels}
    counts = Counter(word for words in words_of.values() for word in words)
    shared = {label for label, words in words_of.items() if len(words) > 1 and max(counts[w] for w in words) > 1}
    words = sorted(set().union(*(words_of[label] for label in shared)))
    if len(shared) > max(2, len(words)):
        remedy = f"separate them with ';', or name the classes: data.classes=[{', '.join(words[:3])}, ...]"
        faults.add("spaces", f"{path}: labels such as '{min(shared)}' look like several, separated by spaces; {remedy}")
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


def chosen(value: dict[str, Any]) -> list[Any]:
    """What Label Studio's object says of classes; its other lists are points and run lengths."""
    return [inner for key, inner in value.items() if key in ("choices", "taxonomy") or str(key).endswith("labels")]


def flat(value: Any) -> list[str]:
    """The texts in a value of JSON: in lists of any depth, and in those of objects that name classes."""
    if isinstance(value, dict):
        value = chosen(value)
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
