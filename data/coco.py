"""COCO's format: a file of annotations and a folder of images; truth masks are rendered and cached.

root/annotations/instances_LIST.json, root/LIST/*.jpg or root/images/LIST/*.jpg      COCO; the list is LIST
root/annotations/instances_default.json, root/images/*.jpg                           CVAT; the list is `default`
root/train/_annotations.coco.json, root/train/*.jpg                                  Roboflow; the list is `train`
root/result.json, root/images/*.jpg                                                  Label Studio; list `result.json`
"""

from dataclasses import replace
from pathlib import Path

from data.coco_file import PLAIN_RULES, CocoFile, CocoImage, CocoRules, read_coco_file
from data.coco_masks import coco_masks
from data.dataset import Index, Record, check_index
from data.faults import Complain, Faults, counted, refuse
from data.image_names import Finder, record_names
from data.tree import scan
from utils.errors import UserError
from utils.names import shown

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
    """Index of one list of a COCO-layout dataset; `UserError` where something is missing or malformed.

    Args:
        list_name: `train2014`, `val2017` and the like, or the path of a JSON file, from here or from the root.
        classes: the categories' names in the order of the mask values; empty takes the order of their ids.
        masks: draw the truth masks that are not there yet (data/coco_masks.py).
    """
    root = Path(root)
    path = _annotation_file(root, list_name)
    coco = read_coco_file(path, rules, complain)
    class_names = classes or coco.class_names
    if unknown := set(coco.class_names) - set(class_names):
        raise UserError(f"{path}: data.classes must name all of its categories, and lacks {', '.join(sorted(unknown))}")
    position_of = [class_names.index(name) for name in coco.class_names]
    folders = [root / list_name, root / "images" / list_name]
    folders += [root / "images"] if path.parent.name == "annotations" else [path.parent]
    folder = next((folder for folder in folders if folder.is_dir()), None)
    if folder is None:
        where = " or ".join(map(str, folders))
        raise UserError(f"there is no folder of images {where}; put the images of {path} there")
    found, notes = _find_images(coco, root, folder, path, complain)
    records, name_of = [], record_names(found)
    for file, image in found.items():
        labels = tuple(sorted(position_of[label] for label in image.labels))
        records.append(Record(name_of[file], folder / file, labels))
    index = check_index(Index(class_names, tuple(records), (*coco.notes, *notes)), str(path))
    if not masks:
        return index
    files = {record.name: image.file_name for record, image in zip(records, found.values(), strict=True)}
    drawn = coco_masks(root, path, class_names, files, rules)
    return replace(index, records=tuple(replace(r, mask=drawn / f"{r.name}.png") for r in records))


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
        expected = f"expected COCO layout (annotations/{PREFIX}LIST.json and a folder LIST of images)"
        there = f"lists there: {', '.join(sorted(known)) or 'none'}; set data.root and the list's name"
        raise UserError(f"there is no annotation file {candidates[0]}; {expected}; {there}")
    return path


def _find_images(
    coco: CocoFile, root: Path, folder: Path, path: Path, complain: Complain
) -> tuple[dict[str, CocoImage], list[str]]:
    """The images by their path under the folder, and notes; 118,000 looks at single files would take long."""
    tree = scan(folder, (), complain)
    images = [image for image in tree.images if not image.startswith("masks_cache/")]
    finder, faults = Finder(folder, images, tree.files), Faults(complain)
    above = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    rows = []
    for name in (image.file_name for image in coco.images):  # some tools write the path from the root
        rows.append((f"{path}, image {shown(name)}", name if name in finder.exact else name.removeprefix(above)))
    found = {image: coco.images[index] for index, image in finder.find_rows(rows, faults, f"in {folder}")}
    faults.report(is_empty=not found)
    others = [image for image in images if image not in found]
    remedy = "they are not used; add them to the file if they show none of the classes"
    return found, [*finder.note(path), *counted(path, f"images in {folder} that are not in the file", others, remedy)]
