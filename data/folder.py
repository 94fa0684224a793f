"""Own pictures: one sub-folder a class, or a CSV of labels; truth masks are optional.

root/cat/IMG_1.jpg, root/dog/2024/IMG_7.jpg      one sub-folder a class, or
root/labels.csv                                  header `image,labels`, rows such as `IMG_1.jpg,cat;dog`
root/masks/cat/IMG_1.png                         truth (0 background, class c is c + 1, 255 ignore), if there is any
root/lists/train.txt, root/lists/val.txt         lists, if there are any; a name or relative path a line
"""

import csv
import difflib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath

from data.dataset import Index, Record, check_index, is_inside
from data.images import find_images
from utils.errors import UserError

MASKS, LISTS, LABELS = "masks", "lists", "labels.csv"
SPLIT_NAMES = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


def open_folder(
    root: str | Path,
    list_name: str = "all",
    labels: str = "",
    classes: tuple[str, ...] = (),
    masks: bool = False,
) -> Index:
    """Index of own pictures.

    A record's name is the picture's path under the root without suffix (`cat/IMG_1`); pictures that differ in nothing but
    the suffix keep it (`cat/IMG_1.jpg`, `cat/IMG_1.png`).

    Args:
        root: the folder that holds everything.
        list_name: `all` or empty takes every picture; `train` and `val` take `lists/train.txt` and `lists/val.txt`, and
            without these, `train` is every picture and `val` those that have a mask; else a name under `lists`, or a
            path (absolute, from here, or from the root) to a text file of names or relative paths, one a line.
        labels: a CSV file (from here or from the root); empty takes `labels.csv` in the root, and without that, the
            sub-folders that hold pictures, at any depth, are the classes. The CSV's pictures are all that there are; one
            with an empty label cell has none of the classes.
        classes: class names in the order of the mask values; empty takes all that are found, sorted.
        masks: also give the truth's paths, where there is truth (evaluation only).

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root {root} is not a folder; set it to the folder that holds your pictures")
    table = _find_table(root, labels)
    if table is not None:
        class_names, pictures = _read_table(root, table, tuple(classes))
    else:
        class_names, pictures = _read_class_folders(root, tuple(classes))
    names = _record_names(pictures)

    chosen, what = _choose(root, list_name, names, f"{table}" if table is not None else f"{root}")
    records = []
    for path in chosen:
        mask = _mask_path(root, names[path]) if masks else None
        truth = mask if mask is not None and mask.is_file() else None
        records.append(Record(names[path], root / path, pictures[path], truth))
    return check_index(Index(class_names, tuple(records)), what)


def _choose(root: Path, list_name: str, names: dict[str, str], source: str) -> tuple[list[str], str]:
    """The paths of one list, and what to call it in an error."""
    if list_name in ("", "all"):
        return list(names), source
    path = _find_list(root, list_name)
    if path is not None:
        return _read_list(root, path, names, source), f"list {path}"
    if list_name == "train":
        return list(names), source
    if list_name == "val":
        chosen = [path for path, name in names.items() if _mask_path(root, name).is_file()]
        if not chosen:
            example = next(iter(names.values()))
            raise UserError(
                f"there is no truth to validate on: {root} has neither {LISTS}/val.txt nor a mask of any picture; put "
                f"palette PNG of class values under {root / MASKS}, such as {_mask_path(root, example)}"
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


def _read_list(root: Path, path: Path, names: dict[str, str], source: str) -> list[str]:
    finder = _Finder(root, names)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"list {path} cannot be read as text in UTF-8: {error}; save it as such") from error
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name, where = line.strip(), f"{path}, line {number}"
        if not name:
            continue
        picture = finder.find(name, where)
        if picture is None:
            near = _nearest(name, names)
            raise UserError(f"{where}: '{name}' is no picture of {source}; mend the name or remove the line{near}")
        if picture in lines:
            raise UserError(f"{where}: picture '{name}' is in line {lines[picture]} already; remove one of them")
        lines[picture] = number
    return list(lines)


def _read_class_folders(root: Path, classes: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The class names, and the labels of every picture by its path under the root."""
    contents: dict[str, list[str]] = {}
    for path in _pictures_on_disk(root):
        folder, _, rest = path.partition("/")
        contents.setdefault(folder if rest else "", []).append(path)
    stray = contents.pop("", [])
    if not contents:
        raise UserError(
            f"{root} says nothing about classes; expected one sub-folder of pictures a class (cat/, dog/, ...), or a "
            f"file {LABELS} with the header 'image,labels' and rows such as 'IMG_1.jpg,cat;dog'"
        )
    if stray:
        raise UserError(
            f"picture {root / stray[0]} lies in no class's sub-folder ({len(stray)} such); move it into one, or give "
            f"the labels of all pictures in {root / LABELS}"
        )
    if not classes and len(contents) > 1 and SPLIT_NAMES.issuperset(name.lower() for name in contents):
        raise UserError(
            f"the sub-folders of {root} are {', '.join(contents)}, which look like parts of a dataset and not like "
            "classes; set data.root to one of them, or, if they are classes, name them in data.classes"
        )
    class_names = classes or tuple(sorted({_composed(folder) for folder in contents}))
    pictures = {}
    for folder, paths in contents.items():
        label = _class_index(_composed(folder), class_names, f"sub-folder {root / folder}")
        pictures |= dict.fromkeys(paths, (label,))
    return class_names, pictures


