"""From settings to an index: the one module that knows which module reads which kind of data (`KINDS`)."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.artifacts import voc_palette
from data.class_names import notes_on_names
from data.coco import open_coco
from data.coco_file import CocoRules
from data.dataset import Index
from data.faults import Complain, counted, refuse
from data.folder import open_folder
from data.image_names import composed
from data.images import frames_of
from data.inspection import depth_of, mixed_depths, series_problem, spread
from data.mask_values import truth_rule
from data.pixels import PixelRule, limit_pixels
from data.settings import DataSettings
from data.shapes import open_shapes
from data.tables import read_class_names
from data.voc import open_voc
from utils.errors import UserError, pick

logger = logging.getLogger(__name__)

NOTES = 3  # of an index that a command logs; the check lists all
# Settings that not every kind of data reads; masks of the others are drawn.
READ_BY: dict[str, tuple[str, ...]] = {
    "labels": ("voc", "folder"),
    "mask_values": ("voc", "folder"),
    "crowd": ("coco", "folder"),
}
READ_BY |= {"background": ("coco", "folder"), "classes": ("voc", "coco", "folder")}
SAMPLE = 12  # images whose values every opening of a list looks at, spread evenly; the check looks at all

# Name -> the images of a list, with the truth's paths or without; what is not as it should be is complained of.
KINDS: dict[str, Callable[[DataSettings, str, bool, Complain], Index]] = {
    "voc": lambda data, name, masks, complain: open_voc(data.root, name, data.labels, data.classes, masks, complain),
    "coco": lambda data, name, masks, complain: open_coco(
        data.root, name, data.classes, masks, rules=CocoRules(data.background, data.crowd), complain=complain
    ),
    "folder": lambda data, name, masks, tell: open_folder(
        data.root, name, data.labels, data.classes, masks, rules=CocoRules(data.background, data.crowd), complain=tell
    ),
    "shapes": lambda data, name, masks, complain: open_shapes(
        data.root, name, data.shapes_train, data.shapes_val, data.shapes_size, masks
    ),
}


def open_index(settings: DataSettings, list_name: str, masks: bool = False, complain: Complain = refuse) -> Index:
    """The images of one list, by its name, or by a path where the kind of data takes one; `UserError` where wrong."""
    limit_pixels(settings.max_pixels)
    open_list = pick(KINDS, settings.kind, "data.kind")
    for name, kinds in READ_BY.items():
        if settings.kind not in kinds and getattr(settings, name) != getattr(DataSettings(), name):
            raise UserError(f"data.{name} changes nothing where data.kind is {settings.kind}; leave it out")
    if settings.download:
        from data.download import download  # by torchvision, which takes seconds to import

        download(settings.kind, settings.root, list_name)
    classes = _given_classes(settings)
    own = settings if classes == settings.classes else replace(settings, classes=classes)
    index = open_list(own, list_name, masks, complain)
    rules: dict[str, Any] = {"pixels": pixel_rule(settings)}
    if masks:
        palette = class_palette(settings, index.class_names)
        rules["truth"] = truth_rule(settings.mask_values, index.class_names, settings.background, palette)
    index = replace(index, records=tuple(replace(record, **rules) for record in index.records))
    if not classes and settings.kind in ("coco", "folder"):  # where `data.background` names the class that is none
        index = replace(index, notes=(*notes_on_names(index.class_names, settings.root), *index.notes))
    if complain is refuse:  # the check looks at every image, and prints every note
        looked_at = [record.image for record in spread(index.records, SAMPLE)]
        found = (depth_of(path, settings.bands) for path in looked_at if settings.range == "auto")
        depths = [depth for depth in found if depth is not None]
        several = [str(path) for path in looked_at if not settings.bands and frames_of(path) > 1]
        frames = counted(f"list '{list_name}'", "files that hold several images", several, "the first of each is read")
        if problem := series_problem(depths, f"list '{list_name}'"):
            raise UserError(problem)
        for note in [*mixed_depths(depths, f"list '{list_name}'"), *frames, *index.notes[:NOTES]]:
            logger.warning("%s", note)  # one that was logged before is not logged again (utils/console.py)
        if (more := len(index.notes) - NOTES) > 0:
            logger.warning("there are %d more notes about the data; python -m data.check lists all", more)
    return index


def pixel_rule(settings: DataSettings) -> PixelRule:
    """What the values in the images of a data set mean."""
    return PixelRule(settings.range, settings.bands)


def _given_classes(settings: DataSettings) -> tuple[str, ...]:
    given = tuple(map(composed, settings.classes))
    if len(given) != 1 or not Path(settings.classes[0]).suffix:
        return given
    paths = (Path(settings.classes[0]), Path(settings.root) / settings.classes[0])
    return next((read_class_names(path) for path in paths if path.is_file()), given)


def class_palette(settings: DataSettings, class_names: tuple[str, ...]) -> np.ndarray:
    """(256, 3) uint8: the colour of every mask value, `data.colors` (one a class) where it is given, else VOC's."""
    palette = voc_palette().copy()
    if settings.colors:
        if len(settings.colors) != len(class_names):
            expected = f"one for each of the {len(class_names)} classes in their order: {', '.join(class_names)}"
            raise UserError(f"data.colors has {len(settings.colors)} colours, expected {expected}")
        codes = [color.lstrip("#") for color in settings.colors]
        palette[1 : len(codes) + 1] = [[int(code[start : start + 2], 16) for start in (0, 2, 4)] for code in codes]
    return palette
