"""Text files that people make: lists of one name a line, CSV tables, and files of class names.

Byte order marks, any line ends and blank lines are taken as they come; what is not text in UTF-8 is refused.
"""

import csv
import io
import re
from collections import Counter
from pathlib import Path
from typing import Any

from data.image_names import composed
from utils.errors import UserError

NAME_COLUMNS = ("name", "class", "class_name", "label")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number and content of every line that is not blank, without the spaces around it; `UserError` if unreadable."""
    lines = re.split("\r\n|\r|\n", _read_text(path))
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells, without the spaces around them, of every row of a CSV file that is not blank.

    Cells are separated by whichever of comma, semicolon and tab the first line has most of, or by what Excel's line
    `sep=` says. A file that cannot be read, or is not CSV in UTF-8, is a `UserError`.
    """
    text = _read_text(path)
    first = next((line for line in text.splitlines() if line.strip()), "")
    named = re.fullmatch("sep=([,;\t])", first.strip(" "))
    separator = named[1] if named else max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        line = reader.line_num
        raise UserError(f"{path}, line {line}: this is not CSV ({error}); save the table as CSV in UTF-8") from error
    return [(number, cells) for number, cells in rows[named is not None :] if any(cells)]


def read_class_names(path: Path, *, all_lines: bool = False) -> tuple[str, ...]:
    """Class names in their order, from a file of one name a line, or from a table whose header has a column for it.

    Numbers before the names (`0 cat`) and CVAT's colours after them (`cat:255,0,0::`) are left out, as is a first
    `background`, unless `all_lines` count, because the names have indices. A file that cannot be read, or has no names
    or one twice, is a `UserError`.
    """
    rows = read_rows(path)
    header = [cell.casefold() for cell in rows[0][1]] if rows else []
    column = next((header.index(name) for name in NAME_COLUMNS if name in header), None)
    if column is not None:
        names = [row[column] for _, row in rows[1:] if len(row) > column]
    else:
        lines = [line for _, line in read_lines(path) if not line.startswith("#")]
        numbered = [re.fullmatch(r"\d+[\s,;:]+(?!\d+,\d+,\d+:)([^\s,;:].*)", line) for line in lines]
        lines = [match[1] for match in numbered if match] if all(numbered) else lines
        names = [line.partition(":")[0].strip() for line in lines]
    if names and names[0].casefold() == "background" and not all_lines:
        del names[0]
    names = [composed(name) for name in names if name]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if not names or repeated:
        found = f"found {repeated[0]} more than once" if repeated else "found none"
        raise UserError(f"data.classes: {path} must hold different class names, one a line; {found}")
    return tuple(names)


def start_of(path: Path) -> str:
    """The beginning of a file as text, whatever it is; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            return file.read(100_000)
    except OSError:
        return ""


def natural(name: str) -> tuple[list[tuple[int, int | str]], str]:
    """A key that sorts 2 before 10."""
    parts = re.split(r"(\d+)", name, flags=re.ASCII)
    return [(0, int(part[:18])) if position % 2 else (1, part) for position, part in enumerate(parts)], name


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check the path") from error
    if content.startswith((b"PK\3\4", b"\xd0\xcf\x11\xe0")):
        raise UserError(f"{path} is a workbook or an archive, expected text: save the table as CSV in UTF-8")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is text in UTF-16, expected UTF-8; save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
        wrong = content.find(0)  # in no text, but in most other files
    except UnicodeDecodeError as error:
        wrong = error.start
    if wrong >= 0:
        line = content.count(b"\n", 0, wrong) + 1
        raise UserError(f"{path}, line {line}: expected text in UTF-8, found other bytes; save it as UTF-8")
    return text


def flat(value: Any) -> list[str]:
    """The texts in a value of JSON: in lists of any depth, and in those of Label Studio's objects that name classes."""
    if isinstance(value, dict):
        value = [inner for key, inner in value.items() if key in ("choices", "taxonomy") or f"{key}".endswith("labels")]
    if isinstance(value, list | tuple | set):
        return [text for inner in value for text in flat(inner)]
    return [str(value).strip()] if value is not None and str(value).strip() else []
