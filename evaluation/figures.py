"""The figures of one set of masks or seeds, as a table for people and as JSON."""

import math
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from utils.metrics import ConfusionMatrix

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
        return {
            "miou": self.matrix.miou(),
            "threshold": self.threshold,
            "miou_best": self.best.miou(),
            "miou_classes": finite(self.matrix.miou_of_classes()),
            "miou_classes_best": finite(self.best.miou_of_classes()),
            "threshold_best": self.threshold_best,
            "over_activation": self.matrix.over_activation(),
            "under_activation": self.matrix.under_activation(),
            "over_activation_best": self.best.over_activation(),
            "under_activation_best": self.best.under_activation(),
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
        for name, row in self.per_class().items():
            if row["iou"] is not None:
                lines.append(f"{name:24}" + "".join(f"{percent(row[key]):>11}" for key in COLUMNS.values()))
        at = "" if self.threshold is None else f" at threshold {self.threshold:g}"
        lines += [
            "",
            f"{_summary(self.matrix, at)} ({self.matrix.n_images} images)",
            f"mIoU of the classes alone {percent(self.matrix.miou_of_classes())}",
        ]
        if self.threshold_best is not None:
            lines.append(_summary(self.best, f" at the best threshold {self.threshold_best:g}"))
            some = self.curve[:: max(1, len(self.curve) // 12)]
            lines.append("curve: " + "  ".join(f"{threshold:g}: {percent(miou)}" for threshold, miou in some))
        if self.matrix.ignored_predictions:
            lines.append(f"{self.matrix.ignored_predictions} pixels marked 255 in the masks were counted as background")
        return "\n".join(lines)

    def per_class(self) -> dict[str, dict[str, float | None]]:
        """Class, background included -> its figures (`COLUMNS`).

        Over-activation is the part of the background pixels that are given the class, under-activation the part of its
        pixels that are given background.
        """
        counts = self.matrix.counts.double()
        others = {name: getattr(self.matrix, name)() for name in ("iou", "precision", "recall", "found", "drawn_right")}
        rows = {}
        for value, name in enumerate(("background", *self.class_names)):
            over = counts[0, value] / counts[0].sum() if value else counts[0, 1:].sum() / counts[0].sum()
            under = counts[value, 0] / counts[value].sum() if value else counts[1:, 0].sum() / counts[1:].sum()
            row = {"over_activation": over, "under_activation": under}
            row |= {figure: values[value] for figure, values in others.items()}
            rows[name] = {figure: finite(number) for figure, number in row.items()}
        return rows


def finite(value: Tensor | float) -> float | None:
    """The number, or None where it is not finite (JSON knows no NaN)."""
    number = float(value)
    return number if math.isfinite(number) else None


def percent(value: float | None) -> str:
    """A number in 0..1 in per cent, a dash for None and NaN."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"


def _summary(matrix: ConfusionMatrix, at: str) -> str:
    return (
        f"mIoU {percent(matrix.miou())}{at}, over-activation {percent(matrix.over_activation())}, "
        f"under-activation {percent(matrix.under_activation())}"
    )
