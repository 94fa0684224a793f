"""The steps over the data set, in order, and where a run's seeds are after each of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.classifier import Classifier
from stages.context import CONTEXT_STEP
from stages.dataset_step import DatasetStep, Fit
from stages.files import SEEDS, last_classifier
from stages.ibb import BLUR_STEP
from stages.lists import seed_index
from stages.networks import load_classifier
from stages.reading import Change, SeedFolders, change_seeds
from stages.settings import Config
from stages.walk import WALK_STEP
from utils.compute import Compute, choose_compute
from utils.files import is_whole
from utils.run import Run

logger = logging.getLogger(__name__)

DATASET_STEPS: list[DatasetStep] = [
    CONTEXT_STEP,
    BLUR_STEP,
    WALK_STEP,
]


def used_steps(cfg: Config) -> list[DatasetStep]:
    """Those that are not left out."""
    return [step for step in DATASET_STEPS if step.skip(cfg) is None]


@dataclass(frozen=True)
class LastSeeds:
    """Configuration -> the folder of the seeds after the last of some steps over the data set that is not left out."""

    steps: Sequence[DatasetStep]

    def __call__(self, cfg: Config) -> str:
        """Its name in the run folder."""
        return next((step.folder for step in reversed(self.steps) if step.skip(cfg) is None), SEEDS)


def open_steps(
    cfg: Config, folder: Path, classifier: Classifier, compute: Compute, fast: bool = False
) -> list[tuple[DatasetStep, Change]]:
    """The used steps whose networks are in a folder, opened; those whose networks are missing are named in the log.

    Args:
        fast: leave out the steps that need networks beside the classifier.
    """
    opened = []
    for step in used_steps(cfg):
        files = step.apply.files(cfg, classifier)
        if files and fast:
            continue
        if missing := [name for name in files if not is_whole(folder / name)]:
            advice = "to have it, give a checkpoint that is in its run folder"
            logger.warning(
                "the maps are without the step '%s': %s has no %s; %s", step.title, folder, missing[0], advice
            )
            continue
        change = step.apply.open(cfg, folder, classifier)
        compute.network(change.network)
        opened.append((step, change))
    return opened


def change_list(step: DatasetStep, seeds: LastSeeds, cfg: Config, run: Run) -> dict[str, Any]:
    """Write `seeds_NAME/ID.npz`, the seeds after the step, for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    folders = SeedFolders(index, run.path(seeds(cfg)), run.fresh_folder(step.folder))
    change = step.apply.open(cfg, run.folder, load_classifier(run.path(last_classifier(cfg)), index.class_names))
    return {"images": len(index), "written": change_seeds(cfg, folders, change, choose_compute(cfg), step.apply.stage)}


def fit_step(fit: Fit, seeds: LastSeeds, cfg: Config, run: Run) -> dict[str, Any]:
    """Let a step learn from the seeds before it."""
    return fit.run(cfg, run, run.path(seeds(cfg)))
