"""Own images: one sub-folder a class, or a CSV or JSON file of labels; truth masks are optional.

root/cat/IMG_1.jpg, root/dog/2024/IMG_7.jpg      one sub-folder a class, `background` for none of them, or
root/labels.csv                                  header `image,labels`, rows such as `IMG_1.jpg,cat;dog`, or
root/labels.json                                 COCO's format; labels alone will do, without boxes and outlines
root/masks/cat/IMG_1.png                         truth (0 background, class c is c + 1, 255 ignore), if there is any
root/lists/train.txt, root/lists/val.txt         lists, if there are any; a name or relative path a line
"""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path

from data.coco_file import read_label_table
from data.dataset import Complain, Index, NoTruth, Record, check_index, refuse
from data.image_names import LISTS, MASKS, Finder, composed, images_on_disk, of_other_suffix, record_names
from data.tables import read_lines, read_rows
from utils.errors import UserError
from utils.names import fault_of, shown

TABLES = ("labels.csv", "labels.json")
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})

Labels = dict[str, tuple[int, ...]]  # image's path under the root -> indices of its classes
Row = tuple[str, str, set[str]]  # where it is, for errors; the image as it is named there; its labels


def open_folder(
    root: str | Path,
    list_name: str = "all",
    labels: str = "",
    classes: tuple[str, ...] = (),
    masks: bool = False,
    *,
    background: str = "",
    complain: Complain = refuse,
) -> Index:
    """Index of own images.

    A record's name is the image's path under the root without suffix (`cat/IMG_1`); images that differ in nothing but
    the suffix keep it (`cat/IMG_1.jpg`, `cat/IMG_1.png`).

    Args:
        root: the folder that holds everything.
        list_name: `all` or empty takes every image; `train` and `val` take `lists/train.txt` and `lists/val.txt`, and
            without these, `train` is every image and `val` those that have a mask; else a name under `lists`, or a
            path (absolute, from here, or from the root) to a text file of names or relative paths, one a line.
        labels: a CSV or JSON file (from here or from the root); empty takes `labels.csv` or `labels.json` in the root, and
            without these, the sub-folders that hold images, at any depth, are the classes. The file's images are all
            that there are; one without a label has none of the classes.
        classes: class names in the order of the mask values; empty takes all that are found, sorted (JSON: by id).
        masks: also give the truth's paths, where there is truth (evaluation only).
        background: a label or sub-folder of this name means none of the classes.
        complain: what to do about a record that is not as it should be.

    Raises:
        NoTruth: the list is `val`, and there is neither a list of that name nor a mask.
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root {root} is not a folder; set it to the folder that holds your images")
    table = find_table(root, labels)
    if table is not None:
        class_names, images = _read_table(root, table, tuple(classes), background, complain)
    else:
        class_names, images = _read_class_folders(root, tuple(classes), background, complain)
    for path in list(images):
        if (fault := fault_of(path)) is not None:
            complain(f"image {root}/{shown(path)}: its name {fault}; rename it")
            del images[path]
    names = record_names(images)

    chosen, what = _choose(root, list_name, names, f"{table}" if table is not None else f"{root}", complain)
    records = []
    for path in chosen:
        mask = _mask_path(root, names[path]) if masks else None
        truth = mask if mask is not None and mask.is_file() else None
        records.append(Record(names[path], root / path, images[path], truth))
    return check_index(Index(class_names, tuple(records)), what)


def find_table(root: Path, labels: str) -> Path | None:
    """The file of labels that was asked for or lies in the root; None where sub-folders are the classes."""
    if not labels:
        return next((root / name for name in TABLES if (root / name).is_file()), None)
    path = Path(labels) if Path(labels).is_file() else root / labels
    if not path.is_file() or path.suffix.lower() not in (".csv", ".json"):
        raise UserError(
            f"data.labels: there is no CSV or JSON file {labels}, neither here nor under {root}; give its path"
        )
    return path


def _choose(
    root: Path, list_name: str, names: dict[str, str], source: str, complain: Complain
) -> tuple[list[str], str]:
    """The paths of one list, and what to call it in an error."""
    if list_name in ("", "all"):
        return list(names), source
    path = _find_list(root, list_name)
    if path is not None:
        return _read_list(root, path, names, source, complain), f"list {path}"
    if list_name == "train":
        return list(names), source
    if list_name == "val":
        chosen = [path for path, name in names.items() if _mask_path(root, name).is_file()]
        if not chosen:
            example = _mask_path(root, next(iter(names.values()), "NAME"))
            raise NoTruth(
                f"there is no truth to validate on: {root} has neither {LISTS}/val.txt nor a mask of any image; put "
                f"palette PNG of class values under {root / MASKS}, such as {example}"
            )
        return chosen, f"list val of {root}"
    known = ", ".join(sorted(path.stem for path in (root / LISTS).glob("*.txt"))) or "none"
    raise UserError(
        f"there is no list '{list_name}': expected all, train, val, a name under {root / LISTS} (there: {known}), or "
        f"the path of a text file, from here or from {root}"
    )


def _find_list(root: Path, list_name: str) -> Path | None:
    candidates = [root / LISTS / f"{list_name}.txt"]
    if list_name not in ("train", "val"):  # these are names, whatever else lies around that is called so
        candidates += [Path(list_name), root / list_name]
    return next((path for path in candidates if path.is_file()), None)


def _read_list(root: Path, path: Path, names: dict[str, str], source: str, complain: Complain) -> list[str]:
    finder = Finder(root, names)
    lines: dict[str, int] = {}
    for number, name in read_lines(path):
        where = f"{path}, line {number}"
        try:
            image = finder.find(name, where)
        except UserError as error:
            complain(str(error))
            continue
        if image is None:
            near = _nearest(name, names)
            complain(f"{where}: '{name}' is no image of {source}; mend the name or remove the line{near}")
        elif image in lines:
            complain(f"{where}: image '{name}' is in line {lines[image]} already; remove one of them")
        else:
            lines[image] = number
    return list(lines)


def _read_class_folders(
    root: Path, classes: tuple[str, ...], background: str, complain: Complain
) -> tuple[tuple[str, ...], Labels]:
    """The class names, and the labels of every image."""
    contents: dict[str, list[str]] = {}
    for path in images_on_disk(root):
        folder, _, rest = path.partition("/")
        contents.setdefault(folder if rest else "", []).append(path)
    stray = contents.pop("", [])
    if not contents:
        raise UserError(
            f"{root} says nothing about classes; expected one sub-folder of images a class (cat/, dog/, ...), or a "
            f"file {TABLES[0]} with the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog'"
        )
    if stray:
        complain(
            f"image {root / stray[0]} lies in no class's sub-folder ({len(stray)} such); move it into one, or give "
            f"the labels of all images in {root / TABLES[0]}"
        )
    if not classes and len(contents) > 1 and SPLIT_NAMES.issuperset(name.lower() for name in contents):
        raise UserError(
            f"the sub-folders of {root} are {', '.join(contents)}, which look like parts of a dataset and not like "
            "classes; set data.root to one of them, or, if they are classes, name them in data.classes"
        )
    found = {folder: composed(folder) for folder in contents}
    class_names = classes or tuple(sorted({name for name in found.values() if not _is_same(name, background)}))
    if not class_names:
        raise UserError(
            f"{root} has the sub-folder {background} alone, which means none of the classes; add one a class"
        )
    images: Labels = {}
    for folder, paths in contents.items():
        if _is_same(found[folder], background):
            images |= dict.fromkeys(paths, ())
        elif found[folder] in class_names:
            images |= dict.fromkeys(paths, (class_names.index(found[folder]),))
        else:
            complain(_unknown_class(found[folder], class_names, f"sub-folder {root / folder}"))
    return class_names, images


def _read_table(
    root: Path, path: Path, classes: tuple[str, ...], background: str, complain: Complain
) -> tuple[tuple[str, ...], Labels]:
    """The class names, and the labels of every image that the file names, in its order."""
    finder = Finder(root, images_on_disk(root))
    if path.suffix.lower() == ".json":
        class_names, rows = _json_rows(path, background, complain)
    else:
        class_names, rows = (), list(_csv_rows(path, complain))
    places: dict[str, str] = {}
    found: dict[str, set[str]] = {}
    for where, name, labels in rows:
        try:
            image = finder.find(name, where) or of_other_suffix(root, name, where)
        except UserError as error:
            complain(str(error))
            continue
        if image is None:
            near = _nearest(name, finder.paths)
            complain(f"{where}: there is no image '{name}' under {root}; mend the name or remove the row{near}")
            continue
        if image in found:
            complain(f"{where}: image '{name}' has a row already ({places[image]}); make it one row")
            continue
        labels = {label for label in labels if not _is_same(label, background)}
        for label in sorted(labels):
            if "," in label and class_names == ():
                complain(f"{where}: separate labels with ';' and not with ',', found '{label}'")
            elif classes and label not in classes:
                complain(_unknown_class(label, classes, where))
        places[image], found[image] = where, {label for label in labels if not classes or label in classes}
    class_names = classes or class_names or tuple(sorted(set().union(*found.values())))
    if not found:
        raise UserError(f"{path} has no rows under its header; expected rows such as 'IMG_1.jpg,cat;dog'")
    if not class_names:
        raise UserError(f"{path} gives no image a label; expected rows such as 'IMG_1.jpg,cat;dog'")
    return class_names, {
        image: tuple(sorted(class_names.index(label) for label in labels)) for image, labels in found.items()
    }


def _json_rows(path: Path, background: str, complain: Complain) -> tuple[tuple[str, ...], list[Row]]:
    """The file's classes, and a row an image."""
    table = read_label_table(path, background, complain)
    names = [composed(name) for name in table.class_names]
    rows = [
        (f"{path}, image '{file_name}'", file_name, {names[label] for label in labels})
        for file_name, labels in table.images
    ]
    return tuple(names), rows


