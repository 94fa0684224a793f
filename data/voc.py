"""PASCAL VOC layout: JPEGImages, SegmentationClass, ImageSets/Segmentation.

Image-level labels come from one of three places: `Annotations/*.xml`, a CSV table, or a dictionary in a `.npy` file.
"""

import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

from data.dataset import Complain, Index, Record, check_index, refuse
from data.label_array import read_label_array
from data.tables import read_lines, read_rows
from utils.errors import UserError
from utils.names import fault_of, shown

VOC_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


TEST = "test"  # VOC keeps its labels and masks to itself
SBD_LISTS = ("ImageSets/SBD", "benchmark_RELEASE/dataset")  # where under the root SBD's train.txt and val.txt may lie

Names = dict[str, str]  # image name -> where it was listed, for errors


def open_voc(
    root: str | Path,
    list_name: str,
    labels: str = "",
    classes: tuple[str, ...] = (),
    masks: bool = False,
    complain: Complain = refuse,
) -> Index:
    """Index of one list of a VOC-layout dataset.

    Args:
        root: the folder with `JPEGImages`.
        list_name: as for `read_names`. Images of the list `test` may be without labels and masks.
        labels: a `.csv` (header: image, then class names), or a `.npy` dictionary of name -> 0/1 vector; empty takes
            `image_labels.csv` or `cls_labels.npy` in the root, else `Annotations/*.xml`, where objects marked
            difficult count.
        classes: foreground class names in the order of the mask values; empty takes the CSV's header or VOC's 20.
        masks: also give the truth's paths (evaluation only).
        complain: what to do about a record that is not as it should be.

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    if not (root / "JPEGImages").is_dir():
        raise UserError(
            f"data.root {root} has no folder JPEGImages; expected a dataset in VOC layout (JPEGImages, "
            "SegmentationClass, ImageSets/Segmentation); set data.root to it, or for VOC 2012 itself set "
            "data.download=true"
        )
    names = read_names(root, list_name, complain)
    if not names:
        raise UserError(
            f"list '{list_name}' of {root} has no names; expected one image name a line, such as 2007_000032"
        )
    optional = list_name == TEST
    label_path, table, class_names = _read_labels(root, labels, tuple(classes), optional, complain)
    records = []
    for name, where in names.items():
        image = _find_image(root, name)
        if image is None:
            complain(
                f"{where}: there is no image {root / 'JPEGImages' / name}.jpg (or .png); add it or remove the line"
            )
            continue
        annotation = root / "Annotations" / f"{name}.xml"
        if label_path is None and (not optional or annotation.is_file()):
            table[name] = _labels_from_xml(annotation, class_names, complain)
        if name not in table and not optional:
            complain(f"{where}: image '{name}' has no row in {label_path}; add one or remove the line")
            continue
        mask = _find_mask(root, name, optional) if masks else None
        records.append(Record(name, image, tuple(sorted(table.get(name, ()))), mask))
    return check_index(Index(class_names, tuple(records)), f"list '{list_name}' of {root}")


def read_names(root: Path, list_name: str, complain: Complain = refuse) -> Names:
    """The images of a list, in its order.

    Args:
        root: the folder with `JPEGImages`.
        list_name: a name under `ImageSets/Segmentation`, or a path to a text file of names, one a line; a line may also be
            `/JPEGImages/ID.jpg /SegmentationClass/ID.png`. Without a file, `trainval` is `train` and `val`, and `train_aug`
            is the field's augmented list: SBD's train and val and VOC's train, without VOC's val (10,582 names, sorted).
        complain: what to do about a line that is not as it should be.

    Raises:
        UserError: there is no such list, or a line is malformed.
    """
    path = find_list(root, list_name)
    if path is not None:
        return _read_list(root, path, complain)
    if list_name not in ("train_aug", "trainval"):
        raise _no_list(root, list_name)
    train, val = (read_names(root, part, complain) for part in ("train", "val"))
    if list_name == "trainval":
        return dict(sorted((train | val).items()))
    folder = find_sbd_lists(root)
    if folder is None:
        raise UserError(
            f"there is no list 'train_aug': put train_aug.txt into {root / 'ImageSets/Segmentation'}, or train.txt and "
            f"val.txt of the Semantic Boundaries Dataset (SBD) into {root / SBD_LISTS[0]}, or set data.download=true to "
            "fetch them; data.train_list=train is VOC's own list"
        )
    augmented = (
        _read_list(root, folder / "train.txt", complain) | _read_list(root, folder / "val.txt", complain) | train
    )
    return {name: augmented[name] for name in sorted(augmented) if name not in val}


def find_sbd_lists(root: Path) -> Path | None:
    """The folder with SBD's `train.txt` and `val.txt`, if they are there."""
    folders = (root / part for part in SBD_LISTS)
    return next((path for path in folders if (path / "train.txt").is_file() and (path / "val.txt").is_file()), None)


def find_list(root: Path, list_name: str) -> Path | None:
    """The file of a list given by name or by path, if there is one."""
    candidates = (root / "ImageSets" / "Segmentation" / f"{list_name}.txt", Path(list_name), root / list_name)
    return next((path for path in candidates if path.is_file()), None)


def _no_list(root: Path, list_name: str) -> UserError:
    folder = root / "ImageSets" / "Segmentation"
    known = ", ".join(sorted(path.stem for path in folder.glob("*.txt"))) or "none"
    return UserError(
        f"there is no list '{list_name}': neither {folder / (list_name + '.txt')} nor a file of that path; "
        f"lists there: {known}"
    )


