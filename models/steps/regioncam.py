"""Optional step, Region-CAM: gradients spread over similar features (Cai, Abhayaratne 2025); docs/method.md."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from models.random_walk import feature_walk
from models.reading import Reading, normalise_maps, unit_features
from models.steps.gfm import GradientStep
from utils.settings import setting


@dataclass(frozen=True)
class RegionPropagation(GradientStep):
    """A <- n(P_l n(A + S_l)), stage by stage from the deepest; P_l spreads over cells with similar features F_l."""

    name, title = "regioncam", "Region-CAM"
    enabled: bool = setting(False, help="spread gradients and maps over similar features, stage by stage")
    min_stride: int = setting(16, low=1, high=64, help="the first stage of each stride from this on")
    power: float = setting(8.0, low=0.1, high=100, help="cosines of features to this power")

    def feature_stages(self, strides: Sequence[int]) -> list[int]:
        """Those of the gradients."""
        return self.gradient_stages(strides)

    def fuse(self, maps: Tensor, reading: Reading, stages: Sequence[int]) -> Tensor:
        """The maps after the shallowest stage."""
        for stage in reversed(stages):
            start = normalise_maps(maps + normalise_maps(reading.gradients[stage]))
            unit = unit_features([reading.features[stage]])
            maps = normalise_maps(feature_walk(start, unit, power=self.power, steps=1, keep=1.0))
        return maps
