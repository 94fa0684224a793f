"""What the images of a folder show: from a table, from COCO's or YOLO's files, from names, or from class folders."""

from dataclasses import dataclass, field
from pathlib import Path

from data.coco_file import read_coco_labels, read_list
from data.coco_records import CocoRules
from data.dataset import Complain
from data.faults import Faults
from data.foreign import refuse_without_classes
from data.image_names import Finder, composed, nearest_name
from data.label_studio import read_label_studio
from data.label_table import LabelTable, read_label_table
from data.layouts import Layout, classes_in_names
from data.tables import natural
from data.tree import Tree
from data.yolo import label_file, read_yolo
from utils.errors import UserError

IN_NAMES = "names"  # data.labels of this value: file names begin with the class

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
    """The class names, and the labels of every image."""
    layout, faults = opened.layout, Faults(opened.complain)
    if table is not None and table.suffix.lower() == ".json" and (tasks := read_list(table)):
        return _from_rows(opened, read_label_studio(table, tasks), classes, rules)
    if table is not None and table.suffix.lower() == ".json":
        coco = read_coco_labels(table, rules, opened.complain)
        names = tuple(map(composed, coco.class_names))
        rows = [(f"{table}, image '{name}'", name, {names[label] for label in of}) for name, of in coco.images]
        return _from_rows(opened, LabelTable(names, rows, [*coco.notes]), classes, rules)
    if table is not None:
        return _from_rows(opened, read_label_table(table, classes, opened.complain), classes, rules)
    if labels == IN_NAMES:
        class_of = classes_in_names(layout.images)
    elif any(label_file(path, opened.tree.files) for path in layout.images):
        read = read_yolo(opened.tree, layout.images, faults)
        faults.report()
        return _from_rows(opened, read, classes, rules)
    else:
        class_of = layout.class_of
        if not class_of:
            raise refuse_without_classes(opened.tree, layout)
    stray = [path for path in layout.images if path not in class_of]
    in_lists = {path for paths in layout.lists.values() for path in paths}
    unlabelled = [path for path in stray if path in in_lists and path.split("/")[0] not in class_of.values()]
    stray = [path for path in stray if path not in unlabelled] if unlabelled else stray
    if unlabelled:
        opened.notes.append(
            f"{opened.root}: {len(unlabelled)} images lie in a list and in no class's folder, and are left out, first "
            f"{unlabelled[0]}; without labels there is nothing to learn from them"
        )
    if stray:
        opened.complain(
            f"image {opened.root / stray[0]} {'lies in no class folder' if labels != IN_NAMES else 'names no class'} "
            f"({len(stray)} such); move it into one, or give the labels of all images in {opened.root / 'labels.csv'}"
        )
    return _from_class_names(opened, {path: composed(name) for path, name in class_of.items()}, classes, rules)


def _from_class_names(
    opened: Opened, class_of: dict[str, str], classes: tuple[str, ...], rules: CocoRules
) -> tuple[tuple[str, ...], Labels]:
    """One class an image."""
    background = {name for name in class_of.values() if rules.is_background(name)} | opened.layout.background
    class_names = classes or tuple(sorted(set(class_of.values()) - background, key=natural))
    if not class_names:
        raise UserError(
            f"{opened.root} has the folder {', '.join(sorted(background))} alone, which means none of the classes; "
            "add one a class"
        )
    faults = Faults(opened.complain)
    images: Labels = {}
    for path, name in class_of.items():
        if name in class_names:
            images[path] = (class_names.index(name),)
        elif name in background:
            images[path] = ()
        else:
            folder = (opened.root / path).parent
            faults.add(name, _unknown_class(name, class_names, f"sub-folder {folder}"))
    faults.report()
    return class_names, images


def _from_rows(
    opened: Opened, table: LabelTable, classes: tuple[str, ...], rules: CocoRules
) -> tuple[tuple[str, ...], Labels]:
    """The class names, and the labels of every image that a table names, in its order."""
    finder, faults = Finder(opened.root, opened.layout.images, opened.tree.files), Faults(opened.complain)
    found: dict[str, set[str]] = {}
    rows = [(where, name) for where, name, _ in table.rows]
    for index, image in finder.find_rows(rows, faults, f"under {opened.root}"):
        labels = {label for label in table.rows[index][2] if not rules.is_background(label)}
        for label in sorted(labels - set(classes) if classes else ()):
            faults.add(f"class {label}", _unknown_class(label, classes, table.rows[index][0]))
        found[image] = labels & set(classes) if classes else labels
    faults.report(is_empty=not found)
    opened.notes += [*table.notes, *finder.note(Path(opened.source))]
    table_names = tuple(name for name in table.class_names if not rules.is_background(name))
    class_names = classes or table_names or tuple(sorted(set().union(*found.values()), key=natural))
    if not class_names:
        raise UserError(f"{opened.source} gives no image a label; expected rows such as 'IMG_1.jpg,cat;dog'")
    unnamed = [path for path in opened.layout.images if path not in found]
    if unnamed:
        opened.notes.append(
            f"{opened.source}: {len(unnamed)} images under {opened.root} have no row and are not used, first "
            f"{unnamed[0]}"
        )
    return class_names, {
        image: tuple(sorted(class_names.index(label) for label in labels)) for image, labels in found.items()
    }


def _unknown_class(name: str, class_names: tuple[str, ...], where: str) -> str:
    known = ", ".join(class_names)
    return (
        f"{where}: unknown class '{name}', data.classes has {known}; mend the name or add the class there"
        f"{nearest_name(name, class_names)}"
    )
