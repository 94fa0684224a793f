"""The steps over the data set, in order, and where a run's seeds are after each of them."""

import logging
from pathlib import Path
from typing import Any

from models.classifier import Classifier
from stages.config import Config
from stages.context import CONTEXT_STEP
from stages.dataset_step import DatasetStep
from stages.files import SEEDS, last_classifier
from stages.ibb import BLUR_STEP
from stages.lists import list_complete, seed_index
from stages.networks import load_classifier
from stages.reading import Change, SeedFolders, change_seeds
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


def seeds_before(cfg: Config, step: DatasetStep) -> str:
    """The folder of the seeds that a step begins with."""
    before = DATASET_STEPS[: DATASET_STEPS.index(step)]
    return next((one.folder for one in reversed(before) if one.skip(cfg) is None), SEEDS)


def last_seeds(cfg: Config) -> str:
    """The folder of the seeds after the last step."""
    return next((step.folder for step in reversed(DATASET_STEPS) if step.skip(cfg) is None), SEEDS)


def open_steps(
    cfg: Config, folder: Path, classifier: Classifier, compute: Compute, fast: bool = False
) -> list[tuple[DatasetStep, Change]]:
    """The used steps whose networks are in a folder, opened; those whose networks are missing are named in the log.

    Args:
        fast: leave out the steps that need networks beside the classifier.
    """
    opened = []
    for step in used_steps(cfg):
        files = step.files(cfg, classifier)
        if files and fast:
            continue
        if missing := [name for name in files if not is_whole(folder / name)]:
            logger.warning("the maps are without the step '%s': %s has no %s", step.title, folder, missing[0])
            continue
        change = step.open(cfg, folder, classifier)
        compute.network(change.network)
        opened.append((step, change))
    return opened


def change_list(step: DatasetStep, cfg: Config, run: Run) -> dict[str, Any]:
    """Write `seeds_NAME/ID.npz`, the seeds after the step, for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    source, target = run.path(seeds_before(cfg, step)), run.fresh_folder(step.folder)
    return {"images": len(index), "written": change_folder(step, cfg, run.folder, SeedFolders(index, source, target))}


def change_folder(step: DatasetStep, cfg: Config, networks: Path, folders: SeedFolders) -> int:
    """Take the seeds of a folder through a step, with the networks of a run folder; the number of files written."""
    change = step.open(cfg, networks, load_classifier(networks / last_classifier(cfg)))
    return change_seeds(cfg, folders, change, choose_compute(cfg), step.stage)


def fit_step(step: DatasetStep, cfg: Config, run: Run) -> dict[str, Any]:
    """Let a step learn from the seeds before it."""
    assert step.fit is not None
    return step.fit.run(cfg, run, run.path(seeds_before(cfg, step)))


def changed_complete(step: DatasetStep, cfg: Config, run: Run) -> bool:
    """Whether every image of the seed list has its file."""
    return list_complete(cfg, run.path(step.folder), ".npz")
