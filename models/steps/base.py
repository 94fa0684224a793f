"""What a step of the method is: a small class with its settings, from the maps before it to the maps after it.

    class Sharpen(Step):
        name, title = "sharpen", "sharpening"
        enabled: bool = setting(True, help="raise the maps to a power")
        power: float = setting(2.0, low=0.1, high=10, help="the power")

        def __call__(self, maps, reading, before):
            return maps**self.power

Add the class to `STEPS` (models/steps/__init__.py). The configuration, the ablation, the report and infer.py follow
from there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from models.chain import stages_of_strides
from models.classifier import Classifier
from models.reading import Reading, Views, read, unit_features


@dataclass(frozen=True)
class Step:
    """A step of the method for one image. A subclass is a frozen dataclass, too, and its fields are its settings."""

    name: ClassVar[str]  # its section in the configuration, and the folder of its maps in the ablation
    title: ClassVar[str]  # what tables call it
    repeated_by_blur: ClassVar[bool] = False  # IBB applies it once more, to the mean of its rounds; without gradients
    reads_other_images: ClassVar[bool] = False  # than the one given; `infer.quality: fast` leaves such a step out

    @property
    def is_enabled(self) -> bool:
        """The setting `enabled`; a step without this setting is always on."""
        return bool(getattr(self, "enabled", True))

    def gradient_stages(self, strides: Sequence[int]) -> list[int]:
        """Which of the backbone's stages it needs gradients of, as indices."""
        return []

    def feature_stages(self, strides: Sequence[int]) -> list[int]:
        """Which of the backbone's stages it needs features of, as indices."""
        return []

    def __call__(self, maps: Tensor, reading: Reading, before: "StepSequence") -> Tensor:
        """The maps (K, h, w) in 0..1 after this step, from those of the step before and the reading of the image.

        `before` are the steps before this one; called with another image, they give its maps.
        """
        raise NotImplementedError


class SimilarityStep(Step):
    """A step that compares features of the first stage of each of `strides`, a setting of the subclass."""

    strides: tuple[int, ...]

    def feature_stages(self, strides: Sequence[int]) -> list[int]:
        """The first of each of `strides`."""
        return stages_of_strides(strides, self.strides, f"{self.name}.strides")

    def __call__(self, maps: Tensor, reading: Reading, before: "StepSequence") -> Tensor:
        """The changed maps; the maps themselves where there is nothing to compare."""
        stages = self.feature_stages(reading.strides)
        if not stages or not len(maps):
            return maps
        return self.change(maps, unit_features([reading.features[stage] for stage in stages]))

    def change(self, maps: Tensor, unit: Tensor) -> Tensor:
        """Maps (K, h, w), K at least 1, by features (D, h, w) as `models.reading.unit_features` gives them."""
        raise NotImplementedError


@dataclass(frozen=True)
class StepSequence:
    """Steps in their order, the classifier, and how it reads an image for them."""

    classifier: Classifier
    steps: tuple[Step, ...]
    views: Views

    def __call__(self, image: Tensor, classes: Sequence[int], scales: Sequence[float]) -> Tensor:
        """The maps (K, h, w) after these steps of another image (3, H, W)."""
        other = replace(self, views=replace(self.views, scales=scales))
        return list(other.maps(other.read(image, classes)).values())[-1]

    def read(self, image: Tensor, classes: Sequence[int]) -> Reading:
        """One reading of an image with everything that these steps need."""
        strides = self.classifier.backbone.strides
        gradient_stages = sorted({stage for step in self.steps for stage in step.gradient_stages(strides)})
        feature_stages = sorted({stage for step in self.steps for stage in step.feature_stages(strides)})
        return read(self.classifier, image, classes, self.views, gradient_stages, feature_stages)

    def maps(self, reading: Reading) -> dict[str, Tensor]:
        """The maps (K, h, w) after each step, by its name."""
        found: dict[str, Tensor] = {}
        maps = torch.zeros_like(reading.cam)
        for index, step in enumerate(self.steps):
            maps = found[step.name] = step(maps, reading, replace(self, steps=self.steps[:index]))
        return found

    def repeat(self, maps: Tensor, reading: Reading) -> Tensor:
        """The maps after those of these steps that are `repeated_by_blur`, with the features of `reading`."""
        for index, step in enumerate(self.steps):
            if step.repeated_by_blur:
                maps = step(maps, reading, replace(self, steps=self.steps[:index]))
        return maps
