"""The images of infer.py's input: what their outputs are called, and what a CSV file says that they show."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data.dataset import refuse
from data.image_names import Finder
from data.images import read_image
from data.label_table import read_label_table
from data.pixels import AUTO, PixelRule
from inference.class_names import find_class
from utils.errors import UserError
from utils.names import shown

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InputImage:
    """One file of the input: its path, its path under the input folder, its outputs' name, and what its values mean."""

    path: Path
    relative: str
    name: str
    pixels: PixelRule = AUTO

    def read_image(self, least_side: int = 0) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright (see `data.images.read_image`).

        Raises:
            UnreadableImage: it cannot be read.
        """
        return np.array(read_image(self.path, least_side, self.pixels))


def output_names(relative: Sequence[str]) -> dict[str, str]:
    """Path -> its name without suffix, or with it where two images would have the same in any case."""
    bare = {path: str(PurePosixPath(path).with_suffix("")) for path in relative}
    counts = Counter([name.casefold() for name in bare.values()] + [path.casefold() for path in relative])
    return {path: name if counts[name.casefold()] == 1 else path for path, name in bare.items()}


def read_labels(path: Path, images: Sequence[InputImage], class_names: Sequence[str]) -> dict[str, list[int]]:
    """What images contain, from a CSV file: the header `image,labels`, or `image,CLASS,...` (`data/label_table.py`).

    An image is named by its path under the input folder or its file name, with or without suffix; a row without labels
    says that
    it has none. Rows of other images, and images without a row, are counted in a warning.

    Returns:
        Positions in `class_names` by `Image.relative`.

    Raises:
        UserError: not such a file, an unknown class, a name that fits several images, two rows for one image.
    """
    table = read_label_table(path, class_names, refuse)
    finder = Finder(_base(images), [image.relative for image in images])
    for name in table.class_names:
        find_class(name, class_names, f"{path}, header")
    found: dict[str, list[int]] = {}
    strangers: list[str] = []
    for where, name, labels in table.rows:
        chosen = sorted({find_class(label, class_names, where) for label in labels})
        match = finder.find(name, where)
        if match is None:
            strangers.append(name)
        elif match in found:
            raise UserError(f"{where}: image '{name}' has a row already; make it one row")
        else:
            found[match] = chosen
    if not found:
        raise UserError(
            f"{path}: none of its {len(table.rows)} rows names an image of the input; expected paths from the "
            f"input folder or file names, such as {images[0].relative}"
        )
    without = [image.relative for image in images if image.relative not in found]
    notes = [*table.notes, *finder.note(path)]
    if strangers:
        notes.append(
            f"{path}: {len(strangers)} rows name no image of the input, first {shown(strangers[0])}; mend the names"
        )
    if without:
        notes.append(
            f"{path}: {len(without)} of {len(images)} images have no row, first {without[0]}; the network says "
            "what they show"
        )
    for note in notes:
        logger.warning("%s", note)
    return found


def _base(images: Sequence[InputImage]) -> Path:
    """The folder that the relative paths begin in."""
    path = images[0].path.absolute().as_posix()
    return Path(path.removesuffix(images[0].relative) or ".")
