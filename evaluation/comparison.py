"""Is one set of masks better than another, or is the difference chance? A paired bootstrap over the same images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Index
from evaluation.ablation import PREDICTED, classifier_rows
from evaluation.predictions import write_predictions
from evaluation.scores import count_images, evaluate_seeds, finite
from evaluation.truth import check_predictions
from models.segmenter import Segmenter
from stages.config import Config
from stages.networks import load_network
from utils.bootstrap import DRAWS, LEVEL, Difference, compare_counts
from utils.distributed import scratch_folder
from utils.errors import UserError

TITLES = {"miou": "mIoU", "over_activation": "over-activation", "under_activation": "under-activation"}


@dataclass(frozen=True)
class Side:
    """One of the two sources: its path, (N, 3, C) counts by image, and the best threshold of seeds (None for masks)."""

    path: str
    counts: np.ndarray
    threshold: float | None = None

    def __str__(self) -> str:
        at = "" if self.threshold is None else f", seeds at their best threshold {self.threshold:g}"
        return f"{self.path}{at}"

    def figures(self) -> dict[str, Any]:
        """What `--json` says of it."""
        kind = "masks" if self.threshold is None else "seeds"
        return {"path": self.path, "kind": kind, "threshold": self.threshold}


@dataclass(frozen=True)
class Comparison:
    """The two sources, their `differences` by the names of `utils.bootstrap.figures_of`, and what to state of them."""

    a: Side
    b: Side
    differences: dict[str, Difference]
    about: dict[str, Any]

    def table(self) -> str:
        """The differences for people, in per cent, and a sentence on mIoU."""
        count = len(self.a.counts)
        lines = [f"A: {self.a}", f"B: {self.b}", *(f"{name}: {value}" for name, value in self.about.items())]
        lines += [f"{count} images, {DRAWS} draws of {count} with replacement", ""]
        lines.append(f"{'':18}{'A':>7}{'B':>7}{'B - A':>8}   {100 * LEVEL:.0f} % interval")
        for name, row in self.differences.items():
            lines.append(
                f"{TITLES[name]:18}{100 * row.a:7.1f}{100 * row.b:7.1f}{100 * row.difference:+8.2f}   "
                f"{100 * row.low:+.2f} .. {100 * row.high:+.2f}"
            )
        row = self.differences["miou"]
        if row.is_clear:
            verdict = f"{'B' if row.low > 0 else 'A'} is better: the interval of the difference leaves out 0"
        else:
            draws = f"B is not above A in {100 * row.not_better:.0f} % of the draws"
            verdict = f"these {count} images show no clear difference: its interval contains 0 ({draws})"
        return "\n".join([*lines, "", verdict])

    def figures(self) -> dict[str, Any]:
        """What `--json` writes; ratios in 0..1."""
        numbers = ("a", "b", "difference", "low", "high", "not_better")
        differences = {
            name: {key: finite(getattr(row, key)) for key in numbers} | {"clear": row.is_clear}
            for name, row in self.differences.items()
        }
        found = {"a": self.a.figures(), "b": self.b.figures(), "n_images": len(self.a.counts)}
        found |= {"draws": DRAWS, "level": LEVEL, "seed": 0}
        return found | {"differences": differences, "evaluated": self.about}


def compare(index: Index, sources: Sequence[str], settings: Sequence[Config], **about: Any) -> Comparison:
    """Evaluate two sources on the same images; `index` was opened with masks, `about` is what to state.

    A source is a folder of masks or of seeds (taken at their own best threshold), or a checkpoint (labels predicted, by
    its own one of the two `settings`). Of all else the first settings count.
    """
    first, second = (_read(index, source, settings[0], own) for source, own in zip(sources, settings, strict=True))
    return Comparison(first, second, compare_counts(first.counts, second.counts), about)


def check_classes(source: str, known: tuple[str, ...], index: Index) -> None:
    """A `UserError` unless a checkpoint knows the classes of the data."""
    if known != index.class_names:
        raise UserError(
            f"{source} knows other classes than the data: {', '.join(known)} and {', '.join(index.class_names)}; name "
            "the data that it was trained for with --config, --preset or --set data.root=..."
        )


def _read(index: Index, source: str, cfg: Config, own: Config) -> Side:
    path, name = Path(source), index.records[0].name
    with scratch_folder() as scratch:
        folder = _predict(index, source, scratch, own) if path.is_file() else path
        if (folder / f"{name}.png").is_file():
            if folder is path:
                check_predictions(index, folder, cfg.workers)
            return Side(source, count_images(index, folder, None, cfg.workers))
        if (folder / f"{name}.npz").is_file():
            evaluation = evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers)
            best = evaluation.threshold_best or 0.0
            return Side(source, count_images(index, folder, best, cfg.workers), best)
    what = f"neither a mask {name}.png nor a seed file {name}.npz" if path.is_dir() else "no such file or folder"
    wanted = "a folder of masks, a folder of seeds, or a checkpoint, for the images of the list (--split)"
    raise UserError(f"--compare {source}: {what}; expected {wanted}")


def _predict(index: Index, source: str, scratch: Path, cfg: Config) -> Path:
    network, checkpoint = load_network(source)
    check_classes(source, checkpoint.class_names, index)
    if isinstance(network, Segmenter):
        write_predictions(network, index, scratch, cfg)
        return scratch / PREDICTED
    rows = classifier_rows(network, Path(source), index, scratch, cfg)
    return [row for row in rows if row.labels == PREDICTED][-1].folder
