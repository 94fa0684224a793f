"""PASCAL VOC layout: JPEGImages, SegmentationClass, ImageSets/Segmentation, and image-level labels from one of three
places: `Annotations/*.xml`, a CSV table, or a dictionary in a `.npy` file.
"""

import csv
import io
import pickle
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Index, Record, check_index
from utils.errors import UserError

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def open_voc(
    root: str | Path, list_name: str, labels: str = "", classes: tuple[str, ...] = (), masks: bool = False
) -> Index:
    """Index of one list of a VOC-layout dataset.

    Args:
        root: the folder with `JPEGImages`.
        list_name: a name under `ImageSets/Segmentation`, or a path to a text file of names, one a line.
        labels: a `.csv` (header: image, then class names), or a `.npy` dictionary of name -> 0/1 vector; empty takes
            `image_labels.csv` or `cls_labels.npy` in the root, else `Annotations/*.xml`, where objects marked
            difficult count.
        classes: foreground class names in the order of the mask values; empty takes the CSV's header or VOC's 20.
        masks: also give the truth's paths (evaluation only).

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    if not (root / "JPEGImages").is_dir():
        raise UserError(f"data.root {root} has no folder JPEGImages; expected a dataset in VOC layout (JPEGImages, "
                        "SegmentationClass, ImageSets/Segmentation); set data.root to it")  # fmt: skip
    list_path = find_list(root, list_name)
    names = read_list(list_path)
    if not names:
        raise UserError(f"list {list_path} has no names; expected one picture name a line, such as 2007_000032")
    label_path = _find_labels(root, labels)
    if label_path is None:
        class_names = tuple(classes or VOC_CLASSES)
        label_table = {name: _labels_from_xml(root / "Annotations" / f"{name}.xml", class_names) for name in names}
    elif label_path.suffix == ".csv":
        label_table, class_names = _labels_from_csv(label_path, tuple(classes))
    else:
        class_names = tuple(classes or VOC_CLASSES)
        label_table = _labels_from_npy(label_path, class_names)

    records = []
    for name in names:
        if name not in label_table:
            raise UserError(
                f"picture '{name}' of list {list_path} has no row in {label_path}; add one or remove it from the list"
            )
        picture = _find_picture(root, name)
        if picture is None:
            raise UserError(
                f"list {list_path} names '{name}', but there is no picture {root / 'JPEGImages' / name}.jpg (or .png); "
                "add it or remove it from the list"
            )
        mask = root / "SegmentationClass" / f"{name}.png" if masks else None
        records.append(Record(name, picture, tuple(sorted(label_table[name])), mask))
    return check_index(Index(class_names, tuple(records)), f"list {list_path}")


def find_list(root: Path, list_name: str) -> Path:
    """The file of a list given by name or by path."""
    folder = root / "ImageSets" / "Segmentation"
    for candidate in (folder / f"{list_name}.txt", Path(list_name), root / list_name):
        if candidate.is_file():
            return candidate
    known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
    raise UserError(
        f"there is no list '{list_name}': neither {folder / (list_name + '.txt')} nor a file of that path; "
        f"lists there: {known}"
    )


def read_list(path: Path) -> list[str]:
    """Names of a list file, one a line; of lines such as `/JPEGImages/ID.jpg /SegmentationClass/ID.png`, the ID."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list {path} cannot be read: {error}") from error
    return [Path(line.split()[0]).stem if "/" in line else line.split()[0] for line in lines if line.strip()]


def _find_picture(root: Path, name: str) -> Path | None:
    paths = (root / "JPEGImages" / f"{name}{suffix}" for suffix in (".jpg", ".png"))
    return next((path for path in paths if path.is_file()), None)


def _find_labels(root: Path, labels: str) -> Path | None:
    """The label file that was asked for or lies in the root; None where XML files are to be read instead."""
    if labels:
        path = Path(labels) if Path(labels).is_file() else root / labels
        if not path.is_file():
            raise UserError(f"data.labels: there is no file {labels}, neither here nor under {root}")
        if path.suffix not in (".csv", ".npy"):
            raise UserError(f"data.labels {path}: expected a .csv or a .npy file")
        return path
    for name in ("image_labels.csv", "cls_labels.npy"):
        if (root / name).is_file():
            return root / name
    if not (root / "Annotations").is_dir():
        raise UserError(
            f"{root} has no image-level labels; expected Annotations/*.xml, image_labels.csv or cls_labels.npy there, "
            "or set data.labels"
        )
    return None


