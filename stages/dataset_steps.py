"""The steps over the data set, in order; the folder of the seeds after each; all steps of a run for one image."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from data.hints import open_hints
from models.classifier import Classifier
from models.method import Trace
from stages.context import CONTEXT_STEP
from stages.files import SEEDS, last_classifier, seed_index
from stages.ibb import BLUR_STEP
from stages.networks import load_classifier
from stages.reading import Change, DatasetStep, Fit, SeedFolders, build_method, change_seeds, prepare, to_seed_grid
from stages.settings import Config
from stages.walk import WALK_STEP
from utils.compute import Compute, reading_compute
from utils.files import is_whole
from utils.run import Run

logger = logging.getLogger(__name__)

DATASET_STEPS: list[DatasetStep] = [CONTEXT_STEP, BLUR_STEP, WALK_STEP]


def used_steps(cfg: Config) -> list[DatasetStep]:
    """Those that are not left out."""
    return [step for step in DATASET_STEPS if step.skip(cfg) is None]


def last_seeds(steps: Sequence[DatasetStep], cfg: Config) -> str:
    """The folder of the seeds after the last of some steps over the data set that is not left out."""
    return next((step.folder for step in reversed(steps) if step.skip(cfg) is None), SEEDS)


def open_steps(
    cfg: Config, folder: Path, classifier: Classifier, compute: Compute, fast: bool = False
) -> list[tuple[DatasetStep, Change]]:
    """The used steps whose networks are in a folder, opened; those whose networks are missing are named in the log.

    With `fast` those that need networks beside the classifier are left out.
    """
    opened = []
    for step in used_steps(cfg):
        files = step.apply.files(cfg, classifier)
        if files and fast:
            continue
        if missing := [name for name in files if not is_whole(folder / name)]:
            text = "the maps are without the step '%s': %s has no %s; give a checkpoint that is in its run folder"
            logger.warning(text, step.title, folder, missing[0])
            continue
        change = step.apply.open(cfg, folder, classifier)
        compute.network(change.network)
        opened.append((step, change))
    return opened


def change_list(step: DatasetStep, before: Sequence[DatasetStep], cfg: Config, run: Run) -> dict[str, Any]:
    """Write `seeds_NAME/ID.npz`, the seeds after the step, for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    hints = open_hints(cfg.data, index)
    folders = SeedFolders(index, run.path(last_seeds(before, cfg)), run.fresh_folder(step.folder), hints)
    change = step.apply.open(cfg, run.folder, load_classifier(run.path(last_classifier(cfg)), index.class_names))
    return {"images": len(index), "written": change_seeds(cfg, folders, change, reading_compute(cfg), step.apply.stage)}


def fit_step(fit: Fit, before: Sequence[DatasetStep], cfg: Config, run: Run) -> dict[str, Any]:
    """Let a step learn from the seeds after those before it."""
    return fit.run(cfg, run, run.path(last_seeds(before, cfg)))


class FullMethod:
    """Maps of the classes that an image contains, with everything that a run has learned: `trace(..).maps["context"]`.

    The run's networks are in `folder`; None: the classifier has no run. The classifier is in evaluation mode, on the
    device. With `fast`: one size, no step that reads an image again, no network beside the classifier.
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
