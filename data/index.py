"""From settings to an index: the one place that knows which module reads which kind of data."""

import numpy as np

from data.artifacts import voc_palette
from data.dataset import Complain, Index, refuse
from data.images import limit_pixels
from data.voc import open_voc
from utils.config import DataConfig
from utils.errors import UserError


def open_index(settings: DataConfig, list_name: str, masks: bool = False, complain: Complain = refuse) -> Index:
    """The pictures of one list.

    Args:
        settings: the configuration's `data` section.
        list_name: a list's name, or a path where the kind of data takes one.
        masks: also give the truth's paths; only evaluation asks for it.
        complain: what to do about a record that is not as it should be; the check gathers them.

    Raises:
        UserError: the data is missing or malformed.
    """
    limit_pixels(settings.max_pixels)
    if settings.download:
        from data.download import download

        download(settings.kind, settings.root, list_name)
    if settings.kind == "voc":
        return open_voc(settings.root, list_name, settings.labels, settings.classes, masks, complain)
    if settings.kind == "coco":
        from data.coco import open_coco

        return open_coco(
            settings.root, list_name, settings.classes, masks, background=settings.background, complain=complain
        )
    if settings.kind == "folder":
        from data.folder import open_folder

        return open_folder(
            settings.root,
            list_name,
            settings.labels,
            settings.classes,
            masks,
            background=settings.background,
            complain=complain,
        )
    from data.shapes import open_shapes

    return open_shapes(
        settings.root, list_name, settings.shapes_train, settings.shapes_val, settings.shapes_size, masks
    )


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
