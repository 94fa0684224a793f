"""Measuring what stages made against the truth: seed folders, mask folders, networks.

All return a `Evaluation`, which prints as a table and goes into JSON. The only code that asks a dataset for masks.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.artifacts import IGNORE, read_mask, read_seed
from data.dataset import Index, Record
from evaluation.truth import check_truth
from models.pseudo import upsample
from utils.bootstrap import class_counts
from utils.distributed import total
from utils.errors import UserError
from utils.metrics import ConfusionMatrix, ThresholdSweep
from utils.reading import read_once

HIGHEST_THRESHOLD = 0.6  # seeds are swept from 0 to here
BATCH = 24  # masks counted together
FEW = 500  # images, up to which loader processes take longer to start than they save, and threads do


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of masks or seeds.

    Attributes:
        evaluated: what was measured: kind, path, list, labels given or predicted, backbone, scales and the like.
        matrix: counts at the configured threshold (seeds) or of the masks.
        class_names: foreground classes.
        threshold: the configured one; None for masks.
        curve: (threshold, mIoU) pairs; empty for masks.
        best: counts at the best threshold; the same as `matrix` for masks.
        threshold_best: where the curve is highest; None for masks.
    """

    evaluated: dict[str, Any]
    matrix: ConfusionMatrix
    class_names: tuple[str, ...]
    best: ConfusionMatrix
    threshold: float | None = None
    threshold_best: float | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        """What `--json` writes; shares and IoU in 0..1, null where a class is in neither truth nor prediction."""
        names = ("background", *self.class_names)
        return {
            "miou": self.matrix.miou(),
            "threshold": self.threshold,
            "miou_best": self.best.miou(),
            "threshold_best": self.threshold_best,
            "over_activation": self.matrix.over_activation(),
            "under_activation": self.matrix.under_activation(),
            "over_activation_best": self.best.over_activation(),
            "under_activation_best": self.best.under_activation(),
            "per_class": {name: row for name, row in zip(names, self._rows(), strict=True)},
            "n_images": self.matrix.n_images,
            "ignored_predictions": self.matrix.ignored_predictions,
            "curve": self.curve,
            "evaluated": self.evaluated,
        }

    def table(self) -> str:
        """The figures for people, in per cent."""
        lines = [f"{name}: {value}" for name, value in self.evaluated.items() if value not in ("", None)]
        lines += ["", f"{'class':24}{'IoU':>8}{'over':>8}{'under':>8}"]
        for name, row in zip(("background", *self.class_names), self._rows(), strict=True):
            if row["iou"] is not None:
                lines.append(
                    f"{name:24}"
                    + "".join(f"{_percent(row[key]):>8}" for key in ("iou", "over_activation", "under_activation"))
                )
        at = "" if self.threshold is None else f" at threshold {self.threshold:g}"
        lines += [
            "",
            f"mIoU {_percent(self.matrix.miou())}{at}, over-activation {_percent(self.matrix.over_activation())}, "
            f"under-activation {_percent(self.matrix.under_activation())} ({self.matrix.n_images} images)",
        ]
        if self.threshold_best is not None:
            lines.append(
                f"mIoU {_percent(self.best.miou())} at the best threshold {self.threshold_best:g}, over-activation "
                f"{_percent(self.best.over_activation())}, under-activation {_percent(self.best.under_activation())}"
            )
            lines.append(
                "curve: "
                + "  ".join(
                    f"{threshold:g}: {_percent(miou)}"
                    for threshold, miou in self.curve[:: max(1, len(self.curve) // 12)]
                )
            )
        if self.matrix.ignored_predictions:
            lines.append(f"{self.matrix.ignored_predictions} pixels marked 255 in the masks were counted as background")
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, float | None]]:
        """Per class: IoU; over-activation, the share of background pixels given it; under-activation, the share of its pixels lost to background."""
        counts, iou = self.matrix.counts.double(), self.matrix.iou()
        rows = []
        for value in range(len(counts)):
            over = counts[0, value] / counts[0].sum() if value else counts[0, 1:].sum() / counts[0].sum()
            under = counts[value, 0] / counts[value].sum() if value else counts[1:, 0].sum() / counts[1:].sum()
            rows.append(
                {"iou": _finite(iou[value]), "over_activation": _finite(over), "under_activation": _finite(under)}
            )
        return rows


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


def _finite(value: Tensor) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"
