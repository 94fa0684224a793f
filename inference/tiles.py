"""Very large images through a network that reads small ones: overlapping tiles, blended, in bounded time and memory.

An image of W x H pixels is covered by tiles of one side; neighbours share a quarter. The network's probabilities of
each tile go onto a grid with a cell for every 4 pixels, weighted so that a tile counts less towards its rim, where the
network lacks surroundings. Probabilities are kept as a byte each, and decided a few rows at a time.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from utils.console import progress

STRIDE = 4  # pixels a cell; the networks' own is 16
OVERLAP = 0.25  # of a tile's side
MOST_TILES = 600  # of an image; one that would need more gets larger tiles
LEAST_TILE = 64
ROWS = 16  # of cells that are decided at a time
RIM = 0.05  # weight of a tile at its rim, 1 in its inner part

Probabilities = Callable[[np.ndarray], Tensor]


def read_tiles(image: np.ndarray, tile: int, values: int, probabilities: Probabilities) -> np.ndarray:
    """The network's probabilities of an image (H, W, 3): (values, ceil(H / 4), ceil(W / 4)) uint8, 255 for 1.

    Args:
        tile: side of a tile in pixels, made larger where the image would need more than `MOST_TILES`.
        values: mask values, background included.
        probabilities: (h, w, 3) uint8 of at most `tile` -> (values, *, *) on the CPU, of any size, sums to 1.
    """
    height, width = image.shape[:2]
    tile = tile_side(height, width, tile)
    tops, lefts = starts(height, tile), starts(width, tile)
    cells = np.zeros((values, -(-height // STRIDE), -(-width // STRIDE)), np.uint8)
    # Only the rows that one row of tiles covers are summed as floats; what the next row adds to is carried over.
    band, weight = torch.zeros(values, 0, cells.shape[2]), torch.zeros(0, cells.shape[2])
    with progress(None, len(tops) * len(lefts), "tiles", unit="tile") as bar:
        for top, below in zip(tops, [*tops[1:], height], strict=True):
            bottom = min(top + tile, height)
            missing = -(-bottom // STRIDE) - top // STRIDE - band.shape[1]
            band = torch.cat([band, band.new_zeros(values, missing, band.shape[2])], dim=1)
            weight = torch.cat([weight, weight.new_zeros(missing, weight.shape[1])])
            for left in lefts:
                found = _on_cells(image[top:bottom, left : left + tile], probabilities)
                ramp = _ramp(found.shape[1])[:, None] * _ramp(found.shape[2])
                columns = slice(left // STRIDE, left // STRIDE + found.shape[2])
                band[:, :, columns] += found * ramp
                weight[:, columns] += ramp
                bar.update()
            final = -(-below // STRIDE) - top // STRIDE  # rows that no later tile adds to
            means = band[:, :final] / weight[:final]
            cells[:, top // STRIDE : top // STRIDE + final] = (255 * means).round().clamp(0, 255).byte().numpy()
            band, weight = band[:, final:].clone(), weight[final:].clone()
    return cells


def _on_cells(window: np.ndarray, probabilities: Probabilities) -> Tensor:
    size = [-(-side // STRIDE) for side in window.shape[:2]]
    rest = [(0, STRIDE * count - side) for count, side in zip(size, window.shape[:2], strict=True)]
    if any(after for _, after in rest):  # whole cells, else the probabilities would be stretched
        window = np.pad(window, (*rest, (0, 0)), mode="edge")
    found = probabilities(window)[None]
    return interpolate(found, size, mode="bilinear", align_corners=False, antialias=size[0] < found.shape[-2])[0]


def decide(cells: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, dict[int, float]]:
    """The mask of an image of `size` (H, W) from the cells of `read_tiles`: the likeliest value of each pixel.

    Beside it, the mean probability by value that occurs. The mask has the smallest unsigned type.
    """
    height, width = size
    mask = np.zeros(size, np.min_scalar_type(len(cells) - 1))
    sums, counts = np.zeros(len(cells)), np.zeros(len(cells))
    for first in range(0, cells.shape[1], ROWS):
        last = min(first + ROWS, cells.shape[1])
        above, below = max(first - 1, 0), min(last + 1, cells.shape[1])  # a row of context, or there would be seams
        part = cells[:, above:below]
        winners = np.unique(part.argmax(axis=0))
        coarse = torch.from_numpy(part[winners]).float()[None]
        fine = interpolate(coarse, scale_factor=STRIDE, mode="bilinear", align_corners=False)[0]
        rows = slice(first * STRIDE, min(last * STRIDE, height))
        skipped = (first - above) * STRIDE
        best, indices = fine[:, skipped : skipped + rows.stop - rows.start, :width].max(dim=0)
        index = indices.numpy()
        mask[rows] = winners[index]
        sums[winners] += np.bincount(index.ravel(), best.numpy().ravel(), len(winners)) / 255
        counts[winners] += np.bincount(index.ravel(), minlength=len(winners))
    return mask, {int(value): float(sums[value] / counts[value]) for value in counts.nonzero()[0]}


def tile_side(height: int, width: int, tile: int) -> int:
    """The given side, as whole cells, or the next larger one that needs at most `MOST_TILES`."""
    tile = max(STRIDE, round(tile / STRIDE) * STRIDE)
    while len(starts(height, tile)) * len(starts(width, tile)) > MOST_TILES:
        tile += max(STRIDE, tile // 20 // STRIDE * STRIDE)
    return tile


def starts(side: int, tile: int) -> list[int]:
    """The first pixels of tiles along a side, evenly spread, each at a cell; the last tile may be 3 pixels shorter."""
    if side <= tile:
        return [0]
    count = math.ceil((side - OVERLAP * tile) / (tile * (1 - OVERLAP)))
    last = -(-(side - tile) // STRIDE) * STRIDE
    return [round(number * last / (count - 1) / STRIDE) * STRIDE for number in range(count)]


def _ramp(length: int) -> Tensor:
    """(length,) weights: `RIM` at both ends, 1 from a quarter on."""
    distance = torch.minimum(torch.arange(length), torch.arange(length).flip(0)) / max(1.0, OVERLAP * length)
    return RIM + (1 - RIM) * distance.clamp(0, 1)
