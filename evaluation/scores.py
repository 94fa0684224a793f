"""Evaluating what stages made against the truth: seed folders, mask folders, networks.

All return a `Evaluation`, which prints as a table and goes into JSON. The only code that asks a dataset for masks.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.artifacts import read_mask, read_seed
from data.dataset import Index, Record
from evaluation.figures import Evaluation
from evaluation.truth import check_truth
from models.pseudo import upsample
from utils.bootstrap import class_counts
from utils.distributed import total
from utils.errors import UserError
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix, ThresholdSweep
from utils.reading import read_once

HIGHEST_THRESHOLD = 0.9  # seeds are swept from 0 to here
BATCH = 24  # masks counted together
FEW = 500  # images, up to which loader processes take longer to start than they save, and threads do


def evaluate_seeds(
    index: Index, folder: Path, threshold: float, count: int, workers: int, **evaluated: Any
) -> Evaluation:
    """Sweep the background threshold over the seed files of `folder`.

    Args:
        index: opened with masks.
        threshold: the configured one, which gets its own figures.
        count: thresholds from 0 to `HIGHEST_THRESHOLD`, evenly.

    Raises:
        UserError: a seed file or the truth is missing, or their sizes differ.
    """
    check_truth(index, workers)
    swept = np.linspace(0, HIGHEST_THRESHOLD, count).round(6)
    thresholds = np.unique(np.append(swept, threshold))
    values = len(index.class_names) + 1
    sweep = ThresholdSweep(values, thresholds)
    for _, (target, value, winner) in _read_all(
        _Rows(index, SeedReader(folder, index.class_names)), workers, "measure seeds"
    ):
        sweep.update(target, value, winner)
    sweep.sum_processes()
    curve = [(float(t), m) for t, m in zip(thresholds, sweep.curve(), strict=True)]
    in_range = [(t, m) for t, m in curve if t <= HIGHEST_THRESHOLD]
    threshold_best = max(in_range, key=lambda point: point[1])[0]
    return Evaluation(
        {"kind": "seeds", "path": str(folder), **evaluated},
        sweep.at(sweep.nearest(threshold)),
        index.class_names,
        sweep.at(sweep.nearest(threshold_best)),
        threshold,
        threshold_best,
        in_range,
    )


def evaluate_masks(index: Index, folder: Path, workers: int, **evaluated: Any) -> Evaluation:
    """Measure the mask files of `folder`.

    Raises:
        UserError: a mask or the truth is missing, their sizes differ, or a value is of no class.
    """
    check_truth(index, workers)
    matrix = ConfusionMatrix(len(index.class_names) + 1)
    for counted in _read_all(_Batches(index, _MaskCounter(folder, index.class_names)), workers, "measure masks"):
        matrix.add(counted)
    matrix.sum_processes()
    return Evaluation({"kind": "masks", "path": str(folder), **evaluated}, matrix, index.class_names, matrix)


def count_masks(index: Index, folder: Path, workers: int) -> np.ndarray:
    """(N, 3, C) int64 counts of the mask of each image (`utils.bootstrap.class_counts`), background being class 0.

    Raises:
        UserError: as `evaluate_masks`.
    """
    check_truth(index, workers)
    rows = _read_all(_Rows(index, _MaskCounter(folder, index.class_names)), workers, "count masks")
    return _gather_counts(index, ((position, class_counts(counted.counts.numpy())) for position, counted in rows))


def count_seeds(index: Index, folder: Path, threshold: float, workers: int) -> np.ndarray:
    """As `count_masks`, for seeds: a pixel is of its winning class where that map is above the threshold."""
    check_truth(index, workers)
    values = len(index.class_names) + 1
    rows = _read_all(_Rows(index, SeedReader(folder, index.class_names)), workers, "count seeds")
    counted = (
        (position, _counts(values, target, winner * (value > threshold))) for position, (target, value, winner) in rows
    )
    return _gather_counts(index, counted)


def _gather_counts(index: Index, counted: Iterator[tuple[int, np.ndarray]]) -> np.ndarray:
    """(N, 3, C) of each image's (3, C), whichever process has counted it."""
    counts = np.zeros((len(index), 3, len(index.class_names) + 1), np.int64)
    for position, row in counted:
        counts[position] = row
    return total(torch.from_numpy(counts)).numpy()


