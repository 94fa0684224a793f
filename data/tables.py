"""Text files that people make: lists of one name a line, and CSV tables.

Byte order marks, any line ends and blank lines are taken as they come; what is not text in UTF-8 is refused with the line.
"""

import csv
import io
import re
from pathlib import Path

from utils.errors import UserError

UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Number and content of every line that is not blank, without the spaces around it.

    Raises:
        UserError: the file cannot be read, or is not text in UTF-8.
    """
    lines = re.split("\r\n|\r|\n", _read_text(path))
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """Line number and cells, without the spaces around them, of every row of a CSV file that is not blank.

    Raises:
        UserError: the file cannot be read, or is not CSV in UTF-8.
    """
    reader = csv.reader(io.StringIO(_read_text(path), newline=""))
    rows = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise UserError(
            f"{path}, line {reader.line_num}: this is not CSV ({error}); save the table as CSV in UTF-8"
        ) from error
    return rows


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); check the path") from error
    if content.startswith(UTF16_MARKS):
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
