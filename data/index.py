"""From settings to an index: the one place that knows which module reads which kind of data.

Another kind: a function that makes an `Index` in a file under data/, and a line in `KINDS`.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from data.artifacts import voc_palette
from data.coco import open_coco
from data.dataset import Complain, Index, refuse
from data.folder import open_folder
from data.images import limit_pixels
from data.mask_values import truth_rule
from data.pixels import PixelRule
from data.series import sample_depths, series_problem
from data.shapes import open_shapes
from data.voc import open_voc
from utils.choices import pick
from utils.config import DataConfig
from utils.errors import UserError

logger = logging.getLogger(__name__)
SHOWN_NOTES = 3  # lines on what was found and not taken; the check shows all
FILES_OF_OTHERS = ("voc", "folder")  # kinds whose masks other programs may have written

# Name -> the images of a list, with the truth's paths or without; what is not as it should be is complained of.
KINDS: dict[str, Callable[[DataConfig, str, bool, Complain], Index]] = {
    "voc": lambda data, name, masks, complain: open_voc(data.root, name, data.labels, data.classes, masks, complain),
    "coco": lambda data, name, masks, complain: open_coco(
        data.root, name, data.classes, masks, background=data.background, complain=complain
    ),
    "folder": lambda data, name, masks, complain: open_folder(
        data.root, name, data.labels, data.classes, masks, background=data.background, complain=complain
    ),
    "shapes": lambda data, name, masks, complain: open_shapes(
        data.root, name, data.shapes_train, data.shapes_val, data.shapes_size, masks
    ),
}


def open_index(settings: DataConfig, list_name: str, masks: bool = False, complain: Complain = refuse) -> Index:
    """The images of one list.

    Args:
        settings: the configuration's `data` section.
        list_name: a list's name, or a path where the kind of data takes one.
        masks: also give the truth's paths; only evaluation asks for it.
        complain: what to do about a record that is not as it should be; the check gathers them.

    Raises:
        UserError: the data is missing or malformed.
    """
    limit_pixels(settings.max_pixels)
    open_list = pick(KINDS, settings.kind, "data.kind")
    if settings.download:
        from data.download import download  # by torchvision, which takes seconds to import

        download(settings.kind, settings.root, list_name)
    index = open_list(settings, list_name, masks, complain)
    index = _with_rules(index, settings, masks)
    if complain is refuse:  # the check looks at every image, and prints every note
        if settings.range == "auto" and (
            problem := series_problem(sample_depths(index.records), f"list '{list_name}'")
        ):
            raise UserError(problem)
        for note in index.notes[:SHOWN_NOTES]:
            logger.warning("%s", note)
    return index


def pixel_rule(settings: DataConfig) -> PixelRule:
    """What the values in the images of a data set mean."""
    return PixelRule(settings.range, settings.bands)


def _with_rules(index: Index, settings: DataConfig, masks: bool) -> Index:
    """The index whose records know what the values of their files mean."""
    pixels = pixel_rule(settings)
    palette = class_palette(settings, index.class_names)
    truth = truth_rule(settings.mask_values, index.class_names, settings.background, palette)
    if truth.table and settings.kind not in FILES_OF_OTHERS:
        raise UserError(
            f"data.mask_values is for masks in files, and data.kind {settings.kind} draws its own; leave it out"
        )
    if not masks and pixels.is_default:
        return index
    rules: dict[str, Any] = {"pixels": pixels} | ({"truth": truth} if masks else {})
    return replace(index, records=tuple(replace(record, **rules) for record in index.records))


def class_palette(settings: DataConfig, class_names: tuple[str, ...]) -> np.ndarray:
    """(256, 3) uint8: the colour of every mask value, `data.colors` for the classes where it is given, else VOC's.

    Raises:
        UserError: not one colour a class.
    """
    palette = voc_palette().copy()
    if settings.colors:
        if len(settings.colors) != len(class_names):
            raise UserError(
                f"data.colors has {len(settings.colors)} colours, expected one for each of the {len(class_names)} classes "
                f"in their order: {', '.join(class_names)}"
            )
        codes = [color.lstrip("#") for color in settings.colors]
        palette[1 : len(codes) + 1] = [[int(code[place : place + 2], 16) for place in (0, 2, 4)] for code in codes]
    return palette