def _read_list(root: Path, path: Path, complain: Complain) -> Names:
    """Names may have spaces; what follows a name that has none, such as the 1 of `ID 1`, is passed over."""
    names: Names = {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        first = line.split()[0].replace("\\", "/")
        whole = line.replace("\\", "/").removeprefix("/").removeprefix("JPEGImages/")
        name = Path(first).stem if "/" in first else first
        if name != line and fault_of(whole) is None and _find_image(root, _without_suffix(whole)) is not None:
            name = _without_suffix(whole)
        if (fault := fault_of(name)) is not None:
            complain(f"{where}: the image's name {shown(name)} {fault}; expected one such as 2007_000032")
        elif name in names:
            complain(f"{where}: image '{name}' is listed already ({names[name]}); remove one of the lines")
        else:
            names[name] = where
    return names


def _without_suffix(name: str) -> str:
    return name.removesuffix(".jpg").removesuffix(".png")


def _find_image(root: Path, name: str) -> Path | None:
    paths = (root / "JPEGImages" / f"{name}{suffix}" for suffix in (".jpg", ".png"))
    return next((path for path in paths if path.is_file()), None)


def _find_mask(root: Path, name: str, optional: bool) -> Path | None:
    path = root / "SegmentationClass" / f"{name}.png"
    return None if optional and not path.is_file() else path


def _read_labels(
    root: Path, labels: str, classes: tuple[str, ...], optional: bool, complain: Complain
) -> tuple[Path | None, dict[str, list[int]], tuple[str, ...]]:
    """The label file, its table by image name, and the classes; no file and an empty table where XML files are to be read."""
    path = _find_labels(root, labels, optional)
    if path is None:
        return None, {}, classes or VOC_CLASSES
    if path.suffix == ".csv":
        return path, *_labels_from_csv(path, classes, complain)
    return path, read_label_array(path, classes or VOC_CLASSES), classes or VOC_CLASSES


def _find_labels(root: Path, labels: str, optional: bool) -> Path | None:
    """The label file that was asked for or lies in the root; None where XML files are to be read instead."""
    if labels:
        path = Path(labels) if Path(labels).is_file() else root / labels
        if not path.is_file():
            raise UserError(f"data.labels: there is no file {labels}, neither here nor under {root}; give its path")
        if path.suffix not in (".csv", ".npy"):
            raise UserError(f"data.labels {path}: expected a .csv or a .npy file")
        return path
    for name in ("image_labels.csv", "cls_labels.npy"):
        if (root / name).is_file():
            return root / name
    if not optional and not (root / "Annotations").is_dir():
        raise UserError(
            f"{root} has no image-level labels; expected Annotations/*.xml, image_labels.csv or cls_labels.npy there, "
            "or set data.labels"
        )
    return None


def _labels_from_csv(
    path: Path, classes: tuple[str, ...], complain: Complain
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The table by image name, and the classes that its numbers stand for: those given, else the header's."""
    rows = read_rows(path)
    line, header = rows[0] if rows else (1, [])
    columns = tuple(header[1:])
    if not columns or header[0].lower() != "image" or "" in columns or len(set(columns)) < len(columns):
        raise UserError(
            f"{path}, line {line}: expected a header 'image,CLASS,CLASS,...' of different classes, found {','.join(header)}"
        )
    classes = classes or columns
    if set(classes) != set(columns):
        raise UserError(
            f"{path}, line {line}: the classes of the header and of data.classes must be the same; "
            f"only one of them has {', '.join(sorted(set(classes) ^ set(columns)))}"
        )
    table: dict[str, list[int]] = {}
    for line, row in rows[1:]:
        if len(row) != len(header) or not row[0] or any(value not in ("0", "1") for value in row[1:]):
            found = ",".join(row)[:80]
            complain(f"{path}, line {line}: expected a name and {len(columns)} values 0 or 1, found {found}")
        elif row[0] in table:
            complain(f"{path}, line {line}: image '{row[0]}' has a row already; remove one")
        else:
            table[row[0]] = [classes.index(name) for name, value in zip(columns, row[1:], strict=True) if value == "1"]
    return table, classes


def _labels_from_xml(path: Path, class_names: tuple[str, ...], complain: Complain) -> list[int]:
    try:
        state = path.stat()
        names = _objects_of(path, (state.st_size, state.st_mtime_ns))
    except FileNotFoundError:
        complain(f"there is no annotation {path}, though its image is listed; add it or remove the name from the list")
        return []
    except (OSError, ValueError, ElementTree.ParseError) as error:
        complain(f"annotation {path} is not valid XML ({error}); copy it again from VOC's archive")
        return []
    present = set()
    for number, name in enumerate(names, start=1):
        if name in class_names:
            present.add(class_names.index(name))
        else:
            known = ", ".join(class_names)
            complain(
                f"annotation {path}, object {number}: unknown class '{name}'; known: {known} (data.classes changes them)"
            )
    return sorted(present)


@cache
def _objects_of(path: Path, state: tuple[int, int]) -> tuple[str, ...]:
    """Class names of an annotation's objects, read once in a process; `state` tells versions of the file apart."""
    parser = ElementTree.XMLParser(target=_NoDoctype())
    return tuple((element.text or "").strip() for element in ElementTree.parse(path, parser).iterfind("object/name"))


class _NoDoctype(ElementTree.TreeBuilder):
    """VOC's annotations have no document type, and only there can entities be declared that grow into gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which annotations do not need")
