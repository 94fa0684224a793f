"""How a cell of labels is read.

Labels are separated by ';', or by another separator where all parts are known classes; ['cat', 'dog'] is a list.
"""

import ast
import contextlib
import json
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from data.faults import Faults, counted
from data.image_names import composed

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


def read_cells(
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
    different, labelled = set().union(*found), sum(bool(labels) for labels in found)
    if not known:
        notes += _judge_words(path, different, faults)
        odd = set(filter(NO_CLASS.fullmatch, different))
        if odd or (labelled >= MANY and 2 * len(different) > labelled):  # captions, numbers or run lengths
            what = f"{labelled} rows have {len(different)} different labels, such as '{min(odd or different)[:40]}'"
            faults.add("number", f"{path}: {what}; expected classes of many images each; if they are, set data.classes")
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
        what = f"labels such as '{min(shared)}' look like several, separated by spaces"
        remedy = f"separate them with ';', or name the classes: data.classes=[{', '.join(words[:3])}, ...]"
        faults.add("spaces", f"{path}: {what}; {remedy}")
        return []
    what = "labels that are each read as one class, though other labels have some of their words"
    return counted(path, what, shared, "if these are several labels, separate them with ';'")


def _items(text: str, known: Collection[str]) -> list[str]:
    """The labels of a cell: separated by ';', or a list of Python or JSON."""
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
    """The texts in a value of JSON: in lists of any depth, and in those of Label Studio's objects that name classes."""
    if isinstance(value, dict):
        value = [inner for key, inner in value.items() if key in ("choices", "taxonomy") or f"{key}".endswith("labels")]
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
