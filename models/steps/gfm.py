"""Step 1, Grad Fusion Module (GFM): what earlier stages of the classifier still see; docs/method.md 1."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.chain import stage_levels
from models.method import Method, Step
from models.reading import Reading, normalise_maps
from utils.settings import setting


@dataclass(frozen=True)
class GradientStep(Step):
    """A step that fuses maps with the gradients of earlier stages; without these or classes, it changes nothing."""

    enabled: bool = setting(True, help="the step is on")
    min_stride: int = setting(8, low=1, high=64, help="gradients of the first stage of each stride from this on")

    def gradient_stages(self, strides: Sequence[int]) -> list[int]:
        """The first of each stride from `min_stride` on, where features are least specific to the classes.

        Never the last stage, whose gradient is w_k everywhere.
        """
        levels = stage_levels(strides)
        firsts = [levels.index(level) for level in sorted(set(levels)) if level >= self.min_stride]
        return [index for index in firsts if index < len(strides) - 1]

    def __call__(self, maps: Tensor, reading: Reading, before: Method) -> Tensor:
        """The fused maps."""
        stages = self.gradient_stages(reading.classifier.backbone.strides)
        return self.fuse(maps, reading, stages) if stages and len(maps) else maps

    def fuse(self, maps: Tensor, reading: Reading, stages: Sequence[int]) -> Tensor:
        """Maps (K, h, w) in 0..1 -> maps (K, h, w) in 0..1, with these gradient stages of the reading, at least one."""
        raise NotImplementedError


@dataclass(frozen=True)
class GradFusion(GradientStep):
    """G_k = n(C_k + mean over l of S_l,k), S_l,k = n(sum over channels of ReLU(d y_k / d F_l))."""

    name, title = "gfm", "GFM"
    enabled: bool = setting(True, help="add what the gradients of earlier stages see")

    def fuse(self, maps: Tensor, reading: Reading, stages: Sequence[int]) -> Tensor:
        """G."""
        return fuse_gradients(maps, torch.stack([reading.gradients[stage] for stage in stages]))


def fuse_gradients(cam: Tensor, gradients: Tensor) -> Tensor:
    """G (K, h, w) from C (K, h, w) in 0..1 and the sums over channels (S, K, h, w), not normalised; S at least 1."""
    return normalise_maps(cam + normalise_maps(gradients).mean(dim=0))
