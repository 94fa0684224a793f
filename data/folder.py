"""Own images: one sub-folder a class, or a CSV or JSON file of labels; truth masks are optional.

root/cat/IMG_1.jpg, root/dog/2024/IMG_7.jpg      one sub-folder a class, `background` for none of them, or
root/labels.csv                                  header `image,labels`, rows such as `IMG_1.jpg,cat;dog`, or
root/labels.json                                 COCO's format; labels alone will do, without boxes and outlines
root/masks/cat/IMG_1.png                         truth (0 background, class c is c + 1, 255 ignore), if there is any
root/lists/train.txt, root/lists/val.txt         lists, if there are any; a name or relative path a line; or in root/

Layouts of others are read too, or refused with the setting that reads them: see `data/layouts.py`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data.coco_file import PLAIN_RULES, CocoRules
from data.dataset import Index, NoTruth, Record, check_index
from data.faults import Complain, Faults, counted, refuse
from data.folder_labels import IN_NAMES, read_labels, refuse_foreign
from data.image_names import Finder, record_names
from data.layouts import MASKS, RESERVED, SPLITS, Layout, find_layout, is_like_a_list
from data.tables import read_lines
from data.tree import FEW_VALUES, hold_many, scan
from utils.errors import UserError

TABLES = ("labels.csv", "labels.json")
SUFFIXES = (".csv", ".tsv", ".txt", ".json")


def open_folder(
    root: str | Path,
    list_name: str = "all",
    labels: str = "",
    classes: tuple[str, ...] = (),
    masks: bool = False,
    *,
    rules: CocoRules = PLAIN_RULES,
    complain: Complain = refuse,
) -> Index:
    """Index of own images; `UserError` where something is missing or malformed.

    A record's name is the image's path under the root without suffix, where that is unique (`cat/IMG_1`). The list
    `val` without a file and without any mask is `NoTruth`.

    Args:
        list_name: `all` or empty takes every image; `train` and `val` take `lists/train.txt` and `lists/val.txt`, or
            the folders of these names; without either, `train` is every image of no other list and `val` those with a
            mask; else a name under `lists`, or a path to a text file of names or relative paths.
        labels: a CSV or JSON file (from here or from the root), or `names`: file names begin with the class; empty
            takes `labels.csv` or `labels.json` in the root, else the folders are the classes.
        classes: class names in the order of the mask values; empty takes all that are found, sorted (JSON: by id).
        rules: which label or sub-folder means none of the classes, and what a crowd is in a JSON file.
    """
    root = Path(root)
    if not root.is_dir():
        raise UserError(f"data.root {root} is not a folder; set it to the folder that holds your images")
    table = _find_table(root, labels)
    by_folders = table is None and labels != IN_NAMES
    tree = scan(root, classes, complain)
    if by_folders:
        refuse_foreign(tree, classes)
    layout = find_layout(tree, classes, complain, has_table=not by_folders)
    class_names, images = read_labels(layout, table, labels, tuple(classes), rules)
    names = record_names(images)
    source = f"{table or root}"
    chosen, what = _choose(layout, source, list_name, names)
    layout.notes += tree.notes(images, by_folders)
    layout.notes += _notes_on_files(layout, table, list_name)
    truth = {path: root / mask for path, mask in layout.masks.items() if masks}
    named = [layout.masks[path] for path in truth]
    if hold_many(root, named):
        what = f"masks by their names that hold more than {FEW_VALUES} values, as photographs do"
        remedy = "they are never trained with: rename them, or the folder, if they are images"
        layout.notes += counted(root, what, named, remedy)
    records = [Record(names[path], root / path, images[path], truth.get(path)) for path in chosen]
    return check_index(Index(class_names, tuple(records), tuple(layout.notes)), what)


def _find_table(root: Path, labels: str) -> Path | None:
    """The file of labels that was asked for or lies in the root; None where folders or names give the classes."""
    if labels == IN_NAMES:
        return None
    if not labels:
        return next((root / name for name in TABLES if (root / name).is_file()), None)
    path = Path(labels) if Path(labels).is_file() else root / labels
    if not path.is_file():
        remedy = f"give its path, or '{IN_NAMES}' if file names begin with the class"
        raise UserError(f"data.labels: there is no CSV or JSON file {labels}, neither here nor under {root}; {remedy}")
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"data.labels: {path} is not read; expected {', '.join(SUFFIXES)}: save the table as CSV")
    return path


def _choose(layout: Layout, source: str, list_name: str, names: dict[str, str]) -> tuple[list[str], str]:
    """The paths of one list, and what to call it in an error; `source` is where the labels come from."""
    root = layout.root
    if list_name in ("", "all"):
        return list(names), source
    finder = Finder(root, names)
    path = _list_file(layout, list_name, finder)
    if path is None and list_name not in ("train", "val"):  # these are names, whatever else lies around so called
        path = next((path for path in (Path(list_name), root / list_name) if path.is_file()), None)
    if path is not None:
        return _read_list(layout, source, path, finder), f"list {path}"
    if (folder := SPLITS.get(list_name.casefold(), "")) in layout.lists:
        return [path for path in layout.lists[folder] if path in names], f"list {list_name} of {root}"
    if list_name == "train":
        others = {path for paths in layout.lists.values() for path in paths}
        for other in ("val", "test"):
            if (file := _list_file(layout, other, finder)) is not None:
                others.update(_read_list(layout, source, file, finder))
                layout.lists.setdefault(other, [])
        if names and others.issuperset(names):
            what = f"all images are of list {' or '.join(layout.lists)}, none is of 'train'"
            raise UserError(f"{source}: {what}; set data.train_list={next(iter(layout.lists))} to train with them")
        return [path for path in names if path not in others], source
    if list_name == "val":
        if chosen := [path for path in names if path in layout.masks]:
            return chosen, f"list val of {root}"
        what = f"{root} has neither {RESERVED}/val.txt nor a mask of any image"
        mask = root / MASKS / f"{next(iter(names.values()), 'NAME')}.png"
        raise NoTruth(f"there is no truth to validate on: {what}; put palette PNG of class values there: {mask}")
    known = ", ".join(sorted({path.stem for path in (root / RESERVED).glob("*.txt")} | layout.lists.keys())) or "none"
    other = f"a name under {root / RESERVED} (there: {known}), or the path of a text file, from here or from {root}"
    raise UserError(f"there is no list '{list_name}': expected all, train, val, {other}")


def _list_file(layout: Layout, list_name: str, finder: Finder) -> Path | None:
    """`lists/NAME.txt`; else one in the root or in `Lists`, in any case, whose first line names an image."""
    if (path := layout.root / RESERVED / f"{list_name}.txt").is_file():
        return path
    wanted = SPLITS.get(list_name)
    for file in sorted(layout.tree.files) if wanted else ():
        folder, _, name = file.casefold().rpartition("/")
        if folder in ("", RESERVED) and name.endswith(".txt") and SPLITS.get(name.removesuffix(".txt")) == wanted:
            path = layout.root / file
            number, line = next(iter(read_lines(path)), (0, ""))
            find, where = Finder(layout.root, finder.paths).find, f"{path}, line {number}"
            if line and find(line, where) is not None:
                return path
            image, _, label = line.replace("\t", " ").rpartition(" ")  # as Caffe's lists have it
            if label.isdecimal() and find(image.strip(), where) is not None:
                what = f"expected an image alone, found '{image}' and the label {label}"
                remedy = "labels come from the folders or the table: write one image a line, or rename what is no list"
                layout.complain(f"{where}: {what}; {remedy}")
            layout.notes.append(f"{path} is not read as a list, because its first line names no image: '{line[:60]}'")
    return None


def _notes_on_files(layout: Layout, table: Path | None, list_name: str) -> Iterator[str]:
    """What to say of tables and lists beside those that are read, and of several lists that are taken together."""
    root = layout.root
    others = [name for name in TABLES if table is not None and (root / name).is_file() and root / name != table]
    yield from counted(root, "files of labels that are not read", others, f"labels are those of {table}")
    files = {path: PurePosixPath(path) for path in layout.tree.files}
    has_lists = any(file.suffix == ".txt" and str(file.parent).casefold() == RESERVED for file in files.values())
    if list_name in ("", "all", "train") and not layout.lists and not has_lists:
        stems = {PurePosixPath(path).stem for path in layout.images}  # whose texts are boxes or captions
        found = [path for path, file in files.items() if file.suffix in (".txt", ".json") or file.parts[0] == RESERVED]
        found = [path for path in found if is_like_a_list(files[path].stem)]
        found = [path for path in found if "/" in path or files[path].stem.casefold() not in SPLITS]
        stray = [path for path in found if files[path].stem not in stems]
        remedy = f"lists are read from {RESERVED}/train.txt and {RESERVED}/val.txt"
        yield from counted(root, "files that look like lists and are not read", stray, remedy)
    if list_name in ("", "all") and len(layout.lists) > 1:
        sizes = ", ".join(f"{name} ({len(paths)})" for name, paths in layout.lists.items())
        yield f"{root}: list 'all' takes {sizes} together; data.train_list and data.val_list may name one"


def _read_list(layout: Layout, source: str, path: Path, finder: Finder) -> list[str]:
    faults = Faults(layout.complain)
    rows = [(f"{path}, line {number}", name) for number, name in read_lines(path)]
    found = [image for _, image in finder.find_rows(rows, faults, f"in {source}")]
    faults.report(is_empty=not found)
    layout.notes += finder.note(path)
    return found
