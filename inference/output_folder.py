"""The output folder of infer.py (docs/masks.md): its files, the mask value of each class, notes of what is done."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.artifacts import voc_palette
from data.faults import counted
from inference.images import DONE, MAPS, MASKS, OVERLAYS, SHEET, VIDEOS, InputImage, file_of
from inference.predictor import Prediction, Predictor
from utils.code_digest import symbols_of
from utils.distributed import is_main
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest, is_whole, read_json, write_json
from utils.ignore import IGNORE
from utils.visualize import bright_palette, printable

CLASSES, PREDICTIONS, PAGE = "classes.json", "predictions.json", "index.html"
LAST_VALUE = IGNORE - 1  # of a class in a mask
OPACITY = 0.45  # of masks over images


class ClassValues:
    """Which mask value stands for which class.

    Class c has value c + 1. With more than 254 classes (ImageNet's 1,000) values 1, 2, ... are given to classes as they
    first occur, written to `classes.json` before any mask uses them, and kept by later calls. From the 255th class that
    occurs on, pixels are 255. Of several processes the main one alone gives values then, and so it alone predicts.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.path, self.class_names = folder / CLASSES, class_names
        self.by_occurrence = len(class_names) > LAST_VALUE
        self.palette = bright_palette() if self.by_occurrence else voc_palette()
        self.values = self._known() if self.by_occurrence else {index: index + 1 for index in range(len(class_names))}
        self._write()

    @property
    def names(self) -> Sequence[str]:
        """The class names that masks and maps hold, in the order of the values; later images may add classes."""
        return [self.class_names[index] for index in sorted(self.values, key=lambda index: self.values[index])]

    def _known(self) -> dict[int, int]:
        """The table that an earlier call has written; none where it is of another network, or damaged."""
        content = read_json(self.path)
        if content.get("network_classes") != digest(list(self.class_names)):
            return {}
        try:
            values = {self.class_names.index(row["name"]): row["value"] for row in content["classes"]}
        except (LookupError, TypeError, ValueError):
            return {}
        return values if sorted(map(repr, values.values())) == sorted(map(repr, range(1, len(values) + 1))) else {}

    def value(self, index: int) -> int:
        """The class's value, a new one where it occurs for the first time."""
        if index not in self.values:
            if len(self.values) == LAST_VALUE:
                return IGNORE
            self.values[index] = len(self.values) + 1
            self._write()
        return self.values[index]

    def _write(self) -> None:
        rows = [
            {"value": value, "name": self.class_names[index], "colour": self.palette[value].tolist()}
            for index, value in sorted(self.values.items(), key=lambda item: item[1])
        ]
        content = {
            "background": 0,
            "unsure": IGNORE,
            "values": "as classes occur in this folder" if self.by_occurrence else "the network's order",
            "network_classes": digest(list(self.class_names)),
            "classes": rows,
        }
        if is_main() and read_json(self.path) != content:
            write_json(self.path, content)


def claim(output: Path, exported: Sequence[str] = ()) -> None:
    """Make the output folder; refuse one that has these files, or some named `exported`, from another program."""
    try:
        for name in (MASKS, OVERLAYS, MAPS, VIDEOS, CLASSES, PREDICTIONS, PAGE, SHEET, *exported):
            path = output / name
            if not (output / DONE).is_dir() and (path.is_file() or any(path.glob("*"))):
                what = f"its {name} was not written by infer.py and would be overwritten"
                raise UserError(f"--output {output}: {what}; choose another folder")
        (output / DONE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be written ({error}); choose a folder that can") from error


def find_done(output: Path, image: InputImage, fingerprint: str, values: ClassValues) -> dict[str, Any] | None:
    """The entry of an image that was done from the same file with the same network and settings, else None."""
    entry = read_done(output / file_of(image, DONE), fingerprint)
    if entry is None or not all(is_whole(output / file_of(image, folder)) for folder in (MASKS, OVERLAYS)):
        return None
    known = {values.class_names[index]: value for index, value in values.values.items()}
    if any(known.get(row["name"], IGNORE) != row["value"] for row in entry["classes"]):
        return None  # the table of values was lost
    return entry


def require_own(output: Path, images: Sequence[InputImage]) -> None:
    """Refuse to replace masks that a person has changed, or that are of other images of the same names."""
    changed, of_others = [], []
    for image in images:
        done, mask = output / file_of(image, DONE), output / file_of(image, MASKS)
        note = read_json(done)
        if not note or not is_whole(mask):
            continue
        # A note of an older version has no digest, and was written after its mask.
        is_own = (
            note["mask"] == digest_files([mask])[0] if "mask" in note else mask.stat().st_mtime <= done.stat().st_mtime
        )
        source = os.fsdecode(str(note.get("source", "")).encode("latin-1", "replace"))
        if source not in ("", str(image.path.absolute())) and Path(source).is_file():
            of_others.append(f"{mask} (of {printable(source)})")
        elif not is_own:
            changed.append(str(mask))
    where, what = f"--output {output}", "masks that were changed after infer.py had written them would be replaced"
    refused = counted(where, what, changed, "give another folder, or remove those that are to be made again")
    what = "masks of other images with the same names would be replaced"
    refused += counted(where, what, of_others, "give all folders in one call, or another --output")
    if refused:
        raise UserError("; ".join(refused))


def made_with(predictor: Predictor) -> list[Any]:
    """What masks depend on besides their images: network, classes, settings, and this project's code."""
    code = [symbols_of(part) for part in (InputImage, to_values, type(predictor))]
    return [predictor.about["weights"], predictor.class_names, predictor.settings, code]


def to_values(mask: np.ndarray, values: Sequence[int]) -> np.ndarray:
    """A prediction's mask, whose value k + 1 is its k-th class, with the mask values of these classes."""
    table = np.zeros(256, np.uint8)
    table[1 : len(values) + 1] = values
    table[IGNORE] = IGNORE
    return table[mask]


@dataclass(frozen=True)
class Found:
    """A class on an image."""

    name: str
    value: int  # in the mask
    score: float  # the network's, 0..1
    pixels: int
    share: float  # of the pixels, 0..1


def classes_on(prediction: Prediction, values: Sequence[int], class_names: Sequence[str]) -> list[Found]:
    """The classes of a prediction, the largest first; `values` are theirs in the mask."""
    counts = Image.fromarray(prediction.mask).histogram()  # np.bincount would make eight bytes of each pixel
    each = zip(prediction.classes, values, prediction.scores, counts[1:], strict=False)
    found = [Found(class_names[i], value, score, n, n / prediction.mask.size) for i, value, score, n in each]
    return sorted(found, key=lambda one: -one.pixels)


def write_done(path: Path, fingerprint: str, entry: dict[str, Any], **more: str) -> None:
    """Write the note of an image or video that is done, with a digest that finds a damaged note.

    `more` is what `require_own` asks: `source`, the path of the image with a character a byte, whatever its name is,
    and `mask`, the digest of its mask.
    """
    write_json(path, {"fingerprint": fingerprint, "entry": entry, "digest": digest(entry), **more})


def read_done(path: Path, fingerprint: str) -> dict[str, Any] | None:
    """What `write_done` has noted; None where there is nothing of this fingerprint, or it was changed."""
    note = read_json(path)
    entry = note.get("entry")
    whole = isinstance(entry, dict) and note.get("digest") == digest(entry)
    return entry if whole and note.get("fingerprint") == fingerprint else None


def identity(path: Path) -> list[int]:
    """Size and times of a file, which change when the file does; a copy may keep the first time, never the second."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
