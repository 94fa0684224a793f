"""Step 0, CAM: what convinces the classifier (Zhou et al., CVPR 2016); docs/method.md 0."""

from dataclasses import dataclass

from torch import Tensor

from models.method import Method, Step
from models.reading import MAP_STRIDE, Reading, Views, normalise_maps
from utils.settings import setting


@dataclass(frozen=True)
class ClassActivationMap(Step):
    """C_k = n(sum over scales and flip of ReLU(w_k . F_L))."""

    name, title = "cam", "CAM"
    scales: tuple[float, ...] = setting(
        (1.0, 0.5, 1.5, 2.0), low=0.1, high=8, help="maps are read at these sizes (IRN: 1, 0.5, 1.5, 2)"
    )
    flip: bool = setting(True, help="and mirrored")
    map_stride: int = setting(
        MAP_STRIDE,
        low=2,
        high=32,
        help="a cell of the maps for so many pixels; 4 for objects of few pixels, with a scale of 2",
    )

    @property
    def views(self) -> Views:
        """How an image is read."""
        return Views(self.scales, self.flip, self.map_stride)

    def __call__(self, maps: Tensor, reading: Reading, before: Method) -> Tensor:
        """C, whatever the maps before it."""
        return normalise_maps(reading.cam)
