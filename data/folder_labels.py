"""What the images of a folder show: from a table, from COCO's or another tool's files, from names, or from folders.

Layouts that another kind of data or another setting reads are refused with the settings that read them.
"""

import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from data.coco_file import CocoRules, read_coco_file
from data.faults import Faults, counted, grouped
from data.image_names import Finder, composed
from data.label_table import LabelTable, Row, read_label_table
from data.layouts import Layout, classes_in_names, is_like_a_list
from data.tables import natural, start_of
from data.tool_labels import is_yolo, label_studio_tasks, read_label_studio, read_yolo
from data.tree import DOCUMENTS, SAMPLE, Tree, are_drawn
from utils.errors import UserError, nearest

IN_NAMES = "names"  # data.labels of this value: file names begin with the class
ROBOFLOW_COCO, ROBOFLOW_CSV = "_annotations.coco.json", "_classes.csv"
ANNOTATION = re.compile(r'<object>|"(shapes|objects)"\s*:\s*\[')
OBJECT = re.compile(r'(?:<object>\s*<name>|"(?:label|classTitle)"\s*:\s*")\s*(.*?)\s*["<]')
LAST_WORD = re.compile(r"(.+?)[ _.-]+([^/ _.-]*[^\W\d_][^/ _.-]*)")  # at the end of a path without suffix
FIRST_WORD = re.compile(r"(|.*/)([^\W\d_]+)[ _.-]+([^/]+)")
SIGNS = re.compile("[ _.-]+")
LOOKED_AT, FEW = 12, 3  # annotations beside images, and files of a class, that are looked at
UNREAD = (
    ".xlsx", ".xls", ".ods", ".parquet", ".arrow", ".jsonl", ".ndjson", ".manifest", ".xml", ".npz", ".h5", ".tfrecord",
    ".zip", ".tar", ".gz", ".7z", ".rar",
)  # fmt: skip
MOST_NUMBERED = 0.9  # from this part of the images on, names such as Abyssinian_100 are taken for a system

Labels = dict[str, tuple[int, ...]]  # image's path under the root -> indices of its classes


def read_labels(
    layout: Layout, table: Path | None, labels: str, classes: tuple[str, ...], rules: CocoRules
) -> tuple[tuple[str, ...], Labels]:
    """The class names, and the labels of every image; `UserError` with what would read them where there are none.

    `table` is the file of labels, None where names or folders give the classes; `labels` is `data.labels`.
    """
    source = table or layout.root
    rows = _read(layout, table, labels, classes, rules)
    finder, faults = Finder(layout.root, layout.images, layout.tree.files), Faults(layout.complain)
    found: dict[str, set[str]] = {}
    lists: dict[str, list[str]] = {}
    in_none: list[str] = []
    names = [(row.where, row.image) for row in rows.rows]
    again = "keep one of them, with all labels of the image, separated by ';'"
    for index, image in finder.find_rows(names, faults, f"under {layout.root}", again):
        row = rows.rows[index]
        shown = {label for label in row.labels if not rules.is_background(label)}
        for label in sorted(shown - set(classes)) if classes else ():
            known = f"data.classes has {', '.join(classes)}; mend the name or add the class{nearest(label, classes)}"
            faults.add(f"class {label}", f"{row.where}: unknown class '{label}', {known}")
        found[image] = shown & set(classes) if classes else shown
        (lists.setdefault(row.split, []) if row.split else in_none).append(image)
    if not found and set(faults.found) == {"image"} and table is not None and not labels and layout.class_of:
        remedy = f"rename {table.name} if it is no table of images: then the folders are the classes"
        raise UserError(f"{faults.found['image'][0]} ({len(rows.rows)} such, all rows); {remedy}")
    faults.report(is_empty=not found)
    list_of = {path: name for name, paths in layout.lists.items() for path in paths}
    moved = [path for name, paths in lists.items() for path in paths if list_of.get(path, name) != name]
    remedy = "the column counts: move the images, or mend the column"
    layout.notes += counted(source, "images in the folder of another list than their row says", moved, remedy)
    if lists:
        what = "images whose row names no list, while others do"
        layout.notes += counted(source, what, in_none, "fill their cell if they belong to one")
    layout.lists = lists or layout.lists
    layout.notes += [*rows.notes, *finder.note(source)]
    table_names = tuple(name for name in rows.class_names if not rules.is_background(name))
    class_names = classes or table_names or tuple(sorted(set().union(*found.values()), key=natural))
    if not class_names:
        expected = "a folder of images for each class, or rows such as 'IMG_1.jpg,cat;dog'"
        raise UserError(f"{source} gives no image a label; expected {expected}{'; '.join(['', *rows.notes[:1]])}")
    if table is not None:
        unnamed = [path for path in layout.images if path not in found]
        layout.notes += counted(table, f"images under {layout.root} that have no row", unnamed, "they are not used")
    beside = [image for image, shown in found.items() if layout.class_of.get(image) in set(class_names) - shown]
    remedy = "the labels count, not the folders: move the images, or mend the labels"
    layout.notes += counted(source, "images in the folder of a class that they do not have", beside, remedy)
    value_of = {name: index for index, name in enumerate(class_names)}
    return class_names, {image: tuple(sorted(value_of[label] for label in shown)) for image, shown in found.items()}