def _find_table(root: Path, labels: str) -> Path | None:
    if not labels:
        return root / LABELS if (root / LABELS).is_file() else None
    path = Path(labels) if Path(labels).is_file() else root / labels
    if not path.is_file() or path.suffix.lower() != ".csv":
        raise UserError(f"data.labels: there is no CSV file {labels}, neither here nor under {root}")
    return path


def _read_table(root: Path, path: Path, classes: tuple[str, ...]) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The class names, and the labels of every picture by its path under the root, in the order of the rows."""
    finder = _Finder(root, _pictures_on_disk(root))
    lines: dict[str, int] = {}
    found: dict[str, set[str]] = {}
    for line, name, labels in _table_rows(path):
        where = f"{path}, line {line}"
        picture = finder.find(name, where) or _of_other_suffix(root, name, where)
        if picture is None:
            near = _nearest(name, finder.paths)
            raise UserError(
                f"{where}: there is no picture '{name}' under {root}; mend the name or remove the row{near}"
            )
        if picture in found:
            raise UserError(f"{where}: picture '{name}' has a row already, in line {lines[picture]}; make it one row")
        for label in sorted(labels):
            if "," in label:
                raise UserError(f"{where}: separate labels with ';' and not with ',', found '{label}'")
            if classes:
                _class_index(label, classes, where)
        lines[picture], found[picture] = line, labels
    class_names = classes or tuple(sorted(set().union(*found.values())))
    if not found:
        raise UserError(f"{path} has no rows under its header; expected rows such as 'IMG_1.jpg,cat;dog'")
    if not class_names:
        raise UserError(f"{path} gives no picture a label; expected rows such as 'IMG_1.jpg,cat;dog'")
    return class_names, {
        picture: tuple(sorted(class_names.index(label) for label in labels)) for picture, labels in found.items()
    }


def _table_rows(path: Path) -> Iterator[tuple[int, str, set[str]]]:
    """Line number, image and labels of every row that is not blank."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as CSV in UTF-8: {error}; save it as such") from error
    rows = [(line, row) for line, row in rows if any(row)]
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
        while len(row) > len(columns) and not row[-1]:  # spreadsheets pad rows with empty cells
            row.pop()
        if len(row) != len(columns):
            raise UserError(
                f"{path}, line {line}: expected {len(columns)} cells ({','.join(header)}), found {len(row)}; separate "
                "labels with ';', and leave the cell empty, but keep its comma, where a picture has none"
            )
        name, labels = row[columns.index("image")], row[columns.index("labels")]
        if not name:
            raise UserError(f"{path}, line {line}: there is no picture's name before the labels '{labels}'")
        yield line, name, {_composed(label.strip()) for label in labels.split(";") if label.strip()}


