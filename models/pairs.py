"""Pairs of near cells, the straight paths between them, and IRN's losses (Ahn, Cho, Kwak, CVPR 2019, sections 4 and 5).

The affinity of a pair is 1 - the highest boundary on its path. Losses ask whether two labelled cells have one class.

losses = affinity_losses(*maps, labels, 10)  # maps of models.affinity; the sum is the published loss
"""

import math
from collections.abc import Callable
from functools import lru_cache, reduce

import torch
from torch import Tensor

from utils.distributed import total
from utils.ignore import IGNORE

Cell = tuple[int, int]
EPSILON = 1e-5  # of logarithms and divisions, as published
# Total = ((bg_pos + fg_pos) / 2 + neg) / 2 + (disp_fg + disp_bg) / 2, as published.
LOSS_WEIGHTS = {"bg_pos": 0.25, "fg_pos": 0.25, "neg": 0.5, "disp_fg": 0.5, "disp_bg": 0.5}


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


def affinity_losses(edge_logits: Tensor, displacement: Tensor | None, labels: Tensor, radius: int) -> dict[str, Tensor]:
    """The published losses over all pairs of cells within the radius, times `LOSS_WEIGHTS`; training minimises the sum.

    A pair counts where both its cells have a label and its source has its whole neighbourhood inside the map.

    Args:
        edge_logits: (B, 1, h, w); sigmoid is the boundary.
        displacement: (B, 2, h, w) as (dy, dx) in cells, or None.
        labels: (B, h, w) integers of confident seeds: 0 background, > 0 a class, 255 unknown.
        radius: of the pairs, in cells; exclusive.

    Returns:
        Float32 scalars, each a weighted mean over its pairs, 0 where there are none. With several processes the mean is
        over the pairs of all of them, and a process gives its own part of that mean.
        `bg_pos`, `fg_pos`: -log affinity of pairs of background and of the same class; `neg`: -log(1 - affinity) of
        pairs of different labels. With a displacement also `disp_fg` = |(d_source - d_other) - (other - source)|: pairs
        of a class point to one centre; and `disp_bg` = |d_source - d_other|: pairs of background point the same way.
    """
    affinity = 1 - path_maxima(edge_logits.float().sigmoid()[:, 0], radius)
    source, other = _pairs(labels, radius)
    known = (source != IGNORE) & (other != IGNORE)
    same = known & (source == other)
    pairs = {"bg_pos": same & (source == 0), "fg_pos": same & (source != 0), "neg": known & ~same}
    counts = {name: total(mask.sum()) for name, mask in pairs.items()}

    attract, repel = -torch.log(affinity + EPSILON), -torch.log(1 + EPSILON - affinity)
    losses = {
        name: ((repel if name == "neg" else attract) * mask).sum() / (counts[name] + EPSILON)
        for name, mask in pairs.items()
    }
    for axis, field in enumerate(() if displacement is None else displacement.float().unbind(dim=1)):
        start, end = _pairs(field, radius)
        difference = start - end
        to_centre = (difference - _offsets(radius, labels.device)[:, axis, None, None]).abs()
        for name, distance, kind in (("disp_fg", to_centre, "fg_pos"), ("disp_bg", difference.abs(), "bg_pos")):
            mean = (distance * pairs[kind]).sum() / (2 * counts[kind] + EPSILON)
            losses[name] = losses.get(name, 0) + mean
    return {name: LOSS_WEIGHTS[name] * loss for name, loss in losses.items()}


@lru_cache
def _offsets(radius: int, device: torch.device) -> Tensor:
    """(P, 2) `pair_offsets`, kept on the device: to copy them there would delay every step."""
    return torch.tensor(pair_offsets(radius), device=device)


def _pairs(x: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values (B, h, w) at the sources (B, 1, h', w') and at the other cells (B, P, h', w') of the pairs."""
    at = windows(x, radius)
    return at((0, 0))[:, None], torch.stack([at(offset) for offset in pair_offsets(radius)], dim=1)
