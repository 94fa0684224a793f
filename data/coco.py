"""COCO's format: a file of annotations and a folder of images; truth masks are rendered and cached.

root/annotations/instances_LIST.json, root/LIST/*.jpg or root/images/LIST/*.jpg      COCO; the list is LIST
root/annotations/instances_default.json, root/images/*.jpg                           CVAT; the list is `default`
root/train/_annotations.coco.json, root/train/*.jpg                                  Roboflow; the list is `train`
root/result.json, root/images/*.jpg                                                 Label Studio; list `result.json`
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data.coco_file import CocoLabels, read_coco_labels
from data.coco_records import PLAIN_RULES, CocoRules
from data.dataset import Complain, Index, Record, check_index, refuse
from data.faults import Faults
from data.image_names import Finder
from data.images import IMAGE_SUFFIXES
from data.tree import scan
from utils.errors import UserError
from utils.names import fault_of, shown

PREFIX = "instances_"


def open_coco(
    root: str | Path,
    list_name: str,
    classes: tuple[str, ...] = (),
    masks: bool = False,
    *,
    rules: CocoRules = PLAIN_RULES,
    complain: Complain = refuse,
) -> Index:
    """Index of one list of a COCO-layout dataset.

    The categories of the file, sorted by id, are the classes: COCO's ids 1..90 become 80 classes, 0..79. An image has a
    label if at least one annotation of that category is not a crowd; an image without any is kept, with no labels.
    Masks are drawn when they are asked for first (`data/coco_masks.py` states the rule of overlaps).

    Args:
        list_name: `train2014`, `val2017` and the like, or the path of a JSON file, from here or from the root.
        classes: the categories' names in the order of the mask values; empty takes the order of their ids.
        rules: the background's category, and what crowds are.

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    path = _annotation_file(root, list_name)
    labels = read_coco_labels(path, rules, complain)
    class_names, position_of = _order(labels, classes, path)
    folder = _image_folder(root, path, list_name)
    notes = list(labels.notes)
    records, files = [], {}
    for file_name, image, of in _existing(labels, root, folder, path, notes, complain):
        name = PurePosixPath(image).with_suffix("").as_posix()
        files[name] = file_name
        records.append(Record(name, folder / image, tuple(sorted(position_of[label] for label in of))))
    index = check_index(Index(class_names, tuple(records), tuple(notes)), str(path))
    if not masks:
        return index
    from data.coco_masks import coco_masks

    drawn = coco_masks(root, path, index, files, rules)
    with_masks = (Record(r.name, r.image, r.labels, drawn / f"{r.name}.png") for r in index.records)
    return Index(class_names, tuple(with_masks), index.notes)


def _annotation_file(root: Path, list_name: str) -> Path:
    candidates = [
        root / "annotations" / f"{PREFIX}{list_name}.json",
        root / list_name / "_annotations.coco.json",
        root / "annotations" / f"{list_name}.json",
        *(path for path in (Path(list_name), root / list_name) if path.suffix == ".json"),
    ]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        known = [other.stem.removeprefix(PREFIX) for other in root.glob("annotations/*.json")]
        known += [other.parent.name for other in root.glob("*/_annotations.coco.json")]
        known += [other.name for other in root.glob("*.json")]
        raise UserError(
            f"there is no annotation file {candidates[0]}; expected COCO layout (annotations/{PREFIX}LIST.json and a "
            f"folder LIST of images); lists there: {', '.join(sorted(known)) or 'none'}; set data.root and the list's "
            "name"
        )
    return path


def _order(table: CocoLabels, classes: tuple[str, ...], path: Path) -> tuple[tuple[str, ...], list[int]]:
    """The classes in the order asked for, and the position in it of each of the file's."""
    class_names = classes or table.class_names
    if set(class_names) != set(table.class_names):
        differing = ", ".join(sorted(set(class_names) ^ set(table.class_names)))
        raise UserError(f"{path}: its categories and data.classes must be the same; only one of them has {differing}")
    return class_names, [class_names.index(name) for name in table.class_names]


def _image_folder(root: Path, path: Path, list_name: str) -> Path:
    folders = [root / list_name, root / "images" / list_name]
    folders += [root / "images"] if path.parent.name == "annotations" else [path.parent]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _images_below(folder: Path, complain: Complain) -> list[str]:
    images = scan(folder, (), complain).images if folder.is_dir() else []
    return [path for path in images if not path.startswith("masks_cache/")]


def _existing(
    table: CocoLabels, root: Path, folder: Path, path: Path, notes: list[str], complain: Complain
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """File name, path under the folder, and labels of the images that are there.

    One look at the folder, because 118,000 at single files take long; only images that are not there are searched for
    below it.
    """
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    finder: Finder | None = None
    faults = Faults(complain)
    taken: set[str] = set()
    above = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    for file_name, labels in table.images:
        slashed = file_name if file_name in there else file_name.replace("\\", "/")
        inner = slashed.removeprefix(above)  # some tools write the path from the root
        image: str | None = inner
        if inner not in there and not (fault_of(inner) is None and (folder / inner).is_file()):
            finder = finder or Finder(folder, _images_below(folder, complain))
            try:
                image = finder.find(file_name, f"{path}, image {shown(file_name)}")
            except UserError as error:
                faults.add("name", str(error))
                continue
        fault = None if image is None else fault_of(image)
        if fault is not None or image is None:
            reason = "does not exist" if image is None else fault
            faults.add(
                "missing", f"{path}: image {folder / file_name} {reason}; put COCO's folder of images at {folder}"
            )
        elif image in taken:
            faults.add(
                "twice", f"{path}: image {folder / image} is named twice, as {shown(file_name)} too; make them one"
            )
        else:
            taken.add(image)
            yield file_name, image, labels
    faults.report(is_empty=not taken)
    if finder is not None:
        notes += finder.note(path)
    tops = {name.partition("/")[0] for name in taken}
    others = sorted(name for name in there - tops if Path(name).suffix.lower() in IMAGE_SUFFIXES and name[0] != ".")
    if others:
        notes.append(f"{path}: {len(others)} images in {folder} are not in the file and not used, first {others[0]}")
