"""COCO's format: a file of annotations and a folder of images; truth masks are drawn from its outlines, once.

root/annotations/instances_LIST.json, root/LIST/*.jpg or root/images/LIST/*.jpg      COCO; the list is LIST
root/annotations/instances_default.json, root/images/*.jpg                           CVAT; the list is `default`
root/train/_annotations.coco.json, root/train/*.jpg                                  Roboflow; the list is `train`
root/result.json, root/images/*.jpg                                                  Label Studio; list `result.json`

In a mask, crowd regions are painted first, with 255, then the objects, largest first; of equal ones the later stays on
top. Masks are drawn in parallel and kept as palette PNG.
"""

import hashlib
import logging
import os
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
from filelock import FileLock

from data.artifacts import write_mask
from data.coco_file import PLAIN_RULES, CocoFile, CocoImage, CocoRules, is_crowd, read_coco_file
from data.dataset import Index, Record, check_index
from data.faults import Complain, Faults, counted, refuse
from data.image_names import Finder, record_names
from data.pixels import check_pixels
from data.tree import scan
from utils.console import progress
from utils.errors import UserError
from utils.files import digest, remove_leftovers, write_text
from utils.ignore import IGNORE
from utils.names import shown
from utils.reading import load_items

logger = logging.getLogger(__name__)

PREFIX = "instances_"
FOLDER = "masks_cache"
SOURCE = ".source"  # beside the masks: what they were rendered from
RULE = 2  # raise it when the rule above changes: masks of an older one are drawn anew
LONGEST_OUTLINE = 4  # of an object, in pixels for each pixel of the image
FARTHEST = 1.25  # where a point may lie, in sides of the image: people draw over the border
FEW = 32  # masks for which starting processes costs more than it saves


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
        masks: draw the truth masks that are not there yet.
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
    drawn = _draw_masks(root, path, class_names, files, rules)
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
    images = [image for image in tree.images if not image.startswith(f"{FOLDER}/")]
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


def _draw_masks(root: Path, path: Path, class_names: tuple[str, ...], files: dict[str, str], rules: CocoRules) -> Path:
    """The folder with the mask `NAME.png` of every record; `files` are the `file_name` of each in the annotations.

    It is `root/masks_cache/LIST`, or under the user's cache folder where the root cannot be written. Several processes
    may ask at once: one draws and the others wait.
    """
    state = path.stat()
    content = _file_digest(path, (state.st_size, state.st_mtime_ns))
    source = digest([RULE, class_names, rules.background, rules.crowd, content])
    name = path.stem.removeprefix(PREFIX)
    folder = root / FOLDER / (path.parent.name if name.startswith("_annotations") else name)
    for inside in {folder, *((folder / name).parent for name in files)}:
        if not inside.resolve().is_relative_to(root.resolve()):  # a data set may come with links
            raise UserError(f"{inside}, where truth masks are written, leads out of {root} by a link; remove the link")
    if not _to_render(folder, files, source):
        return folder
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "ibbnet" / FOLDER / source / folder.name
        logger.warning("%s cannot be written, so truth masks are kept in %s", root, folder)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if missing := _to_render(folder, files, source):
            coco = read_coco_file(path, rules, outlines=True)
            images = {image.file_name: image for image in coco.images}
            values = [class_names.index(name) + 1 for name in coco.class_names]
            jobs = [(folder / f"{name}.png", images[files[name]]) for name in missing]
            remove_leftovers(folder)
            if not any(folder.rglob("*.png")):
                write_text(folder / SOURCE, source)  # from here on, a rendering that is cut off goes on where it was
            workers = 0 if len(jobs) < FEW else len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
            written = load_items(jobs, workers, collate_fn=partial(_write_one, path, values))
            for _ in progress(written, len(jobs), "truth masks"):
                pass
            write_text(folder / SOURCE, source)
    return folder


def _to_render(folder: Path, names: dict[str, str], source: str) -> list[str]:
    """Records without a mask from this source in the folder; all, where the folder's masks are from another."""
    marker = folder / SOURCE
    is_of_source = marker.is_file() and marker.read_text(encoding="utf-8") == source
    return [name for name in names if not (is_of_source and (folder / f"{name}.png").is_file())]


