"""Figures of segmentation: a streaming confusion matrix, and the same for every background threshold at once.

Values: 0 is background, 1..C the classes, 255 in the truth is skipped, 255 in a prediction counts as background.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from utils.distributed import total
from utils.ignore import IGNORE

LEAST_GAIN = 0.1  # of the mean IoU, before other values of the classes are told


class ConfusionMatrix:
    """Counts of (truth, prediction) pairs in int64 of `num_classes` values, background included; at most 255.

    `counts` (num_classes, num_classes), truth in rows, is what is there already.
    """

    def __init__(self, num_classes: int, counts: Tensor | None = None):
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64) if counts is None else counts
        # In how many images each value is in the truth, is predicted, and is predicted where it is.
        self.images = torch.zeros(3, num_classes, dtype=torch.int64)
        self.ignored_predictions = 0
        self.n_images = 0

    def update(self, target: Tensor, prediction: Tensor) -> None:
        """`update_all` with one image, on any device."""
        self.update_all([(target.cpu().numpy(), prediction.cpu().numpy())])

    def update_all(self, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Add the (truth, prediction) of each of several images, which is faster than one by one.

        Integers of any shape, the same in both, values 0..num_classes-1 or 255; others are a `ValueError`.
        """
        runs = [_runs(target, prediction) for target, prediction in pairs]
        if not runs:
            return
        truth, predicted, lengths = (np.concatenate(parts) for parts in zip(*runs, strict=True))
        classes = self.num_classes
        # Every pair of bytes has a cell, so values are checked only where one is strange. float64 is exact below 2**53.
        pair = _bytes(truth, "truth", classes).astype(np.intp) * 256 + _bytes(predicted, "prediction", classes)
        pixels = np.bincount(pair, lengths, minlength=256 * 256).reshape(256, 256)
        if pixels[classes:IGNORE].any() or pixels[:, classes:IGNORE].any():
            _check_values(truth[truth != IGNORE], "truth", classes)
            _check_values(predicted[predicted != IGNORE], "prediction", classes)
        counts, ignored = pixels[:classes, :classes].astype(np.int64), pixels[:classes, IGNORE].astype(np.int64)
        counts[:, 0] += ignored
        self.ignored_predictions += int(ignored.sum())
        self.counts += torch.from_numpy(counts)
        for truth, predicted, _ in runs:
            for row, values in enumerate((truth, predicted, truth[truth == predicted])):
                values = np.unique(values).astype(np.int64)
                self.images[row, values[values < classes]] += 1
        self.n_images += len(runs)

    def add(self, other: "ConfusionMatrix") -> None:
        """Add what another of the same classes has counted."""
        self.counts += other.counts
        self.images += other.images
        self.ignored_predictions += other.ignored_predictions
        self.n_images += other.n_images

    def sum_processes(self) -> None:
        """Add up what all processes have counted, exactly; in all of them."""
        self.counts, self.images = total(self.counts), total(self.images)
        others = total(torch.tensor([self.ignored_predictions, self.n_images]))
        self.ignored_predictions, self.n_images = others.tolist()

    def iou(self) -> Tensor:
        """(num_classes,) float64 TP / (TP + FP + FN); NaN where a value is in neither truth nor prediction."""
        hits = self.counts.diag().double()
        return hits / (self.counts.sum(dim=0) + self.counts.sum(dim=1) - self.counts.diag()).double()

    def miou(self) -> float:
        """The mean IoU over the classes in the truth and background; NaN without pixels."""
        return float(self.iou()[self.counts.sum(dim=1) > 0].mean())

    def miou_of_classes(self) -> float:
        """`miou` without the background, which hides everything where objects are tiny."""
        return float(self.iou()[1:][self.counts.sum(dim=1)[1:] > 0].mean())

    def of_classes(self) -> dict[str, Tensor]:
        """Figures of each value, background included, (num_classes,) float64; NaN where there is nothing to divide by.

        `precision` is of the pixels that are predicted as it, `recall` of those that have it. `found`: of the images
        that show it, those whose mask of it touches it. `drawn_right`: of the images whose mask has it, these again.
        """
        hits, (shown, drawn, right) = self.counts.diag(), self.images.double()
        precision, recall = hits / self.counts.sum(dim=0).double(), hits / self.counts.sum(dim=1).double()
        both = {"precision": precision, "recall": recall}
        return {"iou": self.iou(), **both, "found": right / shown, "drawn_right": right / drawn}

    def better_values(self) -> dict[int, int]:
        """Class in the truth -> the predicted value of the highest IoU, where exchanging them doubles the mean IoU."""
        counts = self.counts.double()
        each = (counts / (counts.sum(dim=1, keepdim=True) + counts.sum(dim=0) - counts)).nan_to_num()
        classes = [value for value in range(1, self.num_classes) if counts[value].any()]
        best, values = each[classes].max(dim=1)
        is_better = best.sum() > 2 * each.diag()[classes].sum() + LEAST_GAIN * len(classes)
        found = dict(zip(classes, values.tolist(), strict=True))
        return found if is_better and len({*found.values()}) == len(found) else {}

    def over_activation(self) -> float:
        """The share of background pixels that were given a class."""
        return float(self.counts[0, 1:].sum().double() / self.counts[0].sum())

    def under_activation(self) -> float:
        """The share of object pixels that were given background."""
        return float(self.counts[1:, 0].sum().double() / self.counts[1:].sum())


