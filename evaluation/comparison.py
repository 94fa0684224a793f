"""Is one set of masks better than another, or were the images kind to it? Two sources, the same images, paired bootstrap."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Index
from evaluation.ablation import PREDICTED
from evaluation.networks import classifier_rows
from evaluation.predictions import write_predictions
from evaluation.scores import count_masks, count_seeds, evaluate_seeds
from models.segmenter import Segmenter
from stages.config import Config
from stages.networks import load_network
from utils.bootstrap import DRAWS, LEVEL, Difference, compare_counts
from utils.distributed import scratch_folder
from utils.errors import UserError

TITLES = {"miou": "mIoU", "over_activation": "over-activation", "under_activation": "under-activation"}


@dataclass(frozen=True)
class Side:
    """One of the two.

    Attributes:
        path: where it came from.
        kind: `masks` or `seeds`.
        counts: (N, 3, C) of each image, see `utils.bootstrap.class_counts`.
        threshold: of seeds, the best on these images; None for masks.
    """

    path: str
    kind: str
    counts: np.ndarray
    threshold: float | None = None

    def __str__(self) -> str:
        at = "" if self.threshold is None else f", seeds at their best threshold {self.threshold:g}"
        return f"{self.path}{at}"


@dataclass(frozen=True)
class Comparison:
    """What came out; `differences` by the names of `utils.bootstrap.figures_of`."""

    a: Side
    b: Side
    differences: dict[str, Difference]
    said: dict[str, Any]

    def table(self) -> str:
        """For people, in per cent."""
        count = len(self.a.counts)
        lines = [f"A: {self.a}", f"B: {self.b}", *(f"{name}: {value}" for name, value in self.said.items())]
        lines += [f"{count} images, {DRAWS} draws of {count} with replacement", ""]
        lines.append(f"{'':18}{'A':>7}{'B':>7}{'B - A':>8}   {100 * LEVEL:.0f} % interval")
        for name, row in self.differences.items():
            lines.append(
                f"{TITLES[name]:18}{100 * row.a:7.1f}{100 * row.b:7.1f}{100 * row.difference:+8.2f}   "
                f"{100 * row.low:+.2f} .. {100 * row.high:+.2f}"
            )
        return "\n".join([*lines, "", self.verdict()])

    def verdict(self) -> str:
        """One sentence on mIoU."""
        row, count = self.differences["miou"], len(self.a.counts)
        if row.is_clear:
            better = "B" if row.low > 0 else "A"
            return f"{better} is better: the interval of the difference leaves out 0"
        return (
            f"no difference can be told on these {count} images: the interval holds 0 (B is not above A in "
            f"{100 * row.not_better:.0f} % of the draws)"
        )

    def figures(self) -> dict[str, Any]:
        """For `--json`; shares in 0..1."""
        rows = {
            name: {
                "a": row.a,
                "b": row.b,
                "difference": row.difference,
                "low": row.low,
                "high": row.high,
                "not_better": row.not_better,
                "clear": row.is_clear,
            }
            for name, row in self.differences.items()
        }
        sides = {
            name: {"path": side.path, "kind": side.kind, "threshold": side.threshold}
            for name, side in (("a", self.a), ("b", self.b))
        }
        finite = {name: {key: _finite(value) for key, value in row.items()} for name, row in rows.items()}
        return sides | {
            "n_images": len(self.a.counts),
            "draws": DRAWS,
            "level": LEVEL,
            "seed": 0,
            "differences": finite,
            "evaluated": self.said,
        }


def compare(index: Index, a: str, b: str, cfg: Config, **said: Any) -> Comparison:
    """Measure two sources on the same images.

    Seeds are taken at their own best threshold, as figures of seeds are published; it is fixed before images are drawn.

    Args:
        index: opened with masks.
        a, b: each a folder of masks, a folder of seeds, or a checkpoint, which is run with predicted labels.
        cfg: thresholds, workers, and how networks read images.

    Raises:
        UserError: neither, or a file that is missing or does not fit the truth.
    """
    first, second = (_read(index, source, cfg) for source in (a, b))
    return Comparison(first, second, compare_counts(first.counts, second.counts), said)


def _read(index: Index, source: str, cfg: Config) -> Side:
    path = Path(source)
    if path.is_file():
        with scratch_folder() as scratch:
            return _predict(index, source, scratch, cfg)
    name = index.records[0].name
    if (path / f"{name}.png").is_file():
        return Side(source, "masks", count_masks(index, path, cfg.workers))
    if (path / f"{name}.npz").is_file():
        return _seeds(index, path, source, cfg)
    what = "neither a mask {name}.png nor a seed file {name}.npz" if path.is_dir() else "no such file or folder"
    raise UserError(
        f"--compare {source}: {what.format(name=name)}; expected a folder of masks, a folder of seeds, or a checkpoint, "
        "for the images of the list (--split names another)"
    )


def _seeds(index: Index, folder: Path, source: str, cfg: Config) -> Side:
    measured = evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers)
    best = measured.threshold_best or 0.0
    return Side(source, "seeds", count_seeds(index, folder, best, cfg.workers), best)


def _predict(index: Index, source: str, scratch: Path, cfg: Config) -> Side:
    network, checkpoint, _ = load_network(source)
    if checkpoint.class_names != index.class_names:
        raise UserError(
            f"{source} knows other classes than the data: {', '.join(checkpoint.class_names)} and {', '.join(index.class_names)}; "
            "name the data that it was trained for with --config, --preset or --set data.root=..."
        )
    if isinstance(network, Segmenter):
        write_predictions(network, index, scratch, cfg)
        return Side(source, "masks", count_masks(index, scratch / PREDICTED, cfg.workers))
    rows = classifier_rows(network, Path(source), index, scratch, cfg)
    return _seeds(index, {row.labels: row.folder for row in rows}[PREDICTED], source, cfg)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
