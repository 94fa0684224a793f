"""Which files look like masks, by what they hold: few values, where photographs have many."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from data.images import read_image
from data.inspection import spread
from data.mask_values import MaskFault, decode_mask, packed, used_codes
from utils.errors import UserError

SAMPLE, FEW_VALUES = 12, 16  # files that are looked at, and how many values masks among them hold
NEAR, MOST_NEAR = 12, 0.95  # of a colour of masks, and how many of the pixels are


def are_drawn(root: Path, paths: list[str], sample: int = SAMPLE) -> bool:
    """Whether most of a sample of the files hold few values, and not all of them one."""
    few = (1 < count_values(root / path) <= FEW_VALUES for path in spread(paths, sample))
    return not hold_many(root, paths, sample) and any(few)


def hold_many(root: Path, paths: Sequence[str], sample: int = SAMPLE) -> bool:
    """Whether more than half of a sample of the files hold more values than masks mostly do."""
    some = spread(paths, sample)
    return 2 * sum(count_values(root / path) > FEW_VALUES for path in some) > len(some)


@cache
def count_values(path: Path) -> int:
    """How many values or colours an image holds; none where it can be no mask, and many where it cannot be read."""
    try:
        return len(used_codes(decode_mask(path).codes))
    except MaskFault as fault:
        return _plain_colours(path) if fault.kind == "lossy" else 0
    except UserError:
        return FEW_VALUES + 1


def _plain_colours(path: Path) -> int:
    """How many colours a mask had before it was saved with loss; more than masks have where it looks like no mask.

    Those of masks are mostly multiples of 64 (VOC's, and black and white), and loss moves few pixels far from them.
    """
    pixels = np.asarray(read_image(path), np.int64)
    nearest = (pixels + 32) // 64
    are_near = (np.abs(pixels - 64 * nearest) <= NEAR).all(axis=2)
    return len(used_codes(packed(nearest[are_near]))) if are_near.mean() > MOST_NEAR else FEW_VALUES + 1
