"""The rows of tables and pages: CAM and what each step adds, in the order of the lists of steps, with their files."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.dataset import Index
from evaluation.ablation import GIVEN, PREDICTED, READ_IMAGES, write_ablation
from evaluation.figures import Evaluation
from evaluation.predictions import evaluate_predictions, write_predictions
from evaluation.scores import evaluate_seeds
from models.classifier import Classifier
from models.method import Method
from models.segmenter import Segmenter
from stages.config import Config
from stages.dataset_step import DatasetStep
from stages.dataset_steps import open_steps, used_steps
from stages.files import ABLATION, CHANGED_ABLATION, PREDICTIONS, PSEUDO, PSEUDO_ABLATION, SEEDS
from stages.reading import Change, SeedFolders, build_method, change_seeds
from utils.compute import reading_compute

PSEUDO_ROW = "pseudo masks"


@dataclass(frozen=True)
class SeedRow:
    """A row whose files `folder/ID.npz` are maps; `labels` is `given` or `predicted`."""

    title: str
    labels: str
    folder: Path


@dataclass(frozen=True)
class ImageRow:
    """Files of a run that its page draws, one or more for each image."""

    title: str  # on the page
    folder: str  # of the run folder, with `ID.npz` (maps), `ID.png` (a mask) or `ID.1.webp`, `ID.2.webp`, ... (images)
    as_map: bool = False  # whether maps are drawn as maps
    threshold: float | None = None  # where maps are cut into a mask; None draws no mask of them


def method_rows(method: Method, folder: Path) -> list[SeedRow]:
    """The rows of what `write_ablation` has written into a folder."""
    first, *others = method.steps
    titles = {first.name: first.title} | {step.name: f"+ {step.title}" for step in others}
    given = [SeedRow(title, GIVEN, folder / GIVEN / name) for name, title in titles.items()]
    last = method.steps[-1]
    return [*given, SeedRow(f"{last.title}, predicted labels", PREDICTED, folder / PREDICTED / last.name)]


def step_rows(step: DatasetStep, folder: Path) -> dict[str, SeedRow]:
    """The rows of a step over the data set, by labels."""
    titles = {GIVEN: f"+ {step.title}", PREDICTED: f"{step.title}, predicted labels"}
    return {labels: SeedRow(title, labels, folder / labels / step.name) for labels, title in titles.items()}


def change_rows(
    rows: Sequence[SeedRow], steps: Sequence[tuple[DatasetStep, Change]], cfg: Config, index: Index, folder: Path
) -> list[SeedRow]:
    """Take the last maps of each kind of labels through opened steps over the data set; all rows, the new ones last."""
    found, last, compute = list(rows), {row.labels: row for row in rows}, reading_compute(cfg)
    for step, change in steps:
        for labels, row in step_rows(step, folder).items():
            change_seeds(cfg, SeedFolders(index, last[labels].folder, row.folder), change, compute, step.apply.stage)
            found.append(row)
            last[labels] = row
    return found


def evaluate_row(row: SeedRow, index: Index, cfg: Config, method: Method, **about: Any) -> Evaluation:
    """The figures of a row, whose maps the method has read."""
    about |= {"labels": row.labels, "scales": list(method.views.scales), "flip": method.views.flip, "crf": "none"}
    return evaluate_seeds(index, row.folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **about)


def classifier_rows(network: Classifier, source: Path, index: Index, folder: Path, cfg: Config) -> list[SeedRow]:
    """Write the maps of a classifier after every step whose networks lie beside its file `source`; all rows."""
    fast = cfg.infer.quality == "fast"
    method = build_method(cfg, fast)
    write_ablation(network, index, folder, cfg, method)
    steps = open_steps(cfg, source.parent, network, reading_compute(cfg), fast)
    return change_rows(method_rows(method, folder), steps, cfg, index, folder / "steps")


def evaluate_network(
    network: Classifier | Segmenter, source: Path, index: Index, folder: Path, cfg: Config, about: dict[str, Any]
) -> dict[str, Evaluation]:
    """Run a network over a list and evaluate it, with predicted classes (first) and limited to the given labels.

    Args:
        source: its file; a classifier's steps over the data set take their networks from the folder of this file.
        index: opened with masks.
        folder: where its masks or maps go.
        about: what to state of the evaluation.
    """
    if isinstance(network, Segmenter):
        quality = "fast" if cfg.infer.quality == "fast" else "best"  # as protocols have it, at all sizes
        cfg = replace(cfg, segment_reading=cfg.segment_reading.at(quality))
        write_predictions(network, index, folder, cfg)
        return evaluate_predictions(index, folder, cfg, **about)
    rows = classifier_rows(network, source, index, folder, cfg)
    last = [row for row in rows if row.labels == PREDICTED][-1]
    method = build_method(cfg, cfg.infer.quality == "fast")
    chosen = [last, *(row for row in rows if row.labels == GIVEN)]
    return {row.title: evaluate_row(row, index, cfg, method, **about) for row in chosen}


def validation_images(cfg: Config, figures: dict[str, Any]) -> list[ImageRow]:
    """The files that `report.json` has figures of. The first and the last maps are drawn as maps, too."""
    seeds = [row for row in method_rows(build_method(cfg), Path(ABLATION)) if row.labels == GIVEN]
    seeds += [step_rows(step, Path(CHANGED_ABLATION))[GIVEN] for step in used_steps(cfg)]
    rows = [(row.title, str(row.folder)) for row in seeds]
    rows += [(PSEUDO_ROW, PSEUDO_ABLATION), ("segmentation, predicted labels", f"{PREDICTIONS}/{PREDICTED}")]
    found = [(title, folder, figures[title]["threshold_best"]) for title, folder in rows if title in figures]
    maps = [title for title, _, threshold in found if threshold is not None]
    ends = (*maps[:1], *maps[-1:])
    drawn = [ImageRow(title, folder, title in ends, threshold) for title, folder, threshold in found]
    return drawn + [ImageRow(f"{step.title}: image", f"{ABLATION}/{READ_IMAGES}/{step.name}") for step in cfg.steps]


def training_images(cfg: Config) -> list[ImageRow]:
    """What the stages make for the images of the training list."""
    steps = [ImageRow(f"seed + {step.title}", step.folder, as_map=True) for step in used_steps(cfg)]
    return [ImageRow("seed", SEEDS, as_map=True), *steps, ImageRow("pseudo mask", PSEUDO)]