def _csv_rows(path: Path, complain: Complain) -> Iterator[Row]:
    """Every row under the header."""
    rows = read_rows(path)
    if not rows:
        raise UserError(f"{path} is empty; expected the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog'")
    line, header = rows[0]
    columns = [cell.lower() for cell in header]
    if "image" not in columns or "labels" not in columns:
        raise UserError(
            f"{path}, line {line}: expected the header 'image,labels', columns separated by commas, found "
            f"'{','.join(header)}'"
        )
    for line, row in rows[1:]:
        where = f"{path}, line {line}"
        while len(row) > len(columns) and not row[-1]:  # spreadsheets pad rows with empty cells
            row.pop()
        if len(row) != len(columns):
            complain(
                f"{where}: expected {len(columns)} cells ({','.join(header)}), found {len(row)}; separate "
                "labels with ';', and leave the cell empty, but keep its comma, where an image has none"
            )
            continue
        name, labels = row[columns.index("image")], row[columns.index("labels")]
        if not name:
            complain(f"{where}: there is no image's name before the labels '{labels}'")
            continue
        yield where, name, {composed(label.strip()) for label in labels.split(";") if label.strip()}


def _mask_path(root: Path, name: str) -> Path:
    return root / MASKS / f"{name}.png"


def _is_same(name: str, background: str) -> bool:
    return name.casefold() == composed(background).casefold()


def _unknown_class(name: str, class_names: tuple[str, ...], where: str) -> str:
    known = ", ".join(class_names)
    return (
        f"{where}: unknown class '{name}', data.classes has {known}; mend the name or add the class there"
        f"{_nearest(name, class_names)}"
    )


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
