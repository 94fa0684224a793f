"""Which settings fit own images, by labels and images alone (`data.recipe: auto`).

Images of inspection and medicine, unlike photographs, mostly have no colour, or most of them show nothing.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from data.dataset import Index
from data.inspection import spread
from data.transforms import Sides
from utils.errors import UserError

LOOKED_AT = 60  # images, evenly over the list
ONE_COLOUR = 3.0  # of 255: deviation of colours from shades of one; JPEG makes some, photographs mostly have more
NAMES = 20  # of classes that are told
MOSTLY = 0.5  # of the images have no colour
WITHOUT = 1 / 3  # of the images show none of the classes
INSPECTION = "inspection"
# The long side at which the networks that draw masks see images, in the preset for photographs and in the other one.
READ_AT = {"": Sides(320, 448), INSPECTION: Sides(320, 512)}
LARGE = 2  # images are large from this many times the upper limit on
ENLARGED = 2  # large images of textures are seen at sizes times this, with four times the work (docs/log.md, e93)
LEAST_OBJECT = 8  # pixels, as the networks see it: about the smallest object that was found


@dataclass(frozen=True)
class Fit:
    """A preset for own images, empty where the one that was named fits, and why."""

    preset: str
    why: str
    long_side: int  # of the images, the median; 0 where none can be read

    def factor(self, enlarge: float | Literal["auto"], sides: Sides) -> float:
        """The number that `data.enlarge` is, where the preset has these sizes."""
        if enlarge != "auto":
            return enlarge
        return ENLARGED if self.preset == INSPECTION and are_large(self.long_side, sides) else 1

    def message(self, sides: Sides, factor: float = 1) -> str:
        """Preset and reason, for images that networks see at `factor` times the sizes of the preset."""
        used = f"of preset '{self.preset}'" if self.preset else "for photographs"
        other = "; for objects that fill much of an image: --set data.recipe=named"
        if not self.preset:
            other = f"; for textures and tiny objects: --preset {INSPECTION}"
        larger = f". Networks see the images (long side {self.long_side}) at {factor:g} times the usual sizes, with"
        larger += f" {factor**2:g} times the work (--set data.enlarge=1: at the usual ones)"
        sizes = what_sizes_mean(self.long_side, sides.times(factor)) if self.long_side else ""
        return f"{self.why}: the settings {used} are used{other}{larger if factor != 1 else ''}{sizes}"


def fitting_preset(index: Index) -> Fit:
    """The preset for the images of a list, by their colours and labels."""
    colourless, long_sides = [], []
    for record in spread(index.records, LOOKED_AT):
        try:
            image = record.read_image()
        except UserError:  # the stage that needs it says so
            continue
        long_sides.append(max(image.size))
        colourless.append(has_no_colour(image))
    without_colour = float(np.mean(colourless or [False]))
    empty = sum(not record.labels for record in index.records) / len(index)
    preset = INSPECTION if without_colour > MOSTLY or empty > WITHOUT else ""
    colours = f"{100 * without_colour:.0f} % of {len(colourless)} images have no colour"
    names = ", ".join(index.class_names[:NAMES]) + (", ..." if len(index.class_names) > NAMES else "")
    shown = f"{colours}, and {100 * empty:.0f} % of all show none of the classes ({names})"
    return Fit(preset, shown, int(np.median(long_sides or [0])))


def has_no_colour(image: Image.Image) -> bool:
    """Whether all pixels of an RGB image are shades of one colour, such as grey, or the tint of a microscope."""
    small = image.copy()
    small.thumbnail((128, 128))
    pixels = np.asarray(small, np.float64).reshape(-1, 3)
    # Shades of one colour lie on a line: the deviation in the second of the main directions is small.
    variance = np.linalg.eigvalsh(np.cov(pixels, rowvar=False, ddof=0))[1]
    return bool(variance < ONE_COLOUR**2)


def are_large(long_side: int, sides: Sides) -> bool:
    """Whether networks see images with this long side much smaller than they are."""
    return long_side >= LARGE * sides.longest(long_side)


def what_sizes_mean(long_side: int, sides: Sides) -> str:
    """What to say of images with this long side that networks see at these sizes; empty where there is nothing."""
    seen = sides.longest(long_side)
    if seen > long_side:
        return f". The images are small (long side {long_side}) and are enlarged to {seen} before a network reads them"
    if not are_large(long_side, sides):
        return ""
    what = f"The images are large (long side {long_side}) and are made smaller, to {seen}, before a network reads them"
    lost = f"objects of less than about {LEAST_OBJECT * long_side // seen} pixels get lost"
    larger = "set a larger data.enlarge (2 takes four times as long as 1)"
    return f". {what}: {lost}. If yours are smaller, cut the images into tiles and label each tile, or {larger}"