def _labels_from_csv(path: Path, classes: tuple[str, ...]) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The table by picture name, and the classes that its numbers stand for: those given, else the header's."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    header = rows[0][1] if rows else []
    columns = tuple(header[1:])
    if not columns or header[0].lower() != "image" or "" in columns or len(set(columns)) < len(columns):
        raise UserError(
            f"{path}, line 1: expected a header 'image,CLASS,CLASS,...' of different classes, found {header}"
        )
    classes = classes or columns
    if set(classes) != set(columns):
        raise UserError(
            f"{path}, line 1: the classes of the header and of data.classes must be the same; "
            f"only one of them has {', '.join(sorted(set(classes) ^ set(columns)))}"
        )
    table: dict[str, list[int]] = {}
    for line, row in rows[1:]:
        if not any(row):
            continue
        if len(row) != len(header) or any(value not in ("0", "1") for value in row[1:]):
            found = ",".join(row)[:80]
            raise UserError(f"{path}, line {line}: expected a name and {len(columns)} values 0 or 1, found {found}")
        if row[0] in table:
            raise UserError(f"{path}, line {line}: picture '{row[0]}' has a row already; remove one")
        table[row[0]] = [classes.index(name) for name, value in zip(columns, row[1:], strict=True) if value == "1"]
    return table, classes


def _labels_from_xml(path: Path, class_names: tuple[str, ...]) -> list[int]:
    try:
        tree = ElementTree.parse(path)
    except FileNotFoundError as error:
        raise UserError(
            f"there is no annotation {path}, though its picture is listed; add it or remove the name from the list"
        ) from error
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise UserError(f"annotation {path} is not valid XML: {error}") from error
    present = set()
    for element in tree.iterfind("object/name"):
        name = (element.text or "").strip()
        if name not in class_names:
            known = ", ".join(class_names)
            raise UserError(f"annotation {path}: unknown class '{name}'; known: {known} (data.classes changes them)")
        present.add(class_names.index(name))
    return sorted(present)


class _ArrayUnpickler(pickle.Unpickler):
    """Reads pickled dictionaries of arrays and nothing else: any other class in the file is refused, not imported."""

    ALLOWED = frozenset({"_reconstruct", "ndarray", "dtype", "scalar", "_frombuffer"})

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "numpy" and name in self.ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


# What the unpickler raises for files that are damaged, or hold something else.
NOT_A_TABLE = (OSError, ValueError, AttributeError, TypeError, EOFError, LookupError, ImportError, MemoryError,
               OverflowError, struct.error, pickle.UnpicklingError)  # fmt: skip


def _labels_from_npy(path: Path, class_names: tuple[str, ...]) -> dict[str, list[int]]:
    """A `cls_labels.npy` of the field: a pickled dictionary of picture name -> 0/1 vector, in a 0-d object array."""
    try:
        content = io.BytesIO(path.read_bytes())
        version = np.lib.format.read_magic(content)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = read_header(content)
        if not dtype.hasobject:
            raise ValueError(f"the array is of type {dtype}")
        table = _ArrayUnpickler(content, encoding="latin1").load()  # the encoding is for files that Python 2 wrote
        table = table.item() if isinstance(table, np.ndarray) else table
        vectors = {_key_to_name(key): np.asarray(vector, np.float64) for key, vector in table.items()}
    except NOT_A_TABLE as error:
        raise UserError(f"{path}: expected a dictionary of picture name -> 0/1 vector: {error}") from error
    for name, vector in vectors.items():
        if vector.shape != (len(class_names),):
            raise UserError(
                f"{path}: picture '{name}' has a vector of shape {vector.shape}, expected ({len(class_names)},), "
                "one value a class; set data.classes to the classes of this file"
            )
    return {name: np.flatnonzero(vector > 0).tolist() for name, vector in vectors.items()}


def _key_to_name(key: Any) -> str:
    """IRN's tables have 2007000032 for 2007_000032."""
    if isinstance(key, int | np.integer):
        digits = str(int(key))
        return f"{digits[:4]}_{digits[4:]}"
    return str(key)
