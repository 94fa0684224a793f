"""PASCAL VOC layout: JPEGImages, SegmentationClass, ImageSets/Segmentation.

Image-level labels come from one of three sources: `Annotations/*.xml`, a CSV table, or a dictionary in a `.npy` file.
CVAT writes this layout, too, with the names of the classes in `labelmap.txt`, and lists under `ImageSets/Main` where it
has no masks.
"""

import re
import xml.etree.ElementTree as ElementTree
from functools import cache
from pathlib import Path

from data.dataset import Index, Record, check_index
from data.faults import Complain, Faults, refuse
from data.image_names import composed
from data.label_array import read_label_array
from data.label_table import read_label_table
from data.tables import natural, read_class_names, read_lines
from utils.errors import UserError
from utils.names import fault_of, shown

VOC_CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
    "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

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
    """Index of one list of a VOC-layout dataset; `UserError` where something is missing or malformed.

    Args:
        list_name: as for `read_names`. Images of the list `test` may be without labels and masks.
        labels: a `.csv` (header: image, then class names), or a `.npy` dictionary of name -> 0/1 vector; empty takes
            `image_labels.csv` or `cls_labels.npy` in the root, else `Annotations/*.xml`.
        classes: foreground class names in the order of the mask values; empty takes the CSV's header or VOC's 20.
    """
    root = Path(root)
    if not (root / "JPEGImages").is_dir():
        remedy = "set data.root to it, or for VOC 2012 data.download=true"
        raise UserError(f"data.root {root} has no folder JPEGImages; expected a dataset in VOC layout; {remedy}")
    names = read_names(root, list_name, complain)
    if not names:
        raise UserError(f"list '{list_name}' of {root} has no names; expected one a line, such as 2007_000032")
    optional = list_name == "test"  # VOC keeps its labels and masks to itself
    label_path = _find_labels(root, labels, optional)
    table, class_names = _read_labels(root, label_path, tuple(classes), complain)
    records = []
    faults = Faults(complain)
    for name, where in names.items():
        image, mask = _find_image(root, name), root / "SegmentationClass" / f"{name}.png"
        annotation = root / "Annotations" / f"{name}.xml"
        if image is None:
            path = root / "JPEGImages" / f"{name}.jpg"
            faults.add("image", f"{where}: there is no image {path} (or .png); add it or remove the line")
            continue
        if label_path is None and (not optional or annotation.is_file()):
            table[name] = labels_from_xml(annotation, class_names, faults)
        if name not in table and not optional:
            faults.add("row", f"{where}: image '{name}' has no row in {label_path}; add one or remove the line")
            continue
        has_mask = masks and (not optional or mask.is_file())
        records.append(Record(name, image, tuple(sorted(table.get(name, ()))), mask if has_mask else None))
    faults.report(is_empty=not records)
    return check_index(Index(class_names, tuple(records)), f"list '{list_name}' of {root}")


def read_names(root: Path, list_name: str, complain: Complain = refuse) -> Names:
    """The images of a list, in its order; `UserError` where there is no such list, or a line is malformed.

    It is a name under `ImageSets/Segmentation`, or a path to a text file of names, one a line; a line may also be
    `/JPEGImages/ID.jpg /SegmentationClass/ID.png`. Without a file, `trainval` is `train` and `val`, and `train_aug` is
    SBD's train and val and VOC's train, without VOC's val (10,582 names, sorted).
    """
    path = find_list(root, list_name)
    if path is not None:
        return _read_list(root, path, complain)
    there = root / "ImageSets/Segmentation"
    if list_name not in ("train_aug", "trainval"):
        known = ", ".join(sorted(path.stem for path in there.glob("*.txt"))) or "none"
        expected = f"neither {there / (list_name + '.txt')} nor a file of that path"
        raise UserError(f"there is no list '{list_name}': {expected}; lists there: {known}")
    train, val = (read_names(root, part, complain) for part in ("train", "val"))
    if list_name == "trainval":
        return dict(sorted((train | val).items()))
    folder = find_sbd_lists(root)
    if folder is None:
        sbd = f"train.txt and val.txt of the Semantic Boundaries Dataset (SBD) into {root / SBD_LISTS[0]}"
        remedy = f"{sbd}, or set data.download=true to fetch them; data.train_list=train is VOC's own list"
        raise UserError(f"there is no list 'train_aug': put train_aug.txt into {there}, or {remedy}")
    augmented = _read_list(root, folder / "train.txt", complain) | _read_list(root, folder / "val.txt", complain)
    augmented |= train
    return {name: augmented[name] for name in sorted(augmented) if name not in val}


def find_sbd_lists(root: Path) -> Path | None:
    """The folder with SBD's `train.txt` and `val.txt`, if they are there."""
    folders = (root / part for part in SBD_LISTS)
    return next((path for path in folders if (path / "train.txt").is_file() and (path / "val.txt").is_file()), None)


def find_list(root: Path, list_name: str) -> Path | None:
    """The file of a list given by name or by path, if there is one."""
    folder = root / "ImageSets" / "Segmentation"
    if not folder.is_dir():
        folder = folder.with_name("Main")
    candidates = (folder / f"{list_name}.txt", Path(list_name), root / list_name)
    return next((path for path in candidates if path.is_file()), None)


