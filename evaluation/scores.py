"""Seed and mask files evaluated against the truth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from data.artifacts import read_mask, read_seed
from data.dataset import Index, Record
from evaluation.truth import check_truth, read_records
from models.pseudo import upsample
from utils.bootstrap import class_counts
from utils.distributed import total
from utils.errors import UserError
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix, ThresholdSweep

HIGHEST_THRESHOLD = 0.9  # seeds are swept from 0 to here
BATCH = 24  # masks counted together
COLUMNS = {  # of the table: title -> figure of a class
    "IoU": "iou",
    "over": "over_activation",
    "under": "under_activation",
    "precision": "precision",
    "recall": "recall",
    "found": "found",  # of the images with the class, those whose mask touches it
    "right": "drawn_right",  # of the images whose mask has the class, those where it touches it
}


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of masks or seeds."""

    about: dict[str, Any]  # what was evaluated: kind, path, list, labels, backbone, scales and the like
    matrix: ConfusionMatrix  # at the configured threshold (seeds) or of the masks
    class_names: tuple[str, ...]  # foreground classes
    best: ConfusionMatrix  # at the best threshold; the same as `matrix` for masks
    threshold: float | None = None  # the configured one; None for masks
    threshold_best: float | None = None  # where the curve is highest; None for masks
    curve: list[tuple[float, float]] = field(default_factory=list)  # (threshold, mIoU) pairs; empty for masks

    def figures(self) -> dict[str, Any]:
        """What `--json` writes; ratios and IoU in 0..1, null where a class is in neither truth nor prediction."""
        figures: dict[str, Any] = {"threshold": self.threshold, "threshold_best": self.threshold_best}
        for end, matrix in (("", self.matrix), ("_best", self.best)):
            figures[f"miou{end}"] = finite(matrix.miou())
            figures[f"miou_classes{end}"] = finite(matrix.miou_of_classes())
            figures[f"over_activation{end}"] = finite(matrix.over_activation())
            figures[f"under_activation{end}"] = finite(matrix.under_activation())
        return figures | {
            "per_class": self.per_class(),
            "n_images": self.matrix.n_images,
            "ignored_predictions": self.matrix.ignored_predictions,
            "curve": self.curve,
            "evaluated": self.about,
        }

    def table(self) -> str:
        """The figures for people, in per cent."""
        lines = [f"{name}: {value}" for name, value in self.about.items() if value not in ("", None)]
        lines += ["", f"{'class':24}" + "".join(f"{title:>11}" for title in COLUMNS)]
        rows = self.per_class()
        for name, row in rows.items():
            if row["iou"] is not None:
                lines.append(f"{name:24}" + "".join(f"{in_percent(row[key]):>11}" for key in COLUMNS.values()))
        at = "" if self.threshold is None else f" at threshold {self.threshold:g}"
        lines += [
            "",
            f"{_summary(self.matrix, at)} ({self.matrix.n_images} images)",
            f"mIoU of the classes alone {in_percent(self.matrix.miou_of_classes())}",
        ]
        better = self.matrix.better_values().items()
        if moved := [f"{value} for {self.class_names[own - 1]}" for own, value in better if value != own]:
            lines.append(
                f"they would fit the truth far better with other values ({', '.join(moved)}): is the order right?"
            )
        if beyond := [name for name, row in rows.items() if row["iou"] is not None and row["recall"] is None]:
            lines.append(f"not in the truth of these images, so not in the mean: {', '.join(beyond)}")
        if self.threshold_best is not None:
            lines.append(_summary(self.best, f" at the best threshold {self.threshold_best:g}"))
            some = self.curve[:: max(1, len(self.curve) // 12)]
            lines.append("curve: " + "  ".join(f"{threshold:g}: {in_percent(miou)}" for threshold, miou in some))
        if self.matrix.ignored_predictions:
            lines.append(f"{self.matrix.ignored_predictions} pixels marked 255 in the masks were counted as background")
        return "\n".join(lines)

    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Class, background included -> its figures (`COLUMNS`).

        Over-activation is the part of the background pixels that are given the class, under-activation the part of its
        pixels that are given background.
        """
        counts = self.matrix.counts.double()
        others = self.matrix.of_classes()
        rows = {}
        for value, name in enumerate(("background", *self.class_names)):
            over = counts[0, value] / counts[0].sum() if value else counts[0, 1:].sum() / counts[0].sum()
            under = counts[value, 0] / counts[value].sum() if value else counts[1:, 0].sum() / counts[1:].sum()
            row = {"over_activation": over, "under_activation": under}
            row |= {figure: values[value] for figure, values in others.items()}
            rows[name] = {figure: finite(number) for figure, number in row.items()}
        return rows


def evaluate_seeds(index: Index, folder: Path, threshold: float, count: int, workers: int, **about: Any) -> Evaluation:
    """Sweep `count` background thresholds from 0 to `HIGHEST_THRESHOLD`, and `threshold`, over seed files."""
    check_truth(index, workers)
    thresholds = np.unique(np.append(np.linspace(0, HIGHEST_THRESHOLD, count).round(6), threshold))
    sweep = ThresholdSweep(len(index.class_names) + 1, thresholds)
    read = partial(read_seed_pixels, folder, index.class_names)
    for _, pixels in read_records(index, read, workers, "evaluate seeds"):
        sweep.update(*pixels)
    sweep.sum_processes()
    curve = [(float(t), miou) for t, miou in zip(thresholds, sweep.curve(), strict=True) if t <= HIGHEST_THRESHOLD]
    best = max(curve, key=lambda point: point[1])[0]
    matrix, of_best = (sweep.at(sweep.nearest(value)) for value in (threshold, best))
    about = {"kind": "seeds", "path": str(folder), **about}
    return Evaluation(about, matrix, index.class_names, of_best, threshold, best, curve)


def evaluate_masks(index: Index, folder: Path, workers: int, **about: Any) -> Evaluation:
    """Evaluate the mask files of `folder`; `UserError` where one does not fit the truth or the classes."""
    check_truth(index, workers)
    matrix = ConfusionMatrix(len(index.class_names) + 1)
    count = partial(_count_masks, folder, index.class_names)
    for _, counted in read_records(index, count, workers, "evaluate masks", BATCH):
        matrix.add(counted)
    matrix.sum_processes()
    return Evaluation({"kind": "masks", "path": str(folder), **about}, matrix, index.class_names, matrix)


def count_images(index: Index, folder: Path, threshold: float | None, workers: int) -> np.ndarray:
    """(N, 3, C) int64 counts of each image (`utils.bootstrap.class_counts`): of masks, or of seeds at a threshold."""
    check_truth(index, workers)
    counts = np.zeros((len(index), 3, len(index.class_names) + 1), np.int64)
    count = partial(_count_image, folder, index.class_names, threshold)
    for position, row in read_records(index, count, workers, "count pixels"):
        counts[position] = row
    return total(torch.from_numpy(counts)).numpy()


def read_seed_pixels(folder: Path, class_names: Sequence[str], record: Record) -> tuple[Tensor, Tensor, Tensor]:
    """Truth, winning map and winning mask value, (H, W) each, as `ThresholdSweep.update` takes them."""
    path = folder / f"{record.name}.npz"
    seed, truth = read_seed(path, class_names), record.read_truth()
    _check_values(truth, record.mask, len(class_names))
    _check_size(path, seed.size, truth)
    target = torch.from_numpy(truth)
    if not len(seed.classes):
        return target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64)
    value, winner = upsample(torch.from_numpy(seed.maps), seed.size).max(dim=0)
    return target, value, torch.from_numpy(seed.classes)[winner] + 1


def finite(value: Tensor | float) -> float | None:
    """The number, or None where it is not finite (JSON knows no NaN)."""
    number = float(value)
    return number if math.isfinite(number) else None


def in_percent(value: float | None, form: str = ".1f") -> str:
    """A share of 0..1 for people, a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:{form}}"


def _summary(matrix: ConfusionMatrix, at: str) -> str:
    return (
        f"mIoU {in_percent(matrix.miou())}{at}, over-activation {in_percent(matrix.over_activation())}, "
        f"under-activation {in_percent(matrix.under_activation())}"
    )


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
        found, other = (f"{height} x {width}" for height, width in (size, truth.shape))
        raise UserError(f"{path} is {found} (height x width), its truth {other}; they must be of one image")