def _counts(values: int, target: Tensor, prediction: Tensor) -> np.ndarray:
    matrix = ConfusionMatrix(values)
    matrix.update(target, prediction)
    return class_counts(matrix.counts.numpy())


class SeedReader:
    """Record -> (truth, winning map, winning mask value)."""

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.folder, self.class_names, self.num_classes = folder, class_names, len(class_names)

    def __call__(self, record: Record) -> tuple[Tensor, Tensor, Tensor]:
        """(H, W) each, as `ThresholdSweep.update` takes them.

        Raises:
            UserError: the seed file or the truth is missing or damaged, or they do not fit.
        """
        path = self.folder / f"{record.name}.npz"
        seed, target = read_seed(path, self.class_names), _truth(record, self.num_classes)
        _check_size(path, seed.size, target)
        if not len(seed.classes):
            return target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64)
        value, winner = upsample(torch.from_numpy(seed.maps), seed.size).max(dim=0)
        return target, value, torch.from_numpy(seed.classes)[winner] + 1


class _MaskCounter:
    """Records -> the counts of their masks; made where they are read, because counts are smaller than pixels."""

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.folder, self.class_names, self.num_classes = folder, class_names, len(class_names)

    def __call__(self, *records: Record) -> ConfusionMatrix:
        matrix = ConfusionMatrix(self.num_classes + 1)
        try:
            matrix.update_all(map(self._read, records))
        except ValueError:  # only now each by itself: nearly all files are as they should be
            for record in records:
                _check_values(read_mask(self._path(record), self.class_names), self._path(record), self.num_classes)
                _truth(record, self.num_classes)
            raise
        return matrix

    def _read(self, record: Record) -> tuple[np.ndarray, np.ndarray]:
        mask, truth = read_mask(self._path(record), self.class_names), record.read_truth()
        _check_size(self._path(record), mask.shape, truth)
        return truth, mask

    def _path(self, record: Record) -> Path:
        return self.folder / f"{record.name}.png"


class _Rows(Dataset):
    """(position, what the reader makes of the record) of each image."""

    def __init__(self, index: Index, reader: Callable[..., Any]):
        self.records, self.reader = index.records, reader

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, position: int) -> tuple[int, Any]:
        return position, self.reader(self.records[position])


class _Batches(Dataset):
    """What the reader makes of `BATCH` records at a time."""

    def __init__(self, index: Index, reader: Callable[..., Any]):
        self.records, self.reader = index.records, reader

    def __len__(self) -> int:
        return -(-len(self.records) // BATCH)

    def __getitem__(self, number: int) -> Any:
        return self.reader(*self.records[number * BATCH : (number + 1) * BATCH])


def _read_all(items: _Rows | _Batches, workers: int, title: str) -> Iterator[Any]:
    return read_once(items, range(len(items)), workers, title, threads=len(items.records) <= FEW)


def _truth(record: Record, num_classes: int) -> Tensor:
    truth = record.read_truth()
    _check_values(truth, record.mask or record.image, num_classes)
    return torch.from_numpy(truth)


def _check_values(mask: np.ndarray, path: Path, num_classes: int) -> None:
    strange = (mask > num_classes) & (mask != IGNORE)
    if strange.any():
        raise UserError(f"mask {path} has value {mask[strange].min()}; expected 0..{num_classes} or {IGNORE}")


def _check_size(path: Path, size: Sequence[int], target: Tensor | np.ndarray) -> None:
    if tuple(size) != tuple(target.shape):
        raise UserError(
            f"{path} is {size[0]} x {size[1]} (height x width), its truth {target.shape[0]} x {target.shape[1]}; they must be of one image"
        )
