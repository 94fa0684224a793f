"""Seed and mask files against the truth: the only code that opens truth masks, with its callers.

`evaluate_seeds` and `evaluate_masks` return an `Evaluation`, `count_images` what the bootstrap needs of each image.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.artifacts import read_mask, read_seed
from data.dataset import Index, Record
from evaluation.figures import Evaluation
from evaluation.truth import check_truth, read_records
from models.pseudo import upsample
from utils.bootstrap import class_counts
from utils.distributed import total
from utils.errors import UserError
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix, ThresholdSweep

HIGHEST_THRESHOLD = 0.9  # seeds are swept from 0 to here
BATCH = 24  # masks counted together


def evaluate_seeds(index: Index, folder: Path, threshold: float, count: int, workers: int, **about: Any) -> Evaluation:
    """Sweep `count` background thresholds, from 0 to `HIGHEST_THRESHOLD`, over the seed files of `folder`.

    The configured `threshold` gets its own figures; `about` is what to state of the evaluation.

    Raises:
        UserError: a seed file or the truth is missing, or their sizes differ.
    """
    check_truth(index, workers)
    thresholds = np.unique(np.append(np.linspace(0, HIGHEST_THRESHOLD, count).round(6), threshold))
    sweep = ThresholdSweep(len(index.class_names) + 1, thresholds)
    read = partial(read_seed_pixels, folder, index.class_names)
    for _, pixels in read_records(index, read, workers, "evaluate seeds"):
        sweep.update(*pixels)
    sweep.sum_processes()
    curve = [(float(t), miou) for t, miou in zip(thresholds, sweep.curve(), strict=True) if t <= HIGHEST_THRESHOLD]
    best = max(curve, key=lambda point: point[1])[0]
    return Evaluation(
        {"kind": "seeds", "path": str(folder), **about},
        sweep.at(sweep.nearest(threshold)),
        index.class_names,
        sweep.at(sweep.nearest(best)),
        threshold,
        best,
        curve,
    )


def evaluate_masks(index: Index, folder: Path, workers: int, **about: Any) -> Evaluation:
    """Evaluate the mask files of `folder`.

    Raises:
        UserError: a mask or the truth is missing, their sizes differ, or a value is of no class.
    """
    check_truth(index, workers)
    matrix = ConfusionMatrix(len(index.class_names) + 1)
    count = partial(_count_masks, folder, index.class_names)
    for _, counted in read_records(index, count, workers, "evaluate masks", BATCH):
        matrix.add(counted)
    matrix.sum_processes()
    return Evaluation({"kind": "masks", "path": str(folder), **about}, matrix, index.class_names, matrix)


def count_images(index: Index, folder: Path, threshold: float | None, workers: int) -> np.ndarray:
    """(N, 3, C) int64 counts of each image (`utils.bootstrap.class_counts`), background being class 0.

    With a threshold seeds are counted, whose pixels have their winning class where its map is above it; else masks.
    """
    check_truth(index, workers)
    counts = np.zeros((len(index), 3, len(index.class_names) + 1), np.int64)
    count = partial(_count_image, folder, index.class_names, threshold)
    for position, row in read_records(index, count, workers, "count pixels"):
        counts[position] = row
    return total(torch.from_numpy(counts)).numpy()


def read_seed_pixels(folder: Path, class_names: Sequence[str], record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, winning map and winning mask value, (H, W) each, as `ThresholdSweep.update` takes them.

    Raises:
        UserError: the seed file or the truth is missing or damaged, or their sizes differ.
    """
    path = folder / f"{record.name}.npz"
    seed, truth = read_seed(path, class_names), record.read_truth()
    _check_values(truth, record.mask, len(class_names))
    _check_size(path, seed.size, truth)
    target = torch.from_numpy(truth)
    if not len(seed.classes):
        return target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64)
    value, winner = upsample(torch.from_numpy(seed.maps), seed.size).max(dim=0)
    return target, value, torch.from_numpy(seed.classes)[winner] + 1


def _count_masks(folder: Path, class_names: Sequence[str], *records: Record) -> ConfusionMatrix:
    """Counted where masks are read, because counts are smaller than pixels."""
    matrix = ConfusionMatrix(len(class_names) + 1)
    try:
        matrix.update_all(_read_mask(folder, class_names, record) for record in records)
    except ValueError:  # find the file only now: nearly all files are as they should be
        for record in records:
            truth, mask = _read_mask(folder, class_names, record)
            _check_values(mask, folder / f"{record.name}.png", len(class_names))
            _check_values(truth, record.mask, len(class_names))
        raise
    return matrix


def _count_image(folder: Path, class_names: Sequence[str], threshold: float | None, record: Record) -> np.ndarray:
    if threshold is None:
        matrix = _count_masks(folder, class_names, record)
    else:
        matrix = ConfusionMatrix(len(class_names) + 1)
        target, value, winner = read_seed_pixels(folder, class_names, record)
        matrix.update(target, winner * (value > threshold))
    return class_counts(matrix.counts.numpy())


def _read_mask(folder: Path, class_names: Sequence[str], record: Record) -> tuple[np.ndarray, np.ndarray]:
    path = folder / f"{record.name}.png"
    mask, truth = read_mask(path, class_names), record.read_truth()
    _check_size(path, mask.shape, truth)
    return truth, mask


def _check_values(mask: np.ndarray, path: Path | None, num_classes: int) -> None:
    strange = (mask > num_classes) & (mask != IGNORE)
    if strange.any():
        raise UserError(f"mask {path} has value {mask[strange].min()}; expected 0..{num_classes} or {IGNORE}")


def _check_size(path: Path, size: Sequence[int], truth: np.ndarray) -> None:
    if tuple(size) != truth.shape:
        raise UserError(
            f"{path} is {size[0]} x {size[1]} (height x width), its truth {truth.shape[0]} x {truth.shape[1]}; they "
            "must be of one image"
        )