class _Finder:
    """Finds the picture that a person means by a path or a name, with or without suffix."""

    def __init__(self, root: Path, paths: Iterable[str]):
        self.root, self.paths = root, list(paths)
        self.tables: list[dict[str, list[str]]] = []  # from the most exact spelling to the loosest
        for spelling in (str, _without_suffix, os.path.basename, lambda path: _without_suffix(os.path.basename(path))):
            table: dict[str, list[str]] = {}
            for path in self.paths:
                table.setdefault(_composed(spelling(path)), []).append(path)
            self.tables.append(table)

    def find(self, name: str, where: str) -> str | None:
        """The path under the root, or None.

        Raises:
            UserError: the name leaves the root, or several pictures have it; the message begins with `where`.
        """
        path = _composed(_relative(self.root, name, where))
        for spelling in (path, path.replace("\\", "/")):
            for table in self.tables:
                matches = table.get(spelling, [])
                if len(matches) > 1:
                    raise UserError(
                        f"{where}: '{name}' may be {matches[0]} or {matches[1]}; give the whole path from {self.root}"
                    )
                if matches:
                    return matches[0]
        return None


def _pictures_on_disk(root: Path) -> list[str]:
    """All pictures but masks, as paths under the root, sorted; a folder in the root may be a link to one elsewhere."""
    linked = [path for path in root.iterdir() if path.is_symlink() and path.is_dir() and not path.name.startswith(".")]
    images = {image for folder in (root, *linked) for image in find_images(folder)}
    paths = (path.relative_to(root).as_posix() for path in sorted(images))
    return [path for path in paths if not _is_reserved(path)]


def _of_other_suffix(root: Path, name: str, where: str) -> str | None:
    """The path of a file that has no usual suffix of pictures, if that is what the name is."""
    path = _relative(root, name, where)
    return path if (root / path).is_file() and not _is_reserved(path) else None


def _relative(root: Path, name: str, where: str) -> str:
    """A name that a file gave as path under the root, with '/' and without '.'; a `UserError` if it leads elsewhere."""
    if "\0" not in name and Path(name).is_absolute():
        absolute = Path(os.path.normpath(name))
        bases = [base for base in (root.absolute(), root.resolve()) if absolute.is_relative_to(base)]
        name = str(absolute.relative_to(bases[0])) if bases else ""
    if not is_inside(name):
        raise UserError(f"{where}: the picture's name must be a path under {root}, found one that leads out of it")
    return PurePath(name).as_posix()


def _is_reserved(path: str) -> bool:
    return "/" in path and path.partition("/")[0] in (MASKS, LISTS)


def _record_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> name: without suffix, except where that would give two pictures one name."""
    paths, whole = list(paths), set()
    while True:
        names = {path: path if path in whole else _without_suffix(path) for path in paths}
        counts = Counter(names.values())
        clashing = {path for path, name in names.items() if counts[name] > 1} - whole
        if not clashing:
            return names
        whole |= clashing


def _without_suffix(path: str) -> str:
    return path.removesuffix(PurePath(path).suffix)


def _mask_path(root: Path, name: str) -> Path:
    return root / MASKS / f"{name}.png"


def _class_index(name: str, class_names: tuple[str, ...], where: str) -> int:
    if name not in class_names:
        known = ", ".join(class_names)
        raise UserError(
            f"{where}: unknown class '{name}', data.classes has {known}; mend the name or add the class there"
            f"{_nearest(name, class_names)}"
        )
    return class_names.index(name)


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def _composed(text: str) -> str:
    """One spelling for accented letters, which some systems take apart in file names."""
    return unicodedata.normalize("NFC", text)
