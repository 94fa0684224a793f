"""Optional step, LayerCAM: what earlier stages see, by the larger value (Jiang et al., TIP 2021); docs/method.md."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.reading import Reading, earlier_stages, normalise_maps
from models.steps.base import Before, Step
from utils.settings import setting


@dataclass(frozen=True)
class LayerFusion(Step):
    """A_k <- n(max(A_k, max over l of tanh(gamma L_l,k))), L_l,k = n(ReLU(sum over channels of ReLU(g) F_l))."""

    name, title = "layercam", "LayerCAM"
    enabled: bool = setting(False, help="add LayerCAM of earlier stages, by the larger value; instead of GFM")
    min_stride: int = setting(8, low=1, high=64, help="of the first stage of each stride from this on")
    gamma: float = setting(2.0, low=0.1, high=100, help="maps of earlier stages are lifted: tanh(gamma L) (paper: 2)")

    def gradient_stages(self, strides: Sequence[int]) -> list[int]:
        """As of GFM; the last stage is in the maps before."""
        return earlier_stages(strides, self.min_stride)

    def __call__(self, maps: Tensor, reading: Reading, before: Before) -> Tensor:
        """The maps, and where an earlier stage sees more, what it sees."""
        stages = self.gradient_stages(reading.strides)
        if not stages:
            return maps
        return fuse_layers(maps, torch.stack([reading.weighted[stage] for stage in stages]), self.gamma)


def fuse_layers(maps: Tensor, layers: Tensor, gamma: float) -> Tensor:
    """n(max(A_k, max over l of tanh(gamma n(L_l,k)))).

    Args:
        maps: A, (K, h, w) in 0..1.
        layers: L, (S, K, h, w), not normalised; S at least 1.
    """
    return normalise_maps(torch.maximum(maps, (gamma * normalise_maps(layers)).tanh().amax(dim=0)))
