"""A CSV of labels.

image,labels                        image,cat,dog
1.jpg,cat;dog                       1.jpg,1,1
2.jpg,                              2.jpg,0,0

The columns may have other usual names (`filename`, `class`, ...). Labels in a cell are separated by ';', or by another
separator where all parts are known classes; ['cat', 'dog'] is a list.
"""

import ast
import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from data.faults import Complain, Faults, counted
from data.image_names import composed, plain
from data.layouts import SPLITS
from data.tables import flat, read_rows
from utils.errors import UserError

# Names of columns, without capitals, spaces and signs.
IMAGE_COLUMNS = (
    *("image", "filename", "fname", "file", "path", "filepath", "imagepath", "imagename", "imageid", "imageindex"),
    *("img", "imgpath", "name", "id"),
)
LABEL_COLUMNS = (
    *("labels", "label", "classes", "class", "classname", "classnames", "classid", "labelname", "findinglabels"),
    *("category", "categories", "choice", "choices", "tags", "tag", "target", "species"),
)
IS_FILE = re.compile(r"\.[a-zA-Z]\w+$")
# A row is one object of an image; an empty cell, or -1, is none.
BOX_COLUMNS = ("xmin", "x1", "left", "bbox", "box", "bboxx", "encodedpixels", "rle")
LIST_COLUMNS = ("split", "set", "subset", "partition", "phase", "dataset", "usage", "fold", "kfold")
LIST_MARKS = {"isvalid": "val", "isval": "val", "istest": "test", "istrain": "train"}  # columns of yes and no
LIST_MARKS |= {"isvalidation": "val", "istesting": "test", "istraining": "train"}
CONFIDENCE = ("confidence", "probability", "score", "ispresent", "present", "value")  # 0: the label is not there
YES, NO = frozenset({"1", "1.0", "true", "yes", "t", "y"}), frozenset({"0", "0.0", "false", "no", "f", "n", ""})
NO_LABEL = frozenset({"nan", "none", "null", "n/a", "#n/a", "<na>", "[]", "{}", "()", "-", "–", "—"})
MANY = 20  # rows, from which on labels that are mostly different are no classes
EXPECTED = "the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog', or 'image,cat,dog' and rows of 0 and 1"
# A score or share, alone or behind a label, the name of a file, or an error of a spreadsheet.
NO_CLASS = re.compile(
    r"(.*[:=(\s])?-?\d*[.,]\d*[1-9]\d*(e[-+]?\d+)?\)?|.+\.(png|jpe?g|tiff?|bmp|json|xml)|#[\w/]+[!?]|#N/?[DV]|Err:\d+",
    re.IGNORECASE,
)
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
    header = lines[0][1][: max(number for number, cell in enumerate(lines[0][1], 1) if cell)]
    columns = [plain(cell) for cell in header]
    image = _first(IMAGE_COLUMNS, columns)
    if image is None or len(header) < 2:
        raise UserError(f"{path}, line {lines[0][0]}: expected {EXPECTED}; found '{','.join(header)[:80]}'")
    faults = Faults(complain)
    body = _body(path, header, image, lines[1:], faults)
    for other in (n for n, name in enumerate(columns) if name in IMAGE_COLUMNS and n != image):
        if body and all(row[image].isdigit() and IS_FILE.search(row[other]) for _, row in body):
            what = " and ".join(f"'{header[n]}' (first '{body[0][1][n]}')" for n in (image, other))
            faults.add("names", f"{path}: {what} may both name the images; remove the column that does not")
    split, lists = _lists(header, columns, body, faults)
    label, box = _first(LABEL_COLUMNS, columns), _first(BOX_COLUMNS, columns)
    is_one = len(header) == 2 and label is None and split is None and box is None
    if is_one and any(row[1 - image].casefold() not in YES | NO for _, row in body):
        label = 1 - image
        if not known and all(re.fullmatch(r"-?\d*", row[label]) for _, row in body):
            what = f"the column '{header[label]}' holds numbers; if these are classes, and not counts, call it 'labels'"
            faults.add("column", f"{path}: {what}")
    table = LabelTable((), [])
    if split is not None and columns[split] not in LIST_COLUMNS:
        table.notes.append(f"{path}: the column '{header[split]}' divides the images into train, val and test")
    if label is not None:
        cells = [(where, "" if _is_empty(row, columns, box) else row[label]) for where, row in body]
        labels = _read_cells(path, cells, known, faults, table.notes)
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
) -> Sequence[set[str] | None]:
    """The labels of each row of a table with a column for each class; its class names go into `table`."""
    table.class_names = tuple(composed(header[position]) for position in classes)
    if "" in table.class_names or len(set(table.class_names)) < len(table.class_names):
        what = f"expected different classes in the header, found '{','.join(header)[:80]}'"
        raise UserError(f"{path}: {what}; name or remove columns without a name, and those that are repeated")
    lists = [name for name in table.class_names if plain(name) in SPLITS]  # one alone may be a class: VOC has `train`
    odd_names = (*LIST_COLUMNS, *LIST_MARKS, "validation", *(map(plain, lists) if len(lists) > 1 else ()))
    if lost := [name for name in table.class_names if plain(name) in odd_names]:
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
    """The column of train, val and test, whatever its name, or of a mark such as `is_valid`; the list of each row."""
    known = [columns.index(name) for name in (*LIST_COLUMNS, *LIST_MARKS) if name in columns]
    likely = [n for n, cell in enumerate(body[0][1] if body else ()) if cell.casefold() in SPLITS]
    cells = {n: {row[n].casefold() for _, row in body} for n in likely if columns[n] not in LABEL_COLUMNS}
    for column in (*known, *(n for n, found in cells.items() if len(found) > 1 and found <= SPLITS.keys())):
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
        where = f"{path}, line {line}"
        row = cells if any(cells[len(header) :]) else cells[: len(header)]  # spreadsheets add empty cells
        if len(row) != len(header):
            what = f"expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}"
            faults.add("cells", f'{where}: {what}; write labels of one cell in quotes, "cat;dog", and keep empty cells')
        elif not row[image]:
            faults.add("name", f"{where}: there is no image's name in the column '{header[image]}'")
        else:
            body.append((where, row))
    return body


