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

from models.classifier import Classifier
from models.reading import Reading, Views, read, stages_of_strides, unit_features


@dataclass(frozen=True)
class Step:
    """A step of the method for one image. A subclass is a frozen dataclass, too, and its fields are its settings.

    Attributes:
        name: its section in the configuration, and the folder of its maps in the ablation.
        title: what tables call it.
        again: whether IBB applies it once more, to the mean of its rounds. Such a step needs no gradients.
        reads_again: whether it reads other images than the one given, which takes time; `infer.quality: fast` leaves it
            out.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    again: ClassVar[bool] = False
    reads_again: ClassVar[bool] = False

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

    def __call__(self, maps: Tensor, reading: Reading, before: "Before") -> Tensor:
        """The maps after this step.

        Args:
            maps: (K, h, w) in 0..1, of the step before.
            reading: the classifier's reading of the image.
            before: the steps before this one, to read another image with them.

        Returns:
            (K, h, w) in 0..1.
        """
        raise NotImplementedError


class SimilarityStep(Step):
    """A step that compares features of the first stage of each of `strides`, a setting of the subclass."""

    strides: tuple[int, ...]

    def feature_stages(self, strides: Sequence[int]) -> list[int]:
        """The first of each of `strides`."""
        return stages_of_strides(strides, self.strides, f"{self.name}.strides")

    def __call__(self, maps: Tensor, reading: Reading, before: "Before") -> Tensor:
        """The changed maps; the maps themselves where there is nothing to compare."""
        stages = self.feature_stages(reading.strides)
        if not stages or not len(maps):
            return maps
        return self.change(maps, unit_features([reading.features[stage] for stage in stages]))

    def change(self, maps: Tensor, unit: Tensor) -> Tensor:
        """Maps (K, h, w), K at least 1, by features (D, h, w) as `models.reading.unit_features` gives them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Before:
    """The steps before a step, and how the image is read."""

    classifier: Classifier
    steps: tuple[Step, ...]
    views: Views

    def __call__(self, image: Tensor, classes: Sequence[int], scales: Sequence[float]) -> Tensor:
        """The maps (K, h, w) after these steps of another image (3, H, W)."""
        views = replace(self.views, scales=scales)
        reading = read_for(self.steps, self.classifier, image, classes, views)
        return list(run_steps(self.steps, self.classifier, reading, views).values())[-1]

    def again(self, maps: Tensor, reading: Reading) -> Tensor:
        """Maps after those of these steps that are to be applied again, with the features of `reading`."""
        for index, step in enumerate(self.steps):
            if step.again:
                maps = step(maps, reading, Before(self.classifier, self.steps[:index], self.views))
        return maps


def read_for(
    steps: Sequence[Step], classifier: Classifier, image: Tensor, classes: Sequence[int], views: Views
) -> Reading:
    """One reading of an image with everything that these steps need."""
    strides = classifier.backbone.strides
    gradient_stages = sorted({stage for step in steps for stage in step.gradient_stages(strides)})
    feature_stages = sorted({stage for step in steps for stage in step.feature_stages(strides)})
    return read(classifier, image, classes, views, gradient_stages, feature_stages)


def run_steps(steps: Sequence[Step], classifier: Classifier, reading: Reading, views: Views) -> dict[str, Tensor]:
    """The maps (K, h, w) after each step, by its name."""
    found: dict[str, Tensor] = {}
    maps = torch.zeros_like(reading.cam)
    for index, step in enumerate(steps):
        maps = step(maps, reading, Before(classifier, tuple(steps[:index]), views))
        found[step.name] = maps
    return found