def _read(layout: Layout, table: Path | None, labels: str, classes: tuple[str, ...], rules: CocoRules) -> LabelTable:
    if table is not None and table.suffix.lower() != ".json":
        return read_label_table(table, classes, layout.complain)
    if table is not None:
        if tasks := label_studio_tasks(table):
            return read_label_studio(table, tasks)
        coco = read_coco_file(table, rules, layout.complain)
        names = coco.class_names
        rows = [Row(f"{table}, image '{i.file_name}'", i.file_name, {names[n] for n in i.labels}) for i in coco.images]
        return LabelTable(names, rows, [*coco.notes])
    if labels == IN_NAMES:
        class_of = classes_in_names(layout.images)
        _refuse_masks(layout, class_of, classes)
        return _rows_of(layout, class_of, "names no class")
    if is_yolo(layout):
        _refuse_masks(layout, dict.fromkeys(layout.images, ""), classes)
        return read_yolo(layout)
    if not layout.class_of:
        raise UserError(f"{layout.root} {_what_reads(layout)}")
    if not classes:
        _refuse_unclear(layout)
    _refuse_masks(layout, layout.class_of, classes)
    return _rows_of(layout, layout.class_of, "lies in no class folder")


def _refuse_unclear(layout: Layout) -> None:
    """Refuse folders that look like lists, and tell of tables and names that are unclear."""
    by_class = grouped(layout.class_of, layout.class_of.__getitem__)
    tables, lists = _tables(layout.tree), [name for name in by_class if is_like_a_list(name)]
    table = f" (the table {tables[0]} may: --set data.labels={tables[0]})" if tables else ""
    if len(lists) == len(by_class) and (tables or len(lists) > 1):
        what = f"the folders {', '.join(lists[:5])} look like lists, and no folder gives classes{table}"
        raise UserError(f"{layout.root}: {what}; if these are the classes, name them in data.classes")
    if len(by_class) > 1:
        what = "folders that look like lists are classes"
        layout.notes += counted(layout.root, what, lists, "if not, move them away")
    remedy = "the folders are the classes; --set data.labels=TABLE reads one"
    layout.notes += counted(layout.root, "tables that are not read", tables, remedy)
    known = {path.rpartition(".")[0] for path in layout.class_of}
    matches = [match for stem in known if (match := LAST_WORD.fullmatch(stem))]
    starts = Counter([*known, *(match[1] for match in matches)])
    split = {match[0]: match[2] for match in matches if starts[match[1]] > 1}
    matches = [match for stem in known if (match := FIRST_WORD.fullmatch(stem))]
    split |= {match[0]: match[2] for match in matches if match[1] + match[3] in known}
    words = Counter(split.values())
    found = [stem for stem, word in split.items() if words[word] > 1]
    what = "files that differ from others in a first or last word alone, in several the same"
    remedy = "each trains as an image: if they are channels, slices or previews of one, join them or move them away"
    layout.notes += counted(layout.root, what, found, remedy)