class ThresholdSweep:
    """Confusion matrices of the same maps at many background thresholds (ascending), in one pass.

    A pixel is of its winning class where that class's value is *above* the threshold, else background.
    """

    def __init__(self, num_classes: int, thresholds: Sequence[float] | np.ndarray):
        self.num_classes = num_classes
        self.thresholds = torch.as_tensor(thresholds, dtype=torch.float64)
        # One bin more than thresholds: the bin is the number of thresholds that the pixel's value is above.
        self.bins = torch.zeros(num_classes, num_classes, len(thresholds) + 1, dtype=torch.int64)
        self.n_images = 0

    def update(self, target: Tensor, value: Tensor, winner: Tensor) -> None:
        """Add one image: its truth, the winning class's map, and that class's mask value, 0 where there is none.

        All are (H, W); values of masks that no class has are a `ValueError`.
        """
        valid = target != IGNORE
        target, winner = target[valid].long(), winner[valid].long()
        _check_values(target, "truth", self.num_classes)
        _check_values(winner, "prediction", self.num_classes)
        # Compared in the map's own precision, as `value > threshold` is: a map of 51 / 255 is not above 0.2.
        above = torch.searchsorted(self.thresholds.to(value), value[valid], side="left")
        cell = (target * self.num_classes + winner) * self.bins.shape[2] + above
        self.bins += torch.bincount(cell, minlength=self.bins.numel()).view(self.bins.shape).cpu()
        self.n_images += 1

    def sum_processes(self) -> None:
        """Add up what all processes have counted, exactly; in all of them."""
        self.bins = total(self.bins)
        self.n_images = int(total(torch.tensor(self.n_images)))

    def at(self, index: int) -> ConfusionMatrix:
        """The confusion matrix at `thresholds[index]`."""
        matrix = ConfusionMatrix(self.num_classes, self.bins[:, :, index + 1 :].sum(dim=2))
        matrix.counts[:, 0] += self.bins[:, :, : index + 1].sum(dim=(1, 2))
        matrix.n_images = self.n_images
        return matrix

    def nearest(self, threshold: float) -> int:
        """The index of the nearest threshold."""
        return int((self.thresholds - threshold).abs().argmin())

    def curve(self) -> list[float]:
        """mIoU at each threshold."""
        return [self.at(index).miou() for index in range(len(self.thresholds))]


def _runs(target: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, prediction and length of each run of equal pairs, which are ten times faster to count than pixels."""
    if target.shape != prediction.shape:
        raise ValueError(f"truth of shape {target.shape} and prediction of shape {prediction.shape} differ")
    target, prediction = target.ravel(), prediction.ravel()
    begins = np.ones(len(target), bool)
    np.not_equal(target[1:], target[:-1], out=begins[1:])
    begins[1:] |= prediction[1:] != prediction[:-1]
    starts = np.flatnonzero(begins)
    return target[starts], prediction[starts], np.diff(starts, append=len(target))


def _bytes(values: np.ndarray, name: str, num_classes: int) -> np.ndarray:
    if values.dtype != np.uint8:
        _check_values(values[values != IGNORE], name, num_classes)
    return values.astype(np.uint8, copy=False)


def _check_values(values: np.ndarray | Tensor, name: str, num_classes: int) -> None:
    if len(values) and not 0 <= int(values.min()) <= int(values.max()) < num_classes:
        strange = [value for value in np.unique(values).tolist() if not 0 <= value < num_classes]
        raise ValueError(f"values {strange[:5]} in the {name}; expected 0..{num_classes - 1} or {IGNORE}")
