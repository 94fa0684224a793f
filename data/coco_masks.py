"""Truth masks of a COCO-layout dataset: drawn from its outlines once, in parallel, and kept as palette PNG.

Crowd regions are painted first, with 255, then the objects, largest first; of equal ones the later stays on top.
"""

import hashlib
import logging
import os
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
from filelock import FileLock

from data.artifacts import write_mask
from data.coco_file import CocoImage, CocoRules, is_crowd, read_coco_file
from data.pixels import check_pixels
from utils.console import progress
from utils.errors import UserError
from utils.files import digest, remove_leftovers, write_text
from utils.ignore import IGNORE
from utils.reading import load_items

logger = logging.getLogger(__name__)

FOLDER = "masks_cache"
SOURCE = ".source"  # beside the masks: what they were rendered from
RULE = 2  # raise it when the rule above changes: masks of an older one are drawn anew
LONGEST_OUTLINE = 4  # of an object, in pixels for each pixel of the image
FARTHEST = 1.25  # where a point may lie, in sides of the image: people draw over the border
FEW = 32  # masks for which starting processes costs more than it saves


def coco_masks(root: Path, path: Path, class_names: tuple[str, ...], files: dict[str, str], rules: CocoRules) -> Path:
    """The folder with `NAME.png` for every record, those that are not there yet drawn.

    It is `root/masks_cache/LIST`, or under the user's cache folder where the root cannot be written. Several processes
    may ask at once: one draws and the others wait. A malformed annotation, or one without an outline, is a `UserError`.

    Args:
        path: the annotation file.
        class_names: in the order of the mask values.
        files: record's name -> `file_name` in the annotation file.
    """
    state = path.stat()
    content = _file_digest(path, (state.st_size, state.st_mtime_ns))
    source = digest([RULE, class_names, rules.background, rules.crowd, content])
    name = path.stem.removeprefix("instances_")
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