def _refuse_masks(layout: Layout, class_of: dict[str, str], classes: tuple[str, ...]) -> None:
    """Refuse classes, files of one pattern of names, and files called after others, that alone look like masks.

    Where a person has named the classes, these are images, and the others are only told.
    """
    inner = {path: re.sub(r"\d+", "#", path.replace(f"{name}/", "", 1)) for path, name in class_of.items()}
    known = {path.rpartition(".")[0] for path in inner}
    folders = grouped(() if classes else inner, lambda path: f"of the class '{class_of[path]}'")
    patterns = grouped(inner, lambda path: f"with names such as '{inner[path]}'")
    after = grouped(inner, lambda path: "whose names begin or end as others" if _is_called_after(path, known) else "")
    for groups, sample in ((folders, FEW), (patterns if len(patterns) <= LOOKED_AT else {}, FEW), (after, SAMPLE)):
        if len(groups) < 2:  # nothing is read where there is nothing to compare
            continue
        drawn = [name for name, paths in groups.items() if are_drawn(layout.root, paths, sample)]
        if len(drawn) == len(groups):
            continue  # drawings of all classes
        for name in drawn:
            what = f"the {len(groups[name])} files {name} hold few values, as masks do, first {min(groups[name])}"
            remedy = "if they are masks, put them into 'masks' with the names of their images"
            tell = layout.notes.append if classes else layout.complain
            tell(f"{layout.root}: {what}: {remedy}; if they are images, name all classes in data.classes")
        if drawn:
            return


def _is_called_after(path: str, known: set[str]) -> bool:
    """Whether the name of a file begins or ends as that of another in its folder: `1_b` or `mask_1` beside `1`."""
    stem = path.rpartition(".")[0]
    begin = stem.rfind("/") + 1
    cuts = SIGNS.finditer(stem, begin)
    return any(stem[: cut.start()] in known or stem[:begin] + stem[cut.end() :] in known for cut in cuts)


def _rows_of(layout: Layout, class_of: dict[str, str], problem: str) -> LabelTable:
    in_lists = {path for paths in layout.lists.values() for path in paths}
    stray = [path for path in layout.images if path not in class_of]
    unlabelled = [path for path in stray if path in in_lists and path.split("/")[0] not in class_of.values()]
    stray = sorted(set(stray) - set(unlabelled))
    what = "images that lie in a list and in no class's folder are left out"
    layout.notes += counted(layout.root, what, unlabelled, "without labels there is nothing to learn from them")
    if stray:
        remedy = f"move it into one, or give the labels of all images in {layout.root / 'labels.csv'}"
        layout.complain(f"image {layout.root / stray[0]} {problem} ({len(stray)} such); {remedy}")
    rows = []
    for path, name in class_of.items():
        labels = set() if name in layout.background else {composed(name)}
        rows.append(Row(f"sub-folder {layout.root / PurePosixPath(path).parent}", path, labels))
    return LabelTable((), rows)


def refuse_foreign(tree: Tree, classes: Collection[str]) -> None:
    """Refuse the layouts of VOC, COCO and tools with the settings that read them.

    Also files of boxes and outlines beside the images, unless `classes` name the folders.
    """
    voc = next((path for path in tree.folders if path.rpartition("/")[2] == "JPEGImages"), None)
    if voc is not None:
        root = (tree.root / voc).parent
        lists = sorted(path.stem for path in (root / "ImageSets").glob("*/*.txt"))
        chosen = "train" if "train" in lists or not lists else lists[0]
        settings = f"--set data.kind=voc --set data.root={root} --set data.train_list={chosen}"
        raise UserError(f"{root} is in VOC's layout (JPEGImages); add {settings}")
    files = sorted(map(PurePosixPath, tree.files), key=str)
    if roboflow := [path for path in files if path.name == ROBOFLOW_COCO]:
        lists = [path.parent.as_posix() for path in roboflow]
        raise UserError(f"{tree.root} {_reads_coco(tree.root, str(roboflow[0]), lists)}")
    if not classes and (file := _annotations_beside(tree)):
        remedy = "export them as COCO, YOLO or CSV; if the folders are the classes, name them in data.classes"
        raise UserError(f"{tree.root} has annotations beside its images ({file}), which are not read: {remedy}")
    if instances := [path for path in files if path.match("annotations/*.json") and _is_coco(tree.root / path)]:
        root = tree.root / instances[0].parent.parent
        lists = [path.stem.removeprefix("instances_") for path in instances]
        raise UserError(f"{root} {_reads_coco(root, str(instances[0]), lists)}")


