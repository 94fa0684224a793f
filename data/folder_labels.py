"""What the images of a folder show: from a table, from COCO's or another tool's files, from names, or from folders.

Layouts that another kind of data or another setting reads are refused with the settings that read them.
"""

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.coco_file import CocoRules, read_coco_file
from data.dataset import Complain
from data.faults import Faults, counted
from data.image_names import Finder, composed
from data.label_table import LabelTable, read_label_table
from data.layouts import SPLITS, Layout, classes_in_names
from data.tables import natural
from data.tool_labels import label_studio_tasks, read_label_studio, read_yolo, yolo_file
from data.tree import Tree
from utils.choices import nearest
from utils.errors import UserError

IN_NAMES = "names"  # data.labels of this value: file names begin with the class
ROBOFLOW_COCO, ROBOFLOW_CSV = "_annotations.coco.json", "_classes.csv"
MOST_NUMBERED = 0.9  # from this part of the images on, names such as Abyssinian_100 are taken for a system

Labels = dict[str, tuple[int, ...]]  # image's path under the root -> indices of its classes


@dataclass
class Opened:
    """The folder as it was found, while it is read."""

    root: Path
    tree: Tree
    layout: Layout
    source: str  # where the labels come from, for messages
    complain: Complain
    notes: list[str] = field(default_factory=list)


def read_labels(
    opened: Opened, table: Path | None, labels: str, classes: tuple[str, ...], rules: CocoRules
) -> tuple[tuple[str, ...], Labels]:
    """The class names, and the labels of every image.

    Args:
        table: the file of labels; None where names or folders give the classes.
        labels: `data.labels`.
        classes: `data.classes`.

    Raises:
        UserError: there are no labels; the message names what would read them.
    """
    rows = _read_rows(opened, table, labels, classes, rules)
    finder, faults = Finder(opened.root, opened.layout.images, opened.tree.files), Faults(opened.complain)
    found: dict[str, set[str]] = {}
    lists: dict[str, list[str]] = {}
    names = [(where, name) for where, name, _ in rows.rows]
    for index, image in finder.find_rows(names, faults, f"under {opened.root}"):
        shown = {label for label in rows.rows[index][2] if not rules.is_background(label)}
        for label in sorted(shown - set(classes)) if classes else ():
            faults.add(
                f"class {label}",
                f"{rows.rows[index][0]}: unknown class '{label}', data.classes has {', '.join(classes)}; mend the name "
                f"or add the class there{nearest(label, classes)}",
            )
        found[image] = shown & set(classes) if classes else shown
        if rows.lists:
            lists.setdefault(rows.lists[index], []).append(image)
    faults.report(is_empty=not found)
    opened.layout.lists = lists or opened.layout.lists
    opened.notes += [*rows.notes, *finder.note(Path(opened.source))]
    table_names = tuple(name for name in rows.class_names if not rules.is_background(name))
    class_names = classes or table_names or tuple(sorted(set().union(*found.values()), key=natural))
    if not class_names:
        expected = "a folder of images for each class, or rows such as 'IMG_1.jpg,cat;dog'"
        raise UserError(f"{opened.source} gives no image a label; expected {expected}")
    if table is not None:
        unnamed = [path for path in opened.layout.images if path not in found]
        what = f"images under {opened.root} that have no row"
        opened.notes += counted(opened.source, what, unnamed, "they are not used")
    return class_names, {
        image: tuple(sorted(class_names.index(label) for label in shown)) for image, shown in found.items()
    }


def _read_rows(
    opened: Opened, table: Path | None, labels: str, classes: tuple[str, ...], rules: CocoRules
) -> LabelTable:
    """What each image shows, from whichever source there is."""
    layout = opened.layout
    if table is not None and table.suffix.lower() != ".json":
        return read_label_table(table, classes, opened.complain)
    if table is not None:
        if tasks := label_studio_tasks(table):
            return read_label_studio(table, tasks)
        coco = read_coco_file(table, rules, opened.complain)
        names = tuple(map(composed, coco.class_names))
        rows = [(f"{table}, image '{i.file_name}'", i.file_name, {names[n] for n in i.labels}) for i in coco.images]
        return LabelTable(names, rows, [*coco.notes])
    if labels == IN_NAMES:
        return _rows_of(opened, classes_in_names(layout.images), "names no class")
    if any(yolo_file(path, opened.tree.files) for path in layout.images):
        faults = Faults(opened.complain)
        read = read_yolo(opened.tree, layout.images, faults)
        faults.report()
        return read
    if not layout.class_of:
        raise refuse_without_classes(opened.tree, layout)
    return _rows_of(opened, layout.class_of, "lies in no class folder")


