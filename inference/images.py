"""The images of infer.py's input: what their outputs are called, and what a CSV file says that they show."""

import csv
import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data.images import read_image
from data.pixels import AUTO, PixelRule
from inference.class_names import find_class
from utils.errors import UserError

logger = logging.getLogger(__name__)
LABEL_COLUMNS = ("labels", "label", "classes", "class")


@dataclass(frozen=True)
class InputImage:
    """One file of the input: its path, its path under the input folder, the name of its outputs, and what its values mean."""

    path: Path
    relative: str
    name: str
    pixels: PixelRule = AUTO

    def read_image(self, least_side: int = 0) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright (see `data.images.read_image`).

        Raises:
            UnreadableImage: it cannot be read.
        """
        return np.array(read_image(self.path, least_side, self.pixels))


def output_names(relative: Sequence[str]) -> dict[str, str]:
    """Path -> its name without suffix, or with it where two images would have the same, upper and lower case alike."""
    bare = {path: str(PurePosixPath(path).with_suffix("")) for path in relative}
    counts = Counter([name.casefold() for name in bare.values()] + [path.casefold() for path in relative])
    return {path: name if counts[name.casefold()] == 1 else path for path, name in bare.items()}


def read_labels(path: Path, images: Sequence[InputImage], class_names: Sequence[str]) -> dict[str, list[int]]:
    """What images contain, from a CSV file.

    Either the header `image,labels` and rows such as `IMG_1.jpg,cat;dog`, or the header `image,CLASS,CLASS,...` and rows of
    0 and 1. An image is named by its path under the input folder or its file name, with or without suffix; a row without
    labels says that it has none. Rows of other images, and images without a row, are counted in a warning.

    Returns:
        Positions in `class_names` by `Image.relative`.

    Raises:
        UserError: not such a file, an unknown class, a name that fits several images, two rows for one image.
    """
    rows = _read_csv(path)
    line, header = rows[0]
    if len(header) < 2 or header[0].lower() != "image":
        expected = "'image,labels' (labels separated by ';') or 'image,CLASS,CLASS,...' (0 or 1)"
        raise UserError(f"{path}, line {line}: expected a header {expected}, found '{','.join(header)[:80]}'")
    as_list = len(header) == 2 and header[1].lower() in LABEL_COLUMNS
    columns = [] if as_list else [find_class(name, class_names, f"{path}, line {line}") for name in header[1:]]
    finder = _by_spelling(images)
    found: dict[str, list[int]] = {}
    others: list[str] = []
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        if len(row) != len(header):
            raise UserError(
                f"{where}: expected {len(header)} cells ({','.join(header)[:80]}), found {len(row)}; "
                "separate labels with ';'"
            )
        if as_list:
            chosen = [find_class(name, class_names, where) for name in row[1].split(";") if name.strip()]
        elif set(row[1:]) <= {"0", "1"}:
            chosen = [index for index, cell in zip(columns, row[1:], strict=True) if cell == "1"]
        else:
            raise UserError(f"{where}: expected 0 or 1 for each class, found '{','.join(row)[:80]}'")
        matches = finder.get(_spelling(row[0]), [])
        others += [] if matches else [row[0]]
        if len(matches) > 1:
            raise UserError(
                f"{where}: '{row[0]}' may be {matches[0]} or {matches[1]}; give the path from the input folder"
            )
        for match in matches:
            if match in found:
                raise UserError(f"{where}: image '{row[0]}' has a row already; make it one row")
            found[match] = sorted(set(chosen))
    if not found:
        raise UserError(
            f"{path}: none of its {len(rows) - 1} rows names an image of the input; expected paths from the "
            f"input folder or file names, such as {images[0].relative}"
        )
    without = [image.relative for image in images if image.relative not in found]
    for names, what in (
        (others, "rows name no image of the input"),
        (without, "images have no row, so the network names their classes"),
    ):
        if names:
            logger.warning("%s: %d %s, first %s", path, len(names), what, names[0])
    return found


def _read_csv(path: Path) -> list[tuple[int, list[str]]]:
    """Rows that are not blank, with their line numbers; at least one."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"--labels {path} cannot be read as CSV in UTF-8 ({error}); check the path, or save the table anew"
        ) from error
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        raise UserError(
            f"--labels {path} is empty; expected the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog'"
        )
    return rows


def _by_spelling(images: Sequence[InputImage]) -> dict[str, list[str]]:
    """Every way to name an image -> the images that it fits; an exact path wins over the looser ways."""
    loose: dict[str, list[str]] = {}
    for image in images:
        place = PurePosixPath(image.relative)
        for spelling in {str(place.with_suffix("")), place.name, place.stem}:
            loose.setdefault(_spelling(spelling), []).append(image.relative)
    return loose | {_spelling(image.relative): [image.relative] for image in images}


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./"))
