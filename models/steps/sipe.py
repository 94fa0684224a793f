"""Optional step, image-specific prototypes as SIPE chooses them (Chen et al., CVPR 2022); docs/method.md."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from models.method import SimilarityStep
from models.random_walk import similar_sums
from models.reading import normalise_maps
from utils.settings import setting


@dataclass(frozen=True)
class ImagePrototypes(SimilarityStep):
    """A_k <- n(A_k + n(ReLU(cos(f, q_k) - cos(f, q_0)))), q: means of f over the cells whose surroundings fit a map."""

    name, title, repeated_by_blur = "sipe", "SIPE", True
    enabled: bool = setting(False, help="prototypes of cells whose similarity to all others fits a map (SIPE)")
    strides: tuple[int, ...] = setting((16,), help="features of the first stage of each of these strides are compared")
    background: float = setting(1.0, low=0, high=1, help="the fit of the background counts this much (SIPE: 0.5)")
    power: float = setting(1.0, low=0.1, high=100, help="cosines to this power, in the similarity to all others")

    def change(self, maps: Tensor, unit: Tensor) -> Tensor:
        """The maps and the similarity to their prototypes."""
        return normalise_maps(maps + compare(maps, unit, self.background, self.power))


def structure_seeds(maps: Tensor, unit: Tensor, background: float, power: float) -> Tensor:
    """The class of each cell, (h, w): 0 is background, k the k-th map.

    The similarity of a cell to all cells is a map, too. The class is the one whose own map fits it best, by
    intersection over union: sum(S A) / (sum(S) + sum(A) - sum(S A)). The background's map is 1 - max_k A_k.
    """
    everything = torch.cat([1 - maps.amax(dim=0, keepdim=True), maps]).flatten(1)
    both, similar = similar_sums(everything, unit.flatten(1), power)
    fit = both / (similar + everything.sum(dim=1, keepdim=True) - both).clamp_min(torch.finfo(maps.dtype).tiny)
    fit[0] *= background
    return fit.argmax(dim=0).unflatten(0, maps.shape[1:])


def compare(maps: Tensor, unit: Tensor, background: float, power: float) -> Tensor:
    """R_k = n(ReLU(cos(f, q_k) - cos(f, q_0))), (K, h, w) in 0..1, from A (K, h, w) in 0..1, K > 0, and f (D, h, w)."""
    seeds = structure_seeds(maps, unit, background, power)
    belongs = one_hot(seeds.flatten(), len(maps) + 1).to(unit).T
    similarity = normalize(belongs @ unit.flatten(1).T, dim=1) @ unit.flatten(1)
    found = belongs[1:].sum(dim=1, keepdim=True) > 0
    return normalise_maps(((similarity[1:] - similarity[:1]).relu() * found).unflatten(1, maps.shape[1:]))
