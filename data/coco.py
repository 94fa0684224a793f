"""COCO layout: annotations/instances_LIST.json beside a folder LIST of pictures; truth masks are rendered and cached."""

import contextlib
import hashlib
import io
import logging
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
from pycocotools.coco import COCO
from tqdm import tqdm

from data.artifacts import IGNORE, write_mask
from data.dataset import Index, Record, check_index, is_inside
from utils.errors import UserError
from utils.files import write_text

logger = logging.getLogger(__name__)

MASK_CACHE = "masks_cache"
SOURCE = ".source"  # beside the masks: the digest of the annotation file that they were rendered from

# What pycocotools raises for an annotation that is not as the format says.
MALFORMED = (KeyError, TypeError, ValueError, IndexError, AttributeError, AssertionError)


def open_coco(root: str | Path, list_name: str, masks: bool = False) -> Index:
    """Index of one list of a COCO-layout dataset.

    The categories of the file, sorted by id, are the classes: COCO's ids 1..90 become 80 classes, 0..79. A picture has a
    label if at least one annotation of that category is not a crowd; a picture without any is kept, with no labels.

    Masks are rendered when they are asked for first, under `root/masks_cache/LIST`, or under the user's cache folder
    where the root cannot be written. Crowd regions are painted first, with 255, then the objects by the number of their
    pixels, largest first, so that no object is overwritten by a larger one; of equal ones the later stays on top.

    Args:
        root: the folder with `annotations`.
        list_name: `train2014`, `val2017` and the like: `annotations/instances_LIST.json` and the pictures in `LIST/`.
        masks: also give the truth's paths (evaluation only).

    Raises:
        UserError: something is missing or malformed; the message says what and where.
    """
    root = Path(root)
    path = root / "annotations" / f"instances_{list_name}.json"
    if not path.is_file():
        prefix = "instances_"
        known = sorted(other.stem.removeprefix(prefix) for other in path.parent.glob(f"{prefix}*.json"))
        raise UserError(
            f"there is no annotation file {path}; expected COCO layout (annotations/{prefix}LIST.json and a folder LIST "
            f"of pictures); lists there: {', '.join(known) or 'none'}; set data.root and the list's name"
        )
    state = path.stat()
    index = _read_index(root, list_name, path, (state.st_size, state.st_mtime_ns))
    return _with_masks(root, list_name, path, index) if masks else index


def render_mask(
    annotations: list[dict[str, Any]], height: int, width: int, value_of: dict[int, int], source: str
) -> np.ndarray:
    """(H, W) uint8 truth of one picture; `open_coco` states the rule.

    Args:
        annotations: COCO's, of this picture, in the file's order.
        value_of: category id -> mask value.
        source: where the annotations come from, for errors.

    Raises:
        UserError: an annotation has no segmentation, or a malformed one.
    """
    layers: list[tuple[np.ndarray, int]] = []  # pixels of an annotation, its value
    for annotation in annotations:
        try:
            value = IGNORE if annotation.get("iscrowd") else value_of[annotation["category_id"]]
            layers.append((_pixels(annotation["segmentation"], height, width), value))
        except Exception as error:  # pycocotools raises the bare class, too
            raise UserError(
                f"{source}: the segmentation of annotation {annotation.get('id')} cannot be rendered "
                f"({type(error).__name__}: {error}); expected polygons or run lengths for {width} x {height} pixels"
            ) from error
    layers.sort(key=lambda layer: (layer[1] != IGNORE, -np.count_nonzero(layer[0])))
    mask = np.zeros((height, width), np.uint8)
    for pixels, value in layers:
        mask[pixels] = value
    return mask


