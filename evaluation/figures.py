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
    "found": "found",  # of the images that show it, those whose mask touches it
    "right": "drawn_right",  # of the images in which it is drawn, those where it touches it
}


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
            "miou_classes": finite(self.matrix.miou_of_classes()),
            "miou_classes_best": finite(self.best.miou_of_classes()),
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
        lines += ["", f"{'class':24}" + "".join(f"{title:>11}" for title in COLUMNS)]
        for name, row in zip(("background", *self.class_names), self._rows(), strict=True):
            if row["iou"] is not None:
                lines.append(f"{name:24}" + "".join(f"{percent(row[key]):>11}" for key in COLUMNS.values()))
        at = "" if self.threshold is None else f" at threshold {self.threshold:g}"
        lines += [
            "",
            f"mIoU {percent(self.matrix.miou())}{at}, over-activation {percent(self.matrix.over_activation())}, "
            f"under-activation {percent(self.matrix.under_activation())} ({self.matrix.n_images} images)",
            f"mIoU of the classes alone {percent(self.matrix.miou_of_classes())}",
        ]
        if self.threshold_best is not None:
            lines.append(
                f"mIoU {percent(self.best.miou())} at the best threshold {self.threshold_best:g}, over-activation "
                f"{percent(self.best.over_activation())}, under-activation {percent(self.best.under_activation())}"
            )
            lines.append(
                "curve: "
                + "  ".join(
                    f"{threshold:g}: {percent(miou)}"
                    for threshold, miou in self.curve[:: max(1, len(self.curve) // 12)]
                )
            )
        if self.matrix.ignored_predictions:
            lines.append(f"{self.matrix.ignored_predictions} pixels marked 255 in the masks were counted as background")
        return "\n".join(lines)

    def _rows(self) -> list[dict[str, float | None]]:
        """Per class, see `COLUMNS`; over-activation: background pixels given it; under-activation: its pixels lost."""
        counts = self.matrix.counts.double()
        others = {name: getattr(self.matrix, name)() for name in ("iou", "precision", "recall", "found", "drawn_right")}
        rows = []
        for value in range(len(counts)):
            over = counts[0, value] / counts[0].sum() if value else counts[0, 1:].sum() / counts[0].sum()
            under = counts[value, 0] / counts[value].sum() if value else counts[1:, 0].sum() / counts[1:].sum()
            row = {"over_activation": over, "under_activation": under}
            row |= {name: values[value] for name, values in others.items()}
            rows.append({name: finite(figure) for name, figure in row.items()})
        return rows


def finite(value: Tensor | float) -> float | None:
    """The number, or None where it is none (JSON knows no NaN)."""
    number = float(value)
    return number if math.isfinite(number) else None


def percent(value: float | None) -> str:
    """A part in 0..1 for people, a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f}"
