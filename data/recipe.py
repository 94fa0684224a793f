"""Which preset fits own images, by labels and images alone (`data.recipe: auto`).

Photographs have colours, and their classes occur in many surroundings. Images of inspection and medicine mostly have no
colour, or most of them show nothing: there the whole is what differs least, and objects are small.
"""

from dataclasses import dataclass

import numpy as np

from data.dataset import Index
from utils.errors import UserError

LOOKED_AT = 60  # images, evenly over the list
GREY = 6.0  # of 255: where channels differ by less on average, an image has no colour; JPEG makes some of its own
MOSTLY = 0.5  # of the images have no colour
WITHOUT = 1 / 3  # of the images show none of the classes
INSPECTION = "inspection"


@dataclass(frozen=True)
class Fit:
    """A preset and the reason for it; `preset` is empty where the one that was named fits."""

    preset: str
    reason: str


def fitting_preset(index: Index) -> Fit:
    """The preset for the images of a list."""
    grey, seen = 0, 0
    for position in np.unique(np.linspace(0, len(index) - 1, min(LOOKED_AT, len(index))).round().astype(int)).tolist():
        try:
            image = index.records[position].read_image()
        except UserError:  # the stage that needs it says so
            continue
        image.thumbnail((128, 128))
        pixels = np.asarray(image, np.int16)
        grey, seen = grey + bool((pixels.max(axis=2) - pixels.min(axis=2)).mean() < GREY), seen + 1
    colourless = grey / max(1, seen)
    empty = sum(not record.labels for record in index.records) / len(index)
    found = (
        f"{100 * colourless:.0f} % of {seen} images have no colour, and {100 * empty:.0f} % of all show none of the "
        "classes"
    )
    if colourless > MOSTLY or empty > WITHOUT:
        return Fit(INSPECTION, f"{found}: the settings of preset '{INSPECTION}' are used")
    return Fit(
        "", f"{found}: the settings for photographs are used; for textures and tiny objects: --preset inspection"
    )
