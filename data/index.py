"""From settings to an index: the one place that knows which module reads which kind of data."""

from data.dataset import Index
from data.voc import open_voc
from utils.config import DataConfig


def open_index(settings: DataConfig, list_name: str, masks: bool = False) -> Index:
    """The pictures of one list.

    Args:
        settings: the configuration's `data` section.
        list_name: a list's name, or a path where the kind of data takes one.
        masks: also give the truth's paths; only evaluation asks for it.

    Raises:
        UserError: the data is missing or malformed.
    """
    if settings.kind == "voc":
        return open_voc(settings.root, list_name, settings.labels, settings.classes, masks)
    if settings.kind == "coco":
        from data.coco import open_coco

        return open_coco(settings.root, list_name, masks)
    if settings.kind == "folder":
        from data.folder import open_folder

        return open_folder(settings.root, list_name, settings.labels, settings.classes, masks)
    from data.shapes import open_shapes

    return open_shapes(
        settings.root, list_name, settings.shapes_train, settings.shapes_val, settings.shapes_size, masks
    )