def _join_objects(path: Path, table: LabelTable) -> None:
    first: dict[str, Row] = {}
    for row in table.rows:
        first.setdefault(row.image, row).labels.update(row.labels)
    table.notes.append(f"{path}: {len(table.rows)} rows of objects are the labels of {len(first)} images")
    table.rows = list(first.values())


def _read_cells(
    path: Path, cells: list[tuple[str, str]], known: Collection[str], faults: Faults, notes: list[str]
) -> Sequence[set[str] | None]:
    """The labels of each cell of a column; None where it holds something else."""
    folded = {composed(name).casefold() for name in known}
    vectors = [(where, text) for where, text in cells if VECTOR.fullmatch(text)]
    lengths = {len(text.replace(",", " ").split()) for _, text in vectors}
    are_all = len(lengths) == 1 and len(vectors) == sum(bool(text) for _, text in cells)
    if are_all and not {"0", "1"} <= folded:
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
    different, labelled = set().union(*found), sum(bool(labels) for labels in found)
    if not known:
        notes += _judge_words(path, different, faults)
        odd = set(filter(NO_CLASS.fullmatch, different))
        if odd or (labelled >= MANY and 2 * len(different) > labelled):  # captions, numbers or run lengths
            what = f"{labelled} rows have {len(different)} different labels, such as '{min(odd or different)[:40]}'"
            faults.add("number", f"{path}: {what}; expected classes of many images each; if they are, set data.classes")
    return found


def _judge_words(path: Path, labels: set[str], faults: Faults) -> list[str]:
    """Labels of several words that share words with others: many made of few words are lists, the others may be."""
    words_of = {label: {word for word in re.split(SEPARATORS[-1], label.casefold()) if word} for label in labels}
    counts = Counter(word for words in words_of.values() for word in words)
    shared = {label for label, words in words_of.items() if len(words) > 1 and max(counts[w] for w in words) > 1}
    words = sorted(set().union(*(words_of[label] for label in shared)))
    if len(shared) > max(2, len(words)):
        what = f"labels such as '{min(shared)}' look like several, separated by spaces"
        remedy = f"separate them with ';', or name the classes: data.classes=[{', '.join(words[:3])}, ...]"
        faults.add("spaces", f"{path}: {what}; {remedy}")
        return []
    what = "labels that are each read as one class, though other labels have some of their words"
    return counted(path, what, shared, "if these are several labels, separate them with ';'")


def _items(text: str, known: Collection[str]) -> list[str]:
    """The labels of a cell: separated by ';', or a list of Python or JSON."""
    if (text == "NA" or text.casefold() in NO_LABEL) and text.casefold() not in known:  # R writes NA
        return []
    if text.startswith(("[", "{")):
        for read in (json.loads, ast.literal_eval):
            with contextlib.suppress(ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                value = read(text)
                are_numbers = isinstance(value, dict) and all(isinstance(one, int | float) for one in value.values())
                return [text] if are_numbers else [composed(item) for item in flat(value)]  # refused: counts, scores
        text = ";".join(text.strip("[]{}").split(","))
    found = [re.sub(r"^(['\"])(.+)\1$", r"\2", item.strip()).strip() for item in text.split(";")]
    return [composed(item) for item in found if item]


def _parts(item: str, known: Collection[str]) -> list[str]:
    """The labels that are joined in one: the first separator that gives known classes alone, else the whole."""
    for separator in SEPARATORS if item.casefold() not in known else ():
        parts = [part.strip() for part in re.split(separator, item) if part.strip()]
        if len(parts) > 1 and all(part.casefold() in known for part in parts):
            return parts
    return [item]
