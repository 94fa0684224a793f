"""The figures of a network that a checkpoint holds: a segmentation network, or a classifier with every step that its run has."""

from pathlib import Path
from typing import Any

from data.dataset import Index
from evaluation.ablation import GIVEN, PREDICTED, write_ablation
from evaluation.figures import Evaluation
from evaluation.predictions import evaluate_predictions, write_predictions
from evaluation.rows import SeedRow, change_rows, evaluate_row, method_rows
from models.classifier import Classifier
from models.segmenter import Segmenter
from stages.config import Config
from stages.dataset_steps import open_steps
from utils.compute import choose_compute


def evaluate_network(
    network: Classifier | Segmenter, source: Path, index: Index, folder: Path, cfg: Config, about: dict[str, Any]
) -> dict[str, Evaluation]:
    """Run a network over a list and evaluate it, with predicted classes (first) and limited to the given labels.

    Args:
        source: its file; a classifier's steps over the data set take their networks from the folder of this file.
        index: opened with masks.
        folder: where the files go.
        about: what to state of the evaluation.
    """
    if isinstance(network, Segmenter):
        write_predictions(network, index, folder, cfg)
        masks = evaluate_predictions(index, folder, cfg, **about)
        return {f"segmentation, {name} labels": evaluation for name, evaluation in masks.items()}
    rows = classifier_rows(network, source, index, folder, cfg)
    last = {row.labels: row for row in rows}
    chosen = [last[PREDICTED], *(row for row in rows if row.labels == GIVEN)]
    return {row.title: evaluate_row(row, index, cfg, **about) for row in chosen}


def classifier_rows(network: Classifier, source: Path, index: Index, folder: Path, cfg: Config) -> list[SeedRow]:
    """Write the maps of a classifier after every step whose networks are there; all rows."""
    write_ablation(network, index, folder, cfg)
    steps = open_steps(cfg, source.parent, network, choose_compute(cfg), cfg.infer.quality == "fast")
    return change_rows(method_rows(cfg, folder), steps, cfg, index, folder / "steps")
