"""Pairs of near cells and the straight paths between them (IRN: Ahn et al., CVPR 2019, section 4.1).

The affinity of a pair is 1 - the highest boundary on the path.
"""

import math
from collections.abc import Callable
from functools import lru_cache, reduce

import torch
from torch import Tensor

Cell = tuple[int, int]


@lru_cache
def pair_paths(radius: int) -> tuple[tuple[Cell, ...], ...]:
    """The paths of all pairs within the open radius, in one half of the plane, shorter paths first.

    A path is the cells (dy, dx) from the source (0, 0) to the other cell of the pair, which is the last. A cell of the
    box between the two lies on it where its distance to the line is below 1.
    """
    box = [(dy, dx) for dy in range(radius) for dx in range(1 - radius, radius) if (dy, dx) > (0, 0)]
    return tuple(sorted((_path(*end) for end in box if math.hypot(*end) < radius), key=len))


def pair_offsets(radius: int) -> tuple[Cell, ...]:
    """(dy, dx) of each pair of `pair_paths`, in its order."""
    return tuple(path[-1] for path in pair_paths(radius))


def windows(maps: Tensor, radius: int) -> Callable[[Cell], Tensor]:
    """For maps (B, h, w), a function: offset of a cell -> its values for all sources, (B, h - reach, w - 2 * reach).

    Sources are the cells that have their whole neighbourhood inside the map; reach = radius - 1.
    """
    reach = radius - 1
    height, width = max(0, maps.shape[-2] - reach), max(0, maps.shape[-1] - 2 * reach)
    return lambda cell: maps[:, cell[0] : cell[0] + height, reach + cell[1] : reach + cell[1] + width]


def path_maxima(edge: Tensor, radius: int) -> Tensor:
    """The highest value on the path of every pair whose source has its whole neighbourhood inside the map (B, h, w).

    (B, P, h - reach, w - 2 * reach), pairs in the order of `pair_paths`; reach = radius - 1. Empty where the map is too
    small. Where several cells of a path share the highest value, the gradient is split among them.
    """
    at = windows(edge, radius)
    shifted = {cell: at(cell) for cell in {cell for path in pair_paths(radius) for cell in path}}
    maxima: list[Tensor] = []
    for part, rest in _shared_parts(radius):
        values = [shifted[cell] for cell in rest] + ([] if part is None else [maxima[part]])
        maxima.append(reduce(torch.maximum, values))
    return torch.stack(maxima, dim=1)


@lru_cache
def _shared_parts(radius: int) -> tuple[tuple[int | None, tuple[Cell, ...]], ...]:
    """For each path the index of the longest earlier one that lies on it, and its other cells.

    The maximum of an earlier path is used again: 648 maxima at radius 10 instead of 1,982.
    """
    paths = [frozenset(path) for path in pair_paths(radius)]
    parts = []
    for index, path in enumerate(paths):
        earlier = [other for other in range(index) if paths[other] < path]
        part = max(earlier, key=lambda other: len(paths[other]), default=None)
        rest = path if part is None else path - paths[part]
        parts.append((part, tuple(sorted(rest))))
    return tuple(parts)


def _path(y: int, x: int) -> tuple[Cell, ...]:
    columns = range(x + 1) if x >= 0 else range(0, x - 1, -1)
    length = y * y + x * x
    cells = [(dy, dx) for dy in range(y + 1) for dx in columns if (dy * x - dx * y) ** 2 < length]
    return tuple(sorted(cells, key=lambda cell: abs(cell[0]) + abs(cell[1])))