@lru_cache(maxsize=8)
def _file_digest(path: Path, state: tuple[int, int]) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_one(source: Path, values: list[int], job: tuple[Path, CocoImage]) -> None:
    target, image = job
    height, width = whole(image.height), whole(image.width)
    what = f"{source}: image {image.file_name}"
    if height is None or width is None or min(height, width) < 1:
        raise UserError(f"{what} has no 'height' and 'width' in pixels; export the file again")
    check_pixels(height, width, what)
    rows = [(IGNORE if is_crowd(row) else values[label], row) for label, row in image.annotations]
    write_mask(target, render_mask(rows, height, width, str(source)))


def render_mask(annotations: list[tuple[int, dict[str, Any]]], height: int, width: int, source: str) -> np.ndarray:
    """(H, W) uint8 truth of one image by the rule above; `annotations` are (mask value, COCO's), in the file's order.

    One without a segmentation, or with a malformed one, is a `UserError` that names `source`.
    """
    layers: list[tuple[np.ndarray, int]] = []
    for value, annotation in annotations:
        try:
            layers.append((_pixels(annotation["segmentation"], height, width), value))
        except Exception as error:  # pycocotools raises the bare class, too
            what = f"annotation {annotation.get('id')} cannot be rendered ({type(error).__name__}: {error})"
            expected = f"expected polygons or run lengths for {width} x {height} pixels"
            raise UserError(f"{source}: the segmentation of {what}; {expected}") from error
    layers.sort(key=lambda layer: (layer[1] != IGNORE, -np.count_nonzero(layer[0])))
    mask = np.zeros((height, width), np.uint8)
    for pixels, value in layers:
        mask[pixels] = value
    return mask


def _pixels(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons, plain run lengths or packed run lengths -> (H, W) bool.

    pycocotools writes beyond its memory where run lengths do not add up, and takes as much of it as an outline is long.
    """
    if isinstance(segmentation, list):
        polygons = [np.asarray(polygon, np.float64) for polygon in segmentation]
        if not polygons or any(polygon.ndim != 1 or polygon.size < 6 or polygon.size % 2 for polygon in polygons):
            raise ValueError("a polygon is x, y of at least three points")
        length = sum(np.abs(np.diff(polygon.reshape(-1, 2), axis=0)).max(axis=1).sum() for polygon in polygons)
        is_finite = all(np.isfinite(polygon).all() for polygon in polygons)
        if not is_finite or length > LONGEST_OUTLINE * (height * width + height + width):
            raise ValueError(f"its outline is {length:.3g} pixels long")
        ends = np.concatenate(polygons).reshape(-1, 2).max(axis=0)
        if (ends > FARTHEST * np.array([width, height])).any():
            raise ValueError(f"its points reach to {ends[0]:g}, {ends[1]:g}, as in an image of another size")
        if all(polygon.max() <= 1 for polygon in polygons):
            raise ValueError("its points are within 0..1, as parts of the size")
        packed = pycocotools.mask.merge(pycocotools.mask.frPyObjects(polygons, height, width))
    else:
        if [whole(side) for side in segmentation["size"]] != [height, width]:
            raise ValueError(f"the size is {segmentation['size']}")
        counts = segmentation["counts"]
        counts = counts if isinstance(counts, list) else unpacked_counts(counts)
        if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
            raise ValueError("the counts do not add up to the image's pixels")
        packed = pycocotools.mask.frPyObjects({"size": [height, width], "counts": counts}, height, width)
    return pycocotools.mask.decode(packed) > 0


def unpacked_counts(text: str | bytes) -> list[int]:
    """COCO's packed run lengths as numbers.

    Each is in groups of five bits, lowest first, from the fourth on as the difference to the last but one; a character
    is a group plus 48, with 32 where another follows.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("ascii") if isinstance(text, str) else text:
        group = code - 48
        if not 0 <= group < 64 or shift > 30:
            raise ValueError("the counts are no packed run lengths")
        value |= (group & 31) << shift
        shift += 5
        if not group & 32:
            value -= (group & 16) << (shift - 4)  # the highest bit is the sign
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    if shift:
        raise ValueError("the counts end in the middle of a number")
    return counts


def whole(value: Any) -> int | None:
    """A size in pixels, which some tools write as 160.0; None where it is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0 else None
