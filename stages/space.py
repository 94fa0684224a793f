"""How much room a stage's files will take, so that a disk that is too small is told before the work and not after it.

Seeds and masks are compressed; what is asked for is their size before that (seeds: a byte a class and cell of 4 x 4 pixels) or
twice what was measured (masks). `python -m benchmarks.disk RUN` measures a run.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from data.artifacts import SEED_STRIDE
from data.dataset import Index
from data.images import DAMAGED_IMAGE
from utils.files import require_space

SAMPLE = 20  # images whose size is looked at, spread evenly
USUAL_PIXELS = 500 * 375  # where none can be opened
MASK_BYTES = 1 / 30  # a pixel
BLOCK = 4096  # the least that a file takes
# Weights and momentum in a resumable state that replaces another one, the network itself and its published copy.
COPIES = 2 * 2 + 2


def require_image_space(
    folder: Path, index: Index, positions: Sequence[int], seeds: int = 0, masks: int = 0, purpose: str = ""
) -> None:
    """Check that `folder` takes so many seed files and masks for each of these images.

    Raises:
        UserError: the disk has less room.
    """
    pixels = _mean_pixels(index, positions)
    maps = sum(len(index.records[position].labels) for position in positions)
    cells = maps * pixels / SEED_STRIDE**2
    needed = seeds * (cells + BLOCK * len(positions)) + masks * (pixels * MASK_BYTES + BLOCK) * len(positions)
    require_space(folder, needed, f"{purpose or folder.name} of {len(positions):,} images")


def require_network_space(folder: Path, network: nn.Module) -> None:
    """Check that `folder` takes what training this network writes."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    require_space(folder, COPIES * size, "a network and its resumable state")


def _mean_pixels(index: Index, positions: Sequence[int]) -> float:
    sizes = []
    for place in np.unique(np.linspace(0, len(positions) - 1, min(len(positions), SAMPLE)).round().astype(int)):
        try:
            with Image.open(index.records[positions[place]].image) as image:
                sizes.append(image.width * image.height)
        except DAMAGED_IMAGE:  # whoever needs the image will say so
            continue
    return float(np.mean(sizes)) if sizes else USUAL_PIXELS
