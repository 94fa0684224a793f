"""Step 2, Partial Reactivation Module (PRM): what is not certain is decided by similarity; docs/method.md 2."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.method import SimilarityStep
from models.reading import normalise_maps
from utils.settings import Problem, check_order, setting

BACKGROUND_SHARE = 0.05  # of the cells, at least, make the background prototype
LEAST_SIMILARITY = 1e-4  # a smaller difference of cosines is rounding, which n would enlarge


@dataclass(frozen=True)
class PartialReactivation(SimilarityStep):
    """R_k = n(ReLU(cos(f, p_k) - cos(f, p_bg))), A_k = n(G_k + R_k)."""

    name, title, repeated_by_blur = "prm", "PRM", True
    enabled: bool = setting(True, help="decide by similarity to confident object and background")
    strides: tuple[int, ...] = setting((16,), help="features of the first stage of each of these strides are compared")
    hi: float = setting(0.5, low=0, high=1, help="confident object above")
    lo: float = setting(0.2, low=0, high=1, help="confident background below")
    rounds: int = setting(1, low=1, high=10, help="how often new prototypes are chosen")

    def check(self) -> Problem | None:
        """`lo` must not be above `hi`."""
        return check_order(("prm.lo", self.lo), ("prm.hi", self.hi))

    def change(self, maps: Tensor, unit: Tensor) -> Tensor:
        """A, from the maps G."""
        for _ in range(self.rounds):
            maps = normalise_maps(maps + reactivate(maps, unit, self.hi, self.lo))
        return maps


def reactivate(maps: Tensor, unit: Tensor, hi: float, lo: float) -> Tensor:
    """R (K, h, w) in 0..1, 0 for a class that wins nowhere; from maps G (K, h, w) in 0..1 and f (D, h, w).

    Prototypes: p_k is the mean of f over cells where class k wins and G_k > hi, weighted by G_k; p_bg the mean of f
    over cells where max_k G_k < lo, or over the `BACKGROUND_SHARE` of the cells with the lowest max_k G_k, where these
    are more. Both are sums here, since only their direction counts.
    """
    best, winner = maps.max(dim=0)
    wins = winner == torch.arange(len(maps), device=maps.device)[:, None, None]
    weights = maps * (wins & (maps > hi))
    lowest = torch.quantile(best.flatten(), BACKGROUND_SHARE)
    is_background = (best < lo) | (best <= lowest)
    cells = unit.flatten(1)
    with torch.autocast(unit.device.type, enabled=False):  # the difference of two cosines is small
        objects = normalize(weights.flatten(1) @ cells.T, dim=1)
        background = normalize(is_background.flatten().float() @ cells.T, dim=0)
        similarity = (objects - background) @ cells
    has_prototype = weights.flatten(1).sum(dim=1, keepdim=True) > 0
    counts = has_prototype & (similarity > LEAST_SIMILARITY)
    return normalise_maps((similarity.relu() * counts).unflatten(1, maps.shape[1:]))