def _annotations_beside(tree: Tree) -> str:
    """A file of LabelMe, VOC or Supervisely beside an image that names an object as no folder is called; else empty."""
    images = {path.rpartition(".")[0] for path in tree.images}
    folders = {part.casefold() for path in tree.folders for part in path.split("/")}
    stems = {path: path.rpartition(".")[0].replace("/ann/", "/img/") for path in tree.files}
    beside = [path for path, stem in sorted(stems.items()) if {stem, stem.rpartition(".")[0]} & images]
    for path in [path for path in beside if path.endswith((".json", ".xml"))][:LOOKED_AT]:
        text = start_of(tree.root / path)
        if ANNOTATION.search(text) and any(name.casefold() not in folders for name in OBJECT.findall(text)):
            return path
    return ""


def _is_coco(path: Path) -> bool:
    """Whether a JSON file has lists of COCO's format, and not those of V7, near its beginning."""
    return re.search(r'"(images|categories)"\s*:\s*\[|"image_id"\s*:', start_of(path)) is not None


def _what_reads(layout: Layout) -> str:
    """What a folder without class folders and without a table has, and the setting that reads it."""
    tree, tables = layout.tree, _tables(layout.tree)
    documents = sorted(path for path in tree.files if "/" not in path and path.lower().endswith(".json"))
    documents = [path for path in documents if _is_coco(tree.root / path) or label_studio_tasks(tree.root / path)]
    values = [path for path in tables if start_of(tree.root / path).casefold().startswith("pixel value")]
    tables = [path for path in tables if path not in values]
    if roboflow := [path for path in tables if path.endswith(f"/{ROBOFLOW_CSV}")]:
        root = tree.root / PurePosixPath(roboflow[0]).parent
        read = f"--set data.root={root} --set data.labels={ROBOFLOW_CSV}"
        return f"has Roboflow's tables ({roboflow[0]}); read one with {read}"
    unknown = sorted(path for path in tree.files if PurePosixPath(path).suffix.lower() not in DOCUMENTS)
    if unknown and not tree.images:
        return f"has no image of a known format, but {len(unknown)} files such as {unknown[0]}; convert images to PNG"
    if tables:
        return f"has no class folders but the table {tables[0]}; read it with --set data.labels={tables[0]}"
    if documents and label_studio_tasks(tree.root / documents[0]):
        return f"has no class folders but {documents[0]} of Label Studio; read it with --set data.labels={documents[0]}"
    if documents:
        return _reads_coco(tree.root, documents[0], [documents[0]])
    named = classes_in_names(layout.images)
    classes = sorted(set(named.values()))
    if len(named) >= MOST_NUMBERED * len(layout.images) and 1 < len(classes) <= len(named) / 2:
        what = f"has no class folders; its names look like CLASS_NUMBER, first '{PurePosixPath(min(named)).name}'"
        return f"{what}: if the classes are {', '.join(classes[:4])}, ..., read them with --set data.labels=names"
    example = layout.images[0] if layout.images else "IMG_1.jpg"
    unread = sorted(path for path in tree.files if path.lower().endswith(UNREAD)) + values
    unread += sorted(path for path in tree.files if re.match("(?i)[^/]*(label|annot|class)", path))
    what = f", and {unread[0]} is of a kind that is not read (save it as CSV, or unpack it)" if unread else ""
    table = f"{tree.root / 'labels.csv'} with the header 'image,labels' and rows such as '{example},cat;dog'"
    return f"says nothing about classes{what}; expected one sub-folder of images a class (cat/, ...), or a file {table}"


def _tables(tree: Tree) -> list[str]:
    """The tables of a folder, those that are called like one of labels first, and those of test images last."""
    tables = (path for path in tree.files if path.count("/") < 2 and path.lower().endswith((".csv", ".tsv")))
    return sorted(tables, key=lambda path: (bool(re.search("(?i)submission|test", path)), "label" not in path, path))


def _reads_coco(root: Path, file: str, lists: list[str]) -> str:
    train = next((name for name in lists if "train" in name.casefold()), lists[0])
    val = next((name for name in lists if "val" in name.casefold()), "")
    settings = f"--set data.kind=coco --set data.root={root} --set data.train_list={train} --set data.val_list={val}"
    return f"has annotations in COCO's format ({file}); read them with {settings}"
