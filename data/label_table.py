"""A CSV of labels: its columns and rows; data/label_cells.py says how a cell is read.

image,labels                        image,cat,dog
1.jpg,cat;dog                       1.jpg,1,1
2.jpg,                              2.jpg,0,0

The columns may have other usual names (`filename`, `class`, ...).
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data.faults import Complain, Faults, counted
from data.image_names import composed, plain
from data.label_cells import EXPECTED, NO_LABEL, read_cells
from data.layouts import SPLITS
from data.tables import read_rows
from utils.errors import UserError

# Names of columns, without capitals, spaces and signs.
IMAGE_COLUMNS = (
    "image", "filename", "fname", "file", "path", "filepath", "imagepath", "imagename", "imageid", "imageindex", "img",
    "imgpath", "name", "id",
)  # fmt: skip
LABEL_COLUMNS = (
    "labels", "label", "classes", "class", "classname", "classnames", "classid", "labelname", "findinglabels",
    "category", "categories", "choice", "choices", "tags", "tag", "target", "species",
)  # fmt: skip
# A row is one object of an image; an empty cell, or -1, is none.
BOX_COLUMNS = ("xmin", "x1", "left", "bbox", "box", "bboxx", "encodedpixels", "rle")
LIST_COLUMNS = ("split", "set", "subset", "partition", "phase", "dataset", "usage", "fold", "kfold")
LIST_MARKS = {"isvalid": "val", "isval": "val", "istest": "test", "istrain": "train"}  # columns of yes and no
CONFIDENCE = ("confidence", "probability", "score", "ispresent", "present", "value")  # 0: the label is not there
YES, NO = frozenset({"1", "1.0", "true", "yes"}), frozenset({"0", "0.0", "false", "no", ""})
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
    columns = [plain(cell) for cell in header]
    image = _first(IMAGE_COLUMNS, columns)
    if image is None or len(header) < 2:
        raise UserError(f"{path}, line {lines[0][0]}: expected {EXPECTED}; found '{','.join(header)[:80]}'")
    faults = Faults(complain)
    body = _body(path, header, image, lines[1:], faults)
    split, lists = _lists(header, columns, body, faults)
    label, box = _first(LABEL_COLUMNS, columns), _first(BOX_COLUMNS, columns)
    is_one = len(header) == 2 and split is None and box is None
    if is_one and any(row[1 - image].casefold() not in YES | NO for _, row in body):
        label = 1 - image
        if not known and all(re.fullmatch(r"-?\d*", row[label]) for _, row in body):
            what = f"the column '{header[label]}' holds numbers; if these are classes, and not counts, call it 'labels'"
            faults.add("column", f"{path}: {what}")
    table = LabelTable((), [])
    if split is not None and columns[split] in LIST_MARKS:
        table.notes.append(f"{path}: the column '{header[split]}' divides the images into train, val and test")
    labels: Sequence[set[str] | None]
    if label is not None:
        cells = [(where, "" if _is_empty(row, columns, box) else row[label]) for where, row in body]
        labels = read_cells(path, cells, known, faults, table.notes)
        _refuse_denied(header, columns, body, faults)
        others = [name for position, name in enumerate(header) if position not in (image, label, split)]
        table.notes += _note_on_others(path, header[label], others, faults)
    else:
        classes = [position for position in range(len(header)) if position not in (image, split)]
        labels = _read_one_hot(table, path, header, classes, body, faults)
        empty = [row[image] for _, row in body if not any(row[n] for n in classes)]
        table.notes += counted(path, "rows of empty cells", empty, "they are read as none of the classes")
    for (where, row), of_row, in_list in zip(body, labels, lists, strict=True):
        if of_row is not None:
            table.rows.append(Row(where, row[image], of_row, in_list))
    faults.report(is_empty=not table.rows)
    if not table.rows:
        raise UserError(f"{path} has no rows under its header; expected {EXPECTED}")
    if label is not None and box is not None:  # without labels, a column called `box` is a class
        _join_objects(path, table)
    return table


def _is_empty(row: list[str], columns: list[str], box: int | None) -> bool:
    """Whether a row has no object: nothing in the column of its box, or a box that ends where it begins."""
    if box is None:
        return False
    end = _first([columns[box].replace("min", "max").replace("1", "2")], columns)
    return row[box].casefold() in {"", "-1", *NO_LABEL} or (end not in (None, box) and row[box] == row[end or 0])


def _read_one_hot(
    table: LabelTable, path: Path, header: list[str], classes: list[int], body: list[Cells], faults: Faults
) -> list[set[str] | None]:
    """The labels of each row of a table with a column for each class; its class names go into `table`."""
    table.class_names = tuple(composed(header[position]) for position in classes)
    if "" in table.class_names or len(set(table.class_names)) < len(table.class_names):
        raise UserError(f"{path}: expected different classes in the header, found '{','.join(header)[:80]}'")
    if lost := [name for name in table.class_names if plain(name) in (*LIST_COLUMNS, *LIST_MARKS)]:
        what = f"the column '{lost[0]}' looks like one of lists, and would be a class"
        faults.add("column", f"{path}: {what}; write train, val or test into it, rename it or remove it")
    found: list[set[str] | None] = []
    for where, row in body:
        cells = {name: row[n].casefold() for name, n in zip(table.class_names, classes, strict=True)}
        found.append({name for name, cell in cells.items() if cell in YES})
        if odd := next((name for name, cell in cells.items() if cell not in YES | NO), None):
            what = f"expected 0 or 1 in the column '{odd}', found '{cells[odd][:40]}'"
            faults.add(f"column {odd}", f"{where}: {what}; remove it, or call the column of the labels 'labels'")
            found[-1] = None
    return found


def _first(names: Iterable[str], columns: list[str]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def _lists(header: list[str], columns: list[str], body: list[Cells], faults: Faults) -> tuple[int | None, list[str]]:
    """The column of train, val and test, or of a mark such as `is_valid`, and the list of each row, or none."""
    for column in (columns.index(name) for name in (*LIST_COLUMNS, *LIST_MARKS) if name in columns):
        words: Mapping[str, str] = SPLITS
        if mark := LIST_MARKS.get(columns[column]):
            other = "val" if mark == "train" else "train"
            words = dict.fromkeys(YES, mark) | dict.fromkeys(NO - {""}, other)
        if not any(row[column].casefold() in words for _, row in body):
            continue
        for where, row in body:
            if row[column] and row[column].casefold() not in words:
                expected = "0 or 1" if mark else "train, val or test"
                what = f"expected {expected} in the column '{header[column]}', found '{row[column][:40]}'"
                faults.add("list", f"{where}: {what}; correct it, or call the column otherwise if it names no list")
        return column, [words.get(row[column].casefold(), "") for _, row in body]
    return None, ["" for _ in body]


def _refuse_denied(header: list[str], columns: list[str], body: list[Cells], faults: Faults) -> None:
    """Refuse rows with a confidence of 0, which OpenImages has for labels that an image does not show."""
    if (column := _first(CONFIDENCE, columns)) is None:
        return
    for where, row in body:
        if row[column] and row[column].casefold().replace(",", ".") in NO:
            what = f"the column '{header[column]}' is {row[column]}, so the label of this row is not in the image"
            faults.add("denied", f"{where}: {what}; remove such rows, or the column if it means something else")


def _note_on_others(path: Path, label: str, others: list[str], faults: Faults) -> list[str]:
    more = re.compile(plain(label).removesuffix("s") + r"s?\d*")
    for name in filter(lambda name: more.fullmatch(plain(name)), others):
        what = f"the column '{name}' looks like further labels beside '{label}', and one column is read"
        faults.add("column", f"{path}: {what}; put all into '{label}', separated by ';', or rename '{name}'")
    return counted(path, "columns that are not used", others, f"labels are those of '{label}'")


def _body(path: Path, header: list[str], image: int, lines: list[tuple[int, list[str]]], faults: Faults) -> list[Cells]:
    body = []
    for line, cells in lines:
        where, row = f"{path}, line {line}", _unpadded(cells, len(header))
        if len(row) != len(header):
            what = f"expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}"
            faults.add("cells", f"{where}: {what}; separate labels with ';', and keep the comma of an empty cell")
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
    first: dict[str, Row] = {}
    for row in table.rows:
        first.setdefault(row.image, row).labels.update(row.labels)
    table.notes.append(f"{path}: {len(table.rows)} rows of objects are the labels of {len(first)} images")
    table.rows = list(first.values())