def _pixels(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Polygons, plain run lengths or packed run lengths -> (H, W) bool."""
    if isinstance(segmentation, list):
        packed = pycocotools.mask.merge(pycocotools.mask.frPyObjects(segmentation, height, width))
    else:
        counts = segmentation["counts"]
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"the size is {segmentation['size']}")
        if isinstance(counts, list) and sum(counts) != height * width:
            raise ValueError(f"the counts are of {sum(counts)} pixels")
        packed = pycocotools.mask.frPyObjects(segmentation, height, width) if isinstance(counts, list) else segmentation
    return pycocotools.mask.decode(packed) > 0


@lru_cache(maxsize=8)
def _read_index(root: Path, list_name: str, path: Path, state: tuple[int, int]) -> Index:
    """The index without masks. Remembered, because COCO's own files take half a minute; `state` tells versions apart."""
    coco = _load(path)
    try:
        categories = sorted(coco.cats)
        class_names = tuple(str(coco.cats[category]["name"]) for category in categories)
        records = tuple(
            Record(_name(image, path), root / list_name / image["file_name"], _labels(coco, number, categories))
            for number, image in sorted(coco.imgs.items())
        )
    except MALFORMED as error:
        raise UserError(f"{path} is not an instances file of COCO: {type(error).__name__} {error}") from error
    missing = [record.image for record in records if not record.image.is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of {len(records)} pictures of {path} do not exist, first {missing[0]}; put COCO's folder of "
            f"pictures at {root / list_name}"
        )
    return check_index(Index(class_names, records), str(path))


def _load(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):  # it reports its progress by print
        try:
            return COCO(str(path))
        except (OSError, UnicodeDecodeError, *MALFORMED) as error:
            raise UserError(f"{path} is not an instances file of COCO: {error}; download it again") from error


def _labels(coco: COCO, image: int, categories: list[int]) -> tuple[int, ...]:
    present = {annotation["category_id"] for annotation in coco.imgToAnns[image] if not annotation.get("iscrowd")}
    return tuple(sorted(categories.index(category) for category in present))


def _name(image: dict[str, Any], path: Path) -> str:
    if not is_inside(image["file_name"]):
        raise UserError(f"{path}: picture {image['id']} has a file name that leads out of the folder of pictures")
    return Path(image["file_name"]).with_suffix("").as_posix()


def _with_masks(root: Path, list_name: str, path: Path, index: Index) -> Index:
    """The index with the paths of its masks, those that are not there yet rendered."""
    with path.open("rb") as file:
        source = hashlib.file_digest(file, "sha256").hexdigest()
    folder = root / MASK_CACHE / list_name
    missing = _to_render(folder, index, source)
    if missing and not _is_writable(folder):
        folder = _user_cache() / source[:16] / list_name
        logger.warning("%s cannot be written, so truth masks are kept in %s", root, folder)
        missing = _to_render(folder, index, source)
    if missing:
        _render(path, folder, missing, source)
    records = (
        Record(record.name, record.image, record.labels, folder / f"{record.name}.png") for record in index.records
    )
    return Index(index.class_names, tuple(records))


def _to_render(folder: Path, index: Index, source: str) -> list[str]:
    """Names without a mask of this annotation file in the folder; all, where the folder's masks are of another file."""
    marker = folder / SOURCE
    if marker.is_file() and marker.read_text(encoding="utf-8") == source:
        return [record.name for record in index.records if not (folder / f"{record.name}.png").is_file()]
    return [record.name for record in index.records]


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, or in the nearest one above it that there is."""
    while not folder.exists():
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ibbnet" / MASK_CACHE


def _render(path: Path, folder: Path, names: list[str], source: str) -> None:
    """Write the masks of these pictures, and then say in the folder of which annotation file they are.

    Several processes may do so at once: each file is written whole, and all write the same.
    """
    coco = _load(path)
    by_name = {_name(image, path): image for image in coco.imgs.values()}
    value_of = {category: value for value, category in enumerate(sorted(coco.cats), start=1)}
    if not any(folder.rglob("*.png")):
        write_text(folder / SOURCE, source)  # from here on, a rendering that is cut off goes on where it was
    for name in tqdm(names, desc="rendering truth masks", unit="picture", disable=None):
        image = by_name[name]
        mask = render_mask(coco.imgToAnns[image["id"]], image["height"], image["width"], value_of, str(path))
        write_mask(folder / f"{name}.png", mask)
    write_text(folder / SOURCE, source)
