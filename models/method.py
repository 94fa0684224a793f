"""The method for one image: steps, from the maps before each to the maps after it (docs/method.md 0 to 3).

    method = Method([step() for step in STEPS])
    maps = method(classifier, image, classes=[0, 14])      # (2, h, w) in 0..1, after the last step
    trace = method.trace(classifier, image, [0, 14])
    trace.maps["gfm"]                                      # the same after step GFM

A step is a small class with its settings:

    @dataclass(frozen=True)
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
from dataclasses import dataclass
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

    @property
    def views(self) -> Views:
        """How a method that begins with this step reads an image."""
        raise ValueError(f"the first step must be the class activation map, found {self.name}")

    def gradient_stages(self, strides: Sequence[int]) -> list[int]:
        """Which of the backbone's stages it needs gradients of, as indices."""
        return []

    def feature_stages(self, strides: Sequence[int]) -> list[int]:
        """Which of the backbone's stages it needs features of, as indices."""
        return []

    def __call__(self, maps: Tensor, reading: Reading, before: "Method") -> Tensor:
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

    def __call__(self, maps: Tensor, reading: Reading, before: "Method") -> Tensor:
        """The changed maps; the maps themselves where there is nothing to compare."""
        stages = self.feature_stages(reading.classifier.backbone.strides)
        if not stages or not len(maps):
            return maps
        return self.change(maps, unit_features([reading.features[stage] for stage in stages]))

    def change(self, maps: Tensor, unit: Tensor) -> Tensor:
        """Maps (K, h, w), K at least 1, by features (D, h, w) as `models.reading.unit_features` gives them."""
        raise NotImplementedError


@dataclass(frozen=True)
class Trace:
    """What the steps make of one image."""

    maps: dict[str, Tensor]  # step -> (K, h, w) in 0..1; each equals the result of a method without the later steps
    shown: dict[str, list[Tensor]]  # step -> images (3, H, W) that it has made on the way, such as blurred ones
    logits: Tensor  # (C,) the classifier's, of the image itself


class Method:
    """Maps of the classes that an image is known to contain, by the enabled ones of these steps.

    Images are read as `views` say; None: as the first step says, which is the class activation map.
    """

    def __init__(self, steps: Sequence[Step], views: Views | None = None):
        self.steps = tuple(step for step in steps if step.is_enabled)
        self.views = views or self.steps[0].views

    def __call__(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Tensor:
        """The maps after the last step, (K, h, w) float32 in 0..1 on the grid of `models.reading.map_size`.

        The image is (3, H, W), normalised, on the device of the classifier, and contains these K classes.
        """
        return list(self.trace(classifier, image, classes).maps.values())[-1]

    def read(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Reading:
        """The classifier's reading of the image: its maps, and the gradients and features that the steps need."""
        strides = classifier.backbone.strides
        gradient_stages = sorted({stage for step in self.steps for stage in step.gradient_stages(strides)})
        feature_stages = sorted({stage for step in self.steps for stage in step.feature_stages(strides)})
        return read(classifier, image, classes, self.views, gradient_stages, feature_stages)

    def trace(
        self, classifier: Classifier, image: Tensor, classes: Sequence[int], reading: Reading | None = None
    ) -> Trace:
        """As calling it, with the maps of every step; `reading` is what `read` gives, where it is known already."""
        reading = reading or self.read(classifier, image, classes)
        found: dict[str, Tensor] = {}
        maps = torch.zeros_like(reading.cam)
        for index, step in enumerate(self.steps):
            maps = found[step.name] = step(maps, reading, Method(self.steps[:index], self.views))
        return Trace(found, reading.shown, reading.logits)

    def repeat(self, maps: Tensor, reading: Reading) -> Tensor:
        """The maps after those of these steps that are `repeated_by_blur`, with the features of `reading`."""
        for index, step in enumerate(self.steps):
            if step.repeated_by_blur:
                maps = step(maps, reading, Method(self.steps[:index], self.views))
        return maps