def _rows_of(opened: Opened, class_of: dict[str, str], problem: str) -> LabelTable:
    """One class an image."""
    layout = opened.layout
    in_lists = {path for paths in layout.lists.values() for path in paths}
    stray = [path for path in layout.images if path not in class_of]
    unlabelled = [path for path in stray if path in in_lists and path.split("/")[0] not in class_of.values()]
    stray = sorted(set(stray) - set(unlabelled))
    what = "images that lie in a list and in no class's folder are left out"
    opened.notes += counted(opened.root, what, unlabelled, "without labels there is nothing to learn from them")
    if stray:
        opened.complain(
            f"image {opened.root / stray[0]} {problem} ({len(stray)} such); move it into one, or give the labels of "
            f"all images in {opened.root / 'labels.csv'}"
        )
    rows = []
    for path, name in class_of.items():
        labels = set() if name in layout.background else {composed(name)}
        rows.append((f"sub-folder {opened.root / PurePosixPath(path).parent}", path, labels))
    return LabelTable((), rows)


def refuse_foreign(tree: Tree) -> None:
    """Refuse the layouts of VOC and COCO, and of the tools that write them.

    Raises:
        UserError: it is one of them; the message names the settings that read it.
    """
    voc = next((path for path in tree.folders if path.rpartition("/")[2] == "JPEGImages"), None)
    if voc is not None:
        root = (tree.root / voc).parent
        lists = sorted(path.stem for path in (root / "ImageSets").glob("*/*.txt"))
        chosen = "train" if "train" in lists or not lists else lists[0]
        settings = f"--set data.kind=voc --set data.root={root} --set data.train_list={chosen}"
        raise UserError(f"{root} is in VOC's layout (JPEGImages); add {settings}")
    roboflow = sorted(path for path in tree.files if PurePosixPath(path).name == ROBOFLOW_COCO)
    if roboflow:
        raise _coco(tree.root, roboflow[0], [PurePosixPath(path).parent.as_posix() for path in roboflow])
    instances = sorted(path for path in tree.files if PurePosixPath(path).match("annotations/*.json"))
    if instances:
        root = tree.root / PurePosixPath(instances[0]).parent.parent
        raise _coco(root, instances[0], [PurePosixPath(path).stem.removeprefix("instances_") for path in instances])


def refuse_without_classes(tree: Tree, layout: Layout) -> UserError:
    """The error for images without class folders and without a table: it names the setting that reads them."""
    tables = sorted(path for path in tree.files if path.count("/") < 2 and path.lower().endswith((".csv", ".tsv")))
    tables.sort(key=lambda path: not path.endswith(f"/{ROBOFLOW_CSV}"))
    documents = sorted(path for path in tree.files if "/" not in path and path.lower().endswith(".json"))
    if tables and tables[0].endswith(f"/{ROBOFLOW_CSV}"):
        root = tree.root / PurePosixPath(tables[0]).parent
        found = f"has Roboflow's tables ({tables[0]}); read one with --set data.root={root} "
        found += f"--set data.labels={ROBOFLOW_CSV}"
    elif tables:
        found = f"has no class folders but the table {tables[0]}; read it with --set data.labels={tables[0]}"
    elif documents and label_studio_tasks(tree.root / documents[0]):
        found = f"has no class folders but {documents[0]}, a list as Label Studio exports it; read it with "
        found += f"--set data.labels={documents[0]}"
    elif documents:
        return _coco(tree.root, documents[0], [documents[0]])
    else:
        named = classes_in_names(layout.images)
        classes = sorted(set(named.values()))
        if len(named) >= MOST_NUMBERED * len(layout.images) and 1 < len(classes) <= len(named) / 2:
            found = f"has no class folders; its names look like CLASS_NUMBER, first '{PurePosixPath(min(named)).name}'"
            found += f": if the classes are {', '.join(classes[:4])}, ..., read them with --set data.labels=names"
        else:
            example = layout.images[0] if layout.images else "IMG_1.jpg"
            found = "says nothing about classes; expected one sub-folder of images a class (cat/, dog/, ...), or a file"
            found += f" {tree.root / 'labels.csv'} with the header 'image,labels' and rows such as '{example},cat;dog'"
    return UserError(f"{tree.root} {found}")


def _coco(root: Path, file: str, lists: list[str]) -> UserError:
    train = next((name for name in lists if SPLITS.get(name.casefold()) == "train" or "train" in name), lists[0])
    val = next((name for name in lists if SPLITS.get(name.casefold()) == "val" or "val" in name), "")
    return UserError(
        f"{root} has annotations in COCO's format ({file}); read them with --set data.kind=coco --set data.root={root} "
        f"--set data.train_list={train} --set data.val_list={val}"
    )
