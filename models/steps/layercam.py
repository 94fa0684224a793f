"""Optional step, LayerCAM: earlier features weighted by gradients (Jiang et al., TIP 2021); docs/method.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.reading import Reading, normalise_maps
from models.steps.gfm import GradientStep, fuse_gradients
from utils.settings import setting


@dataclass(frozen=True)
class LayerFusion(GradientStep):
    """A_k <- n(A_k + mean over l of L_l,k), or the larger value; L_l,k = n(ReLU(sum over channels of ReLU(g) F_l))."""

    name, title = "layercam", "LayerCAM"
    enabled: bool = setting(False, help="add LayerCAM of earlier stages; instead of GFM")
    fusion: Literal["max", "mean"] = setting(
        "mean", help="mean: the mean of the stages is added, as in GFM; max: the larger value (paper)"
    )
    gamma: float = setting(2.0, low=0.1, high=100, help="for max: earlier stages are lifted by tanh(gamma L) (paper 2)")

    def fuse(self, maps: Tensor, reading: Reading, stages: Sequence[int]) -> Tensor:
        """The maps and what earlier stages see."""
        layers = torch.stack([reading.weighted[stage] for stage in stages])
        if self.fusion == "mean":
            return fuse_gradients(maps, layers)
        lifted = (self.gamma * normalise_maps(layers)).tanh()
        return normalise_maps(torch.maximum(maps, lifted.amax(dim=0)))
