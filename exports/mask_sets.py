"""A folder of masks (of infer.py, of a run, or any other) with the class of each value and the image of each mask."""

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from data.artifacts import names_in_mask
from data.dataset import Index
from data.faults import grouped, refuse
from data.images import DAMAGED_IMAGE, IMAGE_SUFFIXES, open_image, orientation_of
from data.index import open_index
from data.mask_values import opened_mask
from data.tree import scan
from evaluation.protocol import about_folder
from evaluation.stages import pipeline
from inference.images import MASKS
from inference.output_folder import CLASSES, PREDICTIONS
from stages.config import load_config
from stages.files import seed_list
from utils.errors import UserError
from utils.ignore import IGNORE
from utils.names import fault_of, shown
from utils.run import RUN_SETTINGS, run_of

logger = logging.getLogger(__name__)
IMAGE_SUFFIX = ".jpg"  # of an image that is not given


class MaskFile(NamedTuple):
    """A mask, its name (relative path without suffix), and its image's relative path, with suffix."""

    name: str
    path: Path
    image: str


class MaskSet(NamedTuple):
    """Masks, and the class names by mask value."""

    class_names: dict[int, str]
    masks: tuple[MaskFile, ...]


def open_mask_set(folder: Path, classes: Sequence[str] = (), images: Path | None = None) -> MaskSet:
    """The masks of a folder of any of the three kinds; `UserError` where there are none, or of unknown classes.

    Args:
        classes: names in the order of the values from 1; empty takes those of infer.py or the run.
        images: the folder of the images, for their file names; None takes those of infer.py or the run, or NAME.jpg.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected masks ID.png in it, or what infer.py wrote")
    if "background" in map(str.casefold, classes) or len(set(classes)) < len(classes):
        what = "names are of the mask values from 1 on, each once; 0 is background"
        raise UserError(f"--classes {','.join(classes)}: {what}; remove what is no class, or is there twice")
    if (folder / PREDICTIONS).is_file():
        found = _of_inference(folder)
        return _renamed(found.masks, classes) if classes else found
    paths = sorted(folder / path for path in scan(folder, (), refuse).images if path.endswith(".png"))
    if not paths:
        raise UserError(f"{folder} holds no masks; expected ID.png in it, or the folder that infer.py wrote")
    by_name = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}
    index = None if classes else _index_of(folder, set(by_name))
    names = tuple(classes) or (index.class_names if index is not None else ())
    if not names:
        what = "does not say which classes its masks have: it lies in no run folder whose data can be read"
        remedy = "name them in the order of the mask values, --classes cat,dog,..."
        if (folder.parent / PREDICTIONS).is_file():
            remedy = f"give {folder.parent}, which infer.py wrote and which has them"
        raise UserError(f"{folder} {what}; {remedy}")
    suffixes = {record.name: record.image.suffix for record in index.records} if index else {}
    if suffixes.keys() > by_name.keys():
        missing = sorted(suffixes.keys() - by_name.keys())
        text = (
            "%d of the %d images of the run's list have no mask in %s, first %s; let train.py finish, if these matter"
        )
        logger.warning(text, len(missing), len(suffixes), folder, missing[0])
    if images is not None:
        suffixes = _suffixes(images, by_name)
    masks = (MaskFile(name, path, name + suffixes.get(name, IMAGE_SUFFIX)) for name, path in by_name.items())
    return _renamed(tuple(masks), names)


def _renamed(masks: tuple[MaskFile, ...], names: Sequence[str]) -> MaskSet:
    """Masks with these classes; `UserError` where a mask itself has one of them at another value."""
    values = {name: value for value, name in enumerate(names, start=1)}
    for mask in masks:
        own = names_in_mask(mask.path)
        if moved := [name for value, name in enumerate(own, start=1) if values.get(name, value) != value]:
            what = f"has class '{moved[0]}' at value {own.index(moved[0]) + 1}, not {values[moved[0]]}"
            raise UserError(f"mask {mask.path} {what}; give the classes in its order: --classes {','.join(own)}")
    return MaskSet(dict(enumerate(names, start=1)), masks)


def _of_inference(folder: Path) -> MaskSet:
    try:
        report, classes = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (PREDICTIONS, CLASSES))
        masks = []
        for row in report["images"]:
            for name in (row["mask"], row["image"]):
                if (fault := fault_of(name)) is not None:  # labels are written by these names
                    raise ValueError(f"the name {shown(name)} {fault}")
            path = Path(row["mask"])
            masks.append(MaskFile(path.relative_to(MASKS).with_suffix("").as_posix(), folder / path, row["image"]))
        names = {int(row["value"]): str(row["name"]) for row in classes["classes"]}
        found = {(row["value"], row["name"]) for image in report["images"] for row in image.get("classes", ())}
        if strange := sorted(name for value, name in found if value != IGNORE and names.get(value) != name):
            raise ValueError(f"the class '{strange[0]}' of {PREDICTIONS} has another value in {CLASSES}")
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        what = f"is not a whole output of infer.py ({type(error).__name__}: {error})"
        raise UserError(f"{folder} {what}; run infer.py again") from error
    if missing := [mask for mask in masks if not mask.path.is_file()]:
        name = f"if the name of image '{missing[0].image}' is not in UTF-8, which these formats cannot hold"
        raise UserError(f"{missing[0].path} is not there; run infer.py again, and {name}, rename it first")
    return MaskSet(names, tuple(masks))


def _index_of(folder: Path, names: set[str]) -> Index | None:
    """The list of the run with these names: the seed list for `pseudo`, the validation list for predictions."""
    if (run := run_of(folder)) is None:
        return None
    about_folder(folder, pipeline())  # warns of masks that are not of the run's settings and data
    cfg, found = load_config(run / RUN_SETTINGS), None
    for list_name in filter(None, dict.fromkeys((seed_list(cfg), cfg.data.train_list, cfg.data.val_list))):
        found = open_index(cfg.data, list_name)
        if names <= {record.name for record in found.records}:
            break
    return found


def _suffixes(images: Path, masks: dict[str, Path]) -> dict[str, str]:
    if not images.is_dir():
        raise UserError(f"--images {images}: there is no such folder; check the path")
    paths = [path for path in sorted(images.rglob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
    found = grouped(paths, lambda path: path.relative_to(images).with_suffix("").as_posix())
    suffixes = {}
    for name, mask in sorted(masks.items()):
        own = [path for path in found.get(name, ()) if not path.samefile(mask)]
        if len(own) != 1:
            many = f"several images, {own[0].name} and {own[1].name}, are" if own else "there is no image"
            expected = f"expected one, {name}{IMAGE_SUFFIX} or another suffix there"
            raise UserError(f"--images {images}: {many} of mask {mask}; {expected}")
        with suppress(*DAMAGED_IMAGE), open_image(own[0], "image") as image, opened_mask(mask) as opened:
            if image.size != opened.size and _upright_size(image) != _upright_size(opened):
                sizes = "{} x {} pixels, its mask {} {} x {}".format(*image.size, mask, *opened.size)
                raise UserError(f"image {own[0]} has {sizes}; make masks of the image's size")
        suffixes[name] = own[0].suffix
    return suffixes


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image that may lie on its side."""
    return image.size[::-1] if orientation_of(image) >= 5 else image.size
