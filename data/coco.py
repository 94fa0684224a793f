"""COCO layout: annotations/instances_LIST.json beside a folder LIST of images; truth masks are rendered and cached.

root/annotations/instances_train2017.json, root/train2017/*.jpg      or
root/annotations/instances_train2017.json, root/images/train2017/*.jpg
"""

from pathlib import Path, PurePosixPath

from data.coco_file import LabelTable, read_label_table
from data.dataset import Complain, Index, Record, check_index, refuse
from utils.errors import UserError

PREFIX = "instances_"


def open_coco(
    root: str | Path,
    list_name: str,
    classes: tuple[str, ...] = (),
    masks: bool = False,
    *,
    background: str = "",
    complain: Complain = refuse,
) -> Index:
    """Index of one list of a COCO-layout dataset.

    The categories of the file, sorted by id, are the classes: COCO's ids 1..90 become 80 classes, 0..79. An image has a
    label if at least one annotation of that category is not a crowd; an image without any is kept, with no labels.
    Masks are drawn when they are asked for first (`data/coco_masks.py` states the rule of overlaps).

    Args:
        root: the folder with `annotations`.
        list_name: `train2014`, `val2017` and the like: `annotations/instances_LIST.json` and the images in `LIST/` or
            `images/LIST/`.
        classes: the categories' names in the order of the mask values; empty takes the order of their ids.
        masks: also give the truth's paths (evaluation only).
        background: name of a category that stands for no class.
        complain: what to do about a record that is not as it should be.

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    path = root / "annotations" / f"{PREFIX}{list_name}.json"
    if not path.is_file():
        known = sorted(other.stem.removeprefix(PREFIX) for other in path.parent.glob(f"{PREFIX}*.json"))
        raise UserError(
            f"there is no annotation file {path}; expected COCO layout (annotations/{PREFIX}LIST.json and a folder LIST "
            f"of images); lists there: {', '.join(known) or 'none'}; set data.root and the list's name"
        )
    table = read_label_table(path, background, complain)
    class_names, place_of = _order(table, classes, path)
    folder = _find_images(root, list_name)
    records = []
    for file_name, labels in _existing(table, folder, path, complain):
        name = PurePosixPath(file_name).with_suffix("").as_posix()
        records.append(Record(name, folder / file_name, tuple(sorted(place_of[label] for label in labels))))
    index = check_index(Index(class_names, tuple(records)), str(path))
    if not masks:
        return index
    from data.coco_masks import coco_masks

    drawn = coco_masks(root, list_name, path, class_names, background, index.records)
    with_masks = (Record(r.name, r.image, r.labels, drawn / f"{r.name}.png") for r in index.records)
    return Index(class_names, tuple(with_masks))


def _order(table: LabelTable, classes: tuple[str, ...], path: Path) -> tuple[tuple[str, ...], list[int]]:
    """The classes in the order asked for, and the place in it of each of the file's."""
    class_names = classes or table.class_names
    if set(class_names) != set(table.class_names):
        differing = ", ".join(sorted(set(class_names) ^ set(table.class_names)))
        raise UserError(f"{path}: its categories and data.classes must be the same; only one of them has {differing}")
    return class_names, [class_names.index(name) for name in table.class_names]


def _find_images(root: Path, list_name: str) -> Path:
    folders = (root / list_name, root / "images" / list_name)
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def _existing(table: LabelTable, folder: Path, path: Path, complain: Complain) -> list[tuple[str, tuple[int, ...]]]:
    """The table's rows whose image is there; one look at the folder, because 118,000 at single files take long."""
    there = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    rows, missing = [], []
    for file_name, labels in table.images:
        if file_name in there or ("/" in file_name and (folder / file_name).is_file()):
            rows.append((file_name, labels))
        else:
            missing.append(file_name)
    if missing:
        complain(
            f"{len(missing)} of {len(table.images)} images of {path} do not exist, first {folder / missing[0]}; put "
            f"COCO's folder of images at {folder}"
        )
    return rows