def _read_list(root: Path, path: Path, complain: Complain) -> Names:
    """Names may have spaces; what follows a name that has none, such as the 1 of `ID 1`, is passed over."""
    names: Names = {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        first = line.split()[0].replace("\\", "/")
        whole = _name_of(line)
        name = Path(first).stem if "/" in first else first
        if name != line and fault_of(whole) is None and _find_image(root, whole) is not None:
            name = whole
        if (fault := fault_of(name)) is not None:
            complain(f"{where}: the image's name {shown(name)} {fault}; expected one such as 2007_000032")
        elif name in names:
            complain(f"{where}: image '{name}' is listed already ({names[name]}); remove one of the lines")
        else:
            names[name] = where
    return names


def _name_of(text: str) -> str:
    name = text.replace("\\", "/").rpartition("JPEGImages/")[2].removeprefix("./").removeprefix("/")
    return name.removesuffix(".jpg").removesuffix(".png")


def _find_image(root: Path, name: str) -> Path | None:
    paths = (root / "JPEGImages" / f"{name}{suffix}" for suffix in (".jpg", ".png"))
    return next((path for path in paths if path.is_file()), None)


def _find_labels(root: Path, labels: str, optional: bool) -> Path | None:
    if labels:
        path = Path(labels) if Path(labels).is_file() else root / labels
        if not path.is_file():
            raise UserError(f"data.labels: there is no file {labels}, neither here nor under {root}; give its path")
        if path.suffix not in (".csv", ".npy"):
            raise UserError(f"data.labels {path}: expected a .csv or a .npy file")
        return path
    found = next((root / name for name in ("image_labels.csv", "cls_labels.npy") if (root / name).is_file()), None)
    if found is None and not optional and not (root / "Annotations").is_dir():
        expected = "Annotations/*.xml, image_labels.csv or cls_labels.npy there, or set data.labels"
        raise UserError(f"{root} has no image-level labels; expected {expected}")
    return found


def _read_labels(
    root: Path, path: Path | None, classes: tuple[str, ...], complain: Complain
) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The labels by image name, none where XML files are to be read, and the classes: those given, else the data's."""
    if not classes and (root / "labelmap.txt").is_file():
        classes = read_class_names(root / "labelmap.txt")
    if path is None:
        return {}, classes or VOC_CLASSES
    if path.suffix == ".npy":
        arrays = read_label_array(path, classes or VOC_CLASSES)
        return {_name_of(name): labels for name, labels in arrays.items()}, classes or VOC_CLASSES
    read = read_label_table(path, classes, complain)
    found = read.class_names or tuple(sorted({label for row in read.rows for label in row.labels}, key=natural))
    classes = classes or found
    if read.class_names and (differing := set(classes) ^ set(found)):
        names = ", ".join(sorted(differing))
        raise UserError(f"{path}: its header and data.classes must name the same classes; only one has {names}")
    table: dict[str, list[int]] = {}
    faults = Faults(complain)
    for where, text, labels, _ in read.rows:
        if (name := _name_of(text)) in table:
            faults.add("twice", f"{where}: image '{name}' has a row already; remove one")
        elif unknown := labels - set(classes):
            faults.add("class", f"{where}: unknown class '{min(unknown)}'; add it to data.classes or mend it")
        else:
            table[name] = sorted(classes.index(label) for label in labels)
    faults.report()
    return table, classes


def labels_from_xml(path: Path, class_names: tuple[str, ...], faults: Faults) -> list[int]:
    """Indices of the classes that an annotation names, sorted; objects marked difficult count."""
    try:
        state = path.stat()
        names = _objects_of(path, (state.st_size, state.st_mtime_ns))
    except FileNotFoundError:
        faults.add("missing", f"there is no annotation {path}; add it or remove the image from the list")
        return []
    except (OSError, LookupError, ValueError, ElementTree.ParseError) as error:
        what = f"annotation {path} is not VOC's XML ({error})"
        faults.add("xml", f"{what}; save it as UTF-8, or copy it from where it came")
        return []
    for number, name in enumerate(names, start=1):
        if name not in class_names:
            known = f"known: {', '.join(class_names)} (data.classes changes them)"
            faults.add(f"class {name}", f"annotation {path}, object {number}: unknown class '{name}'; {known}")
    return sorted({class_names.index(name) for name in names if name in class_names})


@cache
def _objects_of(path: Path, state: tuple[int, int]) -> tuple[str, ...]:
    """Class names of an annotation's objects, read once in a process; `state` tells versions of the file apart."""
    text = _decoded(path.read_bytes())
    tree = ElementTree.fromstring(text, ElementTree.XMLParser(target=_NoDoctype()))
    names = tuple(composed((element.text or "").strip()) for element in tree.iterfind("object/name"))
    tags = [element.tag.rpartition("}")[2].casefold() for element in tree.iter()]
    if tags.count("object") != len(names) or ("bndbox" in tags and not names):
        raise ValueError("it has objects that are not annotation/object/name, as VOC has them")
    if "\ufffd" in text and not "".join(names).isascii():
        raise ValueError("it declares no encoding, is not UTF-8, and its class names are not plain letters")
    return names


def _decoded(content: bytes) -> str:
    """The text without its declaration, whose encoding the parser may not know.

    Without a declared encoding, U+FFFD stands for what is not UTF-8: tags are the same in all usual encodings.
    """
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = content.decode("utf-16")
    else:
        declared = re.match(rb"[^>]*encoding\s*=\s*[\"']([\w.:-]+)", content)
        encoding = declared[1].decode("ascii", "replace").lower() if declared is not None else "utf-8"
        if encoding.startswith(("utf-16", "utf-32")):  # then it would not begin with plain letters
            encoding = "utf-8"
        text = content.decode(encoding, "strict" if declared is not None else "replace")
    return re.sub(r"^\s*<\?xml.*?\?>", "", text.removeprefix("\ufeff"), flags=re.DOTALL)


class _NoDoctype(ElementTree.TreeBuilder):
    """VOC's annotations have no document type, and only there can entities be declared that grow into gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ValueError("it declares a document type, which annotations do not need")
