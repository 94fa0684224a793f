"""The images of infer.py's input: the names of their outputs, and their classes from a CSV file or the command line."""

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data.faults import refuse
from data.image_names import Finder
from data.images import read_image
from data.label_table import read_label_table
from data.pixels import AUTO, PixelRule
from utils.choices import nearest
from utils.errors import UserError
from utils.names import shown

logger = logging.getLogger(__name__)
MOST_NAMES = 30  # class names in a message


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


def find_class(name: str, class_names: Sequence[str], where: str) -> int:
    """The index of a class by its name, in any case.

    Raises:
        UserError: the network does not know it; the message begins with `where` and has the nearest known name.
    """
    by_name = {known.casefold(): index for index, known in reversed(list(enumerate(class_names)))}
    index = by_name.get(name.strip().casefold())
    if index is None:
        more = f", ... ({len(class_names)} in all)" if len(class_names) > MOST_NAMES else ""
        raise UserError(
            f"{where}: the network knows no class '{name}'{nearest(name.strip(), class_names) or ';'} it knows "
            f"{', '.join(class_names[:MOST_NAMES])}{more}"
        )
    return index


def read_labels(path: Path, images: Sequence[InputImage], class_names: Sequence[str]) -> dict[str, list[int]]:
    """What images contain, from a CSV file: the header `image,labels`, or `image,CLASS,...` (`data/label_table.py`).

    A row names an image by its path under the input folder or its file name, with or without suffix. A row without
    labels is an image without any class. Rows of other images, and images without a row, are counted in a warning.

    Returns:
        Indices in `class_names` by `InputImage.relative`.

    Raises:
        UserError: not such a file, an unknown class, a name that fits several images, two rows for one image.
    """
    table = read_label_table(path, class_names, refuse)
    base = images[0].path.absolute().as_posix().removesuffix(images[0].relative)
    finder = Finder(Path(base or "."), [image.relative for image in images])
    for name in table.class_names:
        find_class(name, class_names, f"{path}, header")
    found: dict[str, list[int]] = {}
    unknown: list[str] = []
    for where, name, labels, _ in table.rows:
        chosen = sorted({find_class(label, class_names, where) for label in labels})
        match = finder.find(name, where)
        if match is None:
            unknown.append(name)
        elif match in found:
            raise UserError(f"{where}: image '{name}' has a row already; make it one row")
        else:
            found[match] = chosen
    if not found:
        raise UserError(
            f"{path}: none of its {len(table.rows)} rows names an image of the input; expected paths from the input "
            f"folder or file names, such as {images[0].relative}"
        )
    without = [image.relative for image in images if image.relative not in found]
    notes = [*table.notes, *finder.note(path)]
    if unknown:
        notes.append(
            f"{path}: {len(unknown)} rows name no image of the input, first {shown(unknown[0])}; correct the names"
        )
    if without:
        notes.append(
            f"{path}: {len(without)} of {len(images)} images have no row, first {without[0]}; the network predicts "
            "their classes"
        )
    for note in notes:
        logger.warning("%s", note)
    return found
