"""IRN's losses: two labelled cells have the same class or different ones (Ahn, Cho, Kwak, CVPR 2019, sections 4 and 5).

losses = weighted_losses(affinity_losses(*maps, labels, 10))  # maps of models.affinity; the sum is the published one
"""

from functools import lru_cache

import torch
from torch import Tensor

from models.paths import pair_offsets, path_maxima, windows
from utils.distributed import total
from utils.ignore import IGNORE

EPSILON = 1e-5  # of logarithms and divisions, as published
# Total = ((bg_pos + fg_pos) / 2 + neg) / 2 + (disp_fg + disp_bg) / 2, as published.
LOSS_WEIGHTS = {"bg_pos": 0.25, "fg_pos": 0.25, "neg": 0.5, "disp_fg": 0.5, "disp_bg": 0.5}


def affinity_losses(edge_logits: Tensor, displacement: Tensor | None, labels: Tensor, radius: int) -> dict[str, Tensor]:
    """The published losses over all pairs of cells within the radius.

    A pair counts where both its cells have a label and its source has its whole neighbourhood inside the map.

    Args:
        edge_logits: (B, 1, h, w); sigmoid is the boundary.
        displacement: (B, 2, h, w) as (dy, dx) in cells, or None.
        labels: (B, h, w) integers of confident seeds: 0 background, > 0 a class, 255 unknown.
        radius: of the pairs, in cells; exclusive.

    Returns:
        Float32 scalars, each a mean over its pairs, 0 where there are none. With several processes the mean is over the
        pairs of all of them, and a process gives its own part of that mean.
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
    if displacement is None:
        return losses
    offsets = _offsets(radius, labels.device)
    for axis in range(2):
        start, end = _pairs(displacement[:, axis].float(), radius)
        difference = start - end
        to_centre = (difference - offsets[:, axis, None, None]).abs()
        for name, distance, kind in (("disp_fg", to_centre, "fg_pos"), ("disp_bg", difference.abs(), "bg_pos")):
            mean = (distance * pairs[kind]).sum() / (2 * counts[kind] + EPSILON)
            losses[name] = losses.get(name, 0) + mean
    return losses


def weighted_losses(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Terms of `affinity_losses` times their published weights; training minimises their sum."""
    return {name: LOSS_WEIGHTS[name] * loss for name, loss in losses.items()}


@lru_cache
def _offsets(radius: int, device: torch.device) -> Tensor:
    """(P, 2) `pair_offsets`, kept on the device: to copy them there would delay every step."""
    return torch.tensor(pair_offsets(radius), device=device)


def _pairs(x: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Values (B, h, w) at the sources (B, 1, h', w') and at the other cells (B, P, h', w') of the pairs."""
    at = windows(x, radius)
    return at((0, 0))[:, None], torch.stack([at(offset) for offset in pair_offsets(radius)], dim=1)
