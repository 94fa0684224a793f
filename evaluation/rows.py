"""The rows of the ablation: CAM and what each step adds, in the order of the lists of steps, with the folders of their maps."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.dataset import Index
from evaluation.ablation import GIVEN, PREDICTED
from evaluation.figures import Evaluation
from evaluation.scores import evaluate_seeds
from stages.config import Config
from stages.dataset_step import DatasetStep
from stages.reading import Change, SeedFolders, build_method, change_seeds
from utils.compute import choose_compute


@dataclass(frozen=True)
class SeedRow:
    """A row whose files are maps.

    Attributes:
        title: what tables call it.
        labels: `given` or `predicted`.
        folder: of its files `ID.npz`.
    """

    title: str
    labels: str
    folder: Path


def method_rows(cfg: Config, folder: Path) -> list[SeedRow]:
    """The rows of what `write_ablation` has written into a folder."""
    steps = build_method(cfg).steps
    first, *others = steps
    titles = {first.name: first.title} | {step.name: f"+ {step.title}" for step in others}
    given = [SeedRow(title, GIVEN, folder / GIVEN / name) for name, title in titles.items()]
    return [*given, SeedRow(f"{steps[-1].title}, predicted labels", PREDICTED, folder / PREDICTED / steps[-1].name)]


def step_rows(step: DatasetStep, folder: Path) -> dict[str, SeedRow]:
    """The rows of a step over the data set, by labels."""
    return {
        GIVEN: SeedRow(f"+ {step.title}", GIVEN, folder / GIVEN / step.name),
        PREDICTED: SeedRow(f"{step.title}, predicted labels", PREDICTED, folder / PREDICTED / step.name),
    }


def change_rows(
    rows: Sequence[SeedRow], steps: Sequence[tuple[DatasetStep, Change]], cfg: Config, index: Index, folder: Path
) -> list[SeedRow]:
    """Take the last maps of each kind of labels through opened steps over the data set; all rows, the new ones last."""
    found, last, compute = list(rows), {row.labels: row for row in rows}, choose_compute(cfg)
    for step, change in steps:
        for labels, row in step_rows(step, folder).items():
            change_seeds(cfg, SeedFolders(index, last[labels].folder, row.folder), change, compute, step.apply.stage)
            found.append(row)
            last[labels] = row
    return found


def evaluate_row(row: SeedRow, index: Index, cfg: Config, **about: Any) -> Evaluation:
    """The figures of a row."""
    cam = cfg.step("cam")
    about |= {"labels": row.labels, "scales": list(cam.scales), "flip": cam.flip, "crf": "none"}
    return evaluate_seeds(index, row.folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **about)
