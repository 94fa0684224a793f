"""The method for one image: the steps of `models/steps`, one after the other (docs/method.md 0 to 3).

method = Method([step() for step in STEPS])
maps = method(classifier, image, classes=[0, 14])      # (2, h, w) in 0..1, after the last step
trace = method.trace(classifier, image, [0, 14])
trace.maps["gfm"]                                      # the same after step GFM
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from models.classifier import Classifier
from models.reading import Reading
from models.steps import ClassActivationMap
from models.steps.base import Step, StepSequence


@dataclass(frozen=True)
class Trace:
    """What the steps make of one image."""

    maps: dict[str, Tensor]  # step -> (K, h, w) in 0..1; each equals the result of a method without the later steps
    shown: dict[str, list[Tensor]]  # step -> images (3, H, W) that it has made on the way, such as blurred ones
    logits: Tensor  # (C,) the classifier's, of the image itself


class Method:
    """Maps of the classes that an image is known to contain, by the enabled ones of these steps.

    The first step is the class activation map, which says how an image is read (`views`).
    """

    def __init__(self, steps: Sequence[Step]):
        self.steps = tuple(step for step in steps if step.is_enabled)
        first = self.steps[0]
        if not isinstance(first, ClassActivationMap):
            raise ValueError(f"the first step must be the class activation map, found {first.name}")
        self.views = first.views

    def __call__(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Tensor:
        """The maps after the last step, (K, h, w) float32 in 0..1 on the grid of `models.reading.map_size`.

        The image is (3, H, W), normalised, on the device of the classifier, and contains these K classes.
        """
        return list(self.trace(classifier, image, classes).maps.values())[-1]

    def read(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Reading:
        """The classifier's reading of the image: its maps, and the gradients and features that the steps need."""
        return StepSequence(classifier, self.steps, self.views).read(image, classes)

    def trace(
        self, classifier: Classifier, image: Tensor, classes: Sequence[int], reading: Reading | None = None
    ) -> Trace:
        """As calling it, with the maps of every step; `reading` is what `read` gives, where it is known already."""
        reading = reading or self.read(classifier, image, classes)
        maps = StepSequence(classifier, self.steps, self.views).maps(reading)
        return Trace(maps, reading.shown, reading.logits)
