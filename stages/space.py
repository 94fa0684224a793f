"""How much disk space the files of a stage need, so that a full disk is found before the work.

Seeds and masks are compressed. For seeds the size before compression is required (a byte for each class and cell of 4 x
4 pixels), for masks twice their usual size.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from data.artifacts import SEED_STRIDE
from data.dataset import Index
from data.images import DAMAGED_IMAGE
from stages.lists import spread
from utils.files import require_space

SAMPLE = 20  # images whose size is read, spread evenly
USUAL_PIXELS = 500 * 375  # where none can be opened
MASK_BYTES = 1 / 30  # a pixel
BLOCK = 4096  # bytes; the smallest file
# Weights and momentum in a resumable state that replaces another one, the network itself and its published copy.
COPIES = 2 * 2 + 2


def require_image_space(
    folder: Path, index: Index, positions: Sequence[int], seeds: int = 0, masks: int = 0, purpose: str = ""
) -> None:
    """Check that `folder` has space for so many seed files and masks for each of these images.

    Raises:
        UserError: the disk has less space.
    """
    pixels = _mean_pixels(index, positions)
    maps = sum(len(index.records[position].labels) for position in positions)
    cells = maps * pixels / SEED_STRIDE**2
    needed = seeds * (cells + BLOCK * len(positions)) + masks * (pixels * MASK_BYTES + BLOCK) * len(positions)
    require_space(folder, needed, f"{purpose or folder.name} of {len(positions):,} images")


def require_network_space(folder: Path, network: nn.Module) -> None:
    """Check that `folder` has space for what training this network writes."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    require_space(folder, COPIES * size, "a network and its resumable state")


def _mean_pixels(index: Index, positions: Sequence[int]) -> float:
    sizes = []
    for position in spread(positions, SAMPLE):
        try:
            with Image.open(index.records[position].image) as image:
                sizes.append(image.width * image.height)
        except DAMAGED_IMAGE:  # the reader of the image reports it
            continue
    return float(np.mean(sizes)) if sizes else USUAL_PIXELS
