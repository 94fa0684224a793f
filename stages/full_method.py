"""Every step of a run for one image: those of the method, then those over the data set.

full = FullMethod(cfg, Path("runs/demo"), classifier, compute)
trace = full.trace(pixels, classes)      # trace.maps["gfm"], trace.maps["context"]
"""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from models.classifier import Classifier
from models.method import Trace
from stages.dataset_steps import open_steps
from stages.reading import build_method, prepare, to_seed_grid
from stages.settings import Config
from utils.compute import Compute


class FullMethod:
    """Maps of the classes that an image contains, with everything that a run has learned.

    Args:
        folder: of the run's networks; None for a classifier without a run. Steps whose networks are missing are left
            out, which the log says.
        classifier: in evaluation mode, on the device.
        fast: one size, no step that reads an image again, no network beside the classifier.
    """

    def __init__(self, cfg: Config, folder: Path | None, classifier: Classifier, compute: Compute, fast: bool = False):
        self.classifier, self.compute, self.sides = classifier, compute, cfg.seeds
        self.method = build_method(cfg, fast)
        self.steps = open_steps(cfg, folder, classifier, compute, fast) if folder is not None else []

    @property
    def titles(self) -> dict[str, str]:
        """Step -> what tables call it, in order."""
        titles = {step.name: step.title for step in self.method.steps}
        return titles | {step.name: step.title for step, _ in self.steps}

    def trace(self, pixels: Tensor, classes: Sequence[int]) -> Trace:
        """The maps after every step of an image (3, H, W) uint8, which contains these K classes."""
        image = prepare(pixels, self.classifier, self.compute, self.sides)
        with self.compute.autocast():
            trace = self.method.trace(self.classifier, image, classes)
        maps = list(trace.maps.values())[-1].float()
        for step, change in self.steps if classes else ():
            maps = change.apply_to_maps(to_seed_grid(maps, pixels.shape[-2:]), classes, pixels, self.compute).float()
            trace.maps[step.name] = maps
        return trace
