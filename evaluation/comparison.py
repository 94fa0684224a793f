"""Is one set of masks better than another, or is the difference chance? A paired bootstrap over the same images."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import Index
from evaluation.ablation import PREDICTED, classifier_rows
from evaluation.predictions import write_predictions
from evaluation.scores import count_images, evaluate_seeds, finite, in_percent
from evaluation.truth import check_predictions
from models.segmenter import Segmenter
from stages.config import Config
from stages.networks import load_network
from utils.bootstrap import DRAWS, LEVEL, compare_counts
from utils.distributed import scratch_folder
from utils.errors import UserError

TITLES = {"miou": "mIoU", "over_activation": "over-activation", "under_activation": "under-activation"}


def compare(index: Index, sources: Sequence[str], settings: Sequence[Config], **about: Any) -> dict[str, Any]:
    """Evaluate two sources on the same images; `index` was opened with masks, `about` is what to state.

    A source is a folder of masks or of seeds (taken at their own best threshold), or a checkpoint (labels predicted, by
    its own one of the two `settings`). Of all else the first settings count.

    Returns:
        What `--json` writes: sides `a` and `b`, and `differences` by figure, ratios in 0..1.
    """
    (a, of_a), (b, of_b) = (_read(index, each, settings[0], own) for each, own in zip(sources, settings, strict=True))
    differences = {}
    for name, row in compare_counts(of_a, of_b).items():
        numbers = asdict(row) | {"difference": row.difference}
        differences[name] = {key: finite(value) for key, value in numbers.items()} | {"clear": row.is_clear}
    drawn = {"n_images": len(index), "draws": DRAWS, "level": LEVEL, "seed": 0}
    return {"a": a, "b": b, **drawn, "differences": differences, "evaluated": about}


def comparison_table(figures: dict[str, Any]) -> str:
    """What `compare` gives, for people, in per cent, and a sentence on mIoU."""
    count, lines = figures["n_images"], []
    for name in "ab":
        threshold = figures[name]["threshold"]
        at = "" if threshold is None else f", seeds at their best threshold {threshold:g}"
        lines.append(f"{name.upper()}: {figures[name]['path']}{at}")
    lines += [f"{name}: {value}" for name, value in figures["evaluated"].items()]
    lines += [f"{count} images, {DRAWS} draws of {count} with replacement", ""]
    lines.append(f"{'':18}{'A':>7}{'B':>7}{'B - A':>8}   {100 * LEVEL:.0f} % interval")
    for name, row in figures["differences"].items():
        both = "".join(f"{in_percent(row[side]):>7}" for side in "ab")
        difference, low, high = (in_percent(row[key], "+.2f") for key in ("difference", "low", "high"))
        lines.append(f"{TITLES[name]:18}{both}{difference:>8}   {low} .. {high}")
    row = figures["differences"]["miou"]
    if row["clear"]:
        verdict = f"{'B' if row['low'] > 0 else 'A'} is better: the interval of the difference leaves out 0"
    else:
        draws = f"B is not above A in {100 * row['not_better']:.0f} % of the draws"
        verdict = f"these {count} images show no clear difference: its interval contains 0 ({draws})"
    return "\n".join([*lines, "", verdict])


def check_classes(source: str, known: tuple[str, ...], index: Index) -> None:
    """A `UserError` unless a checkpoint knows the classes of the data."""
    if known != index.class_names:
        raise UserError(
            f"{source} knows other classes than the data: {', '.join(known)} and {', '.join(index.class_names)}; name "
            "the data that it was trained for with --config, --preset or --set data.root=..."
        )


def _read(index: Index, source: str, cfg: Config, own: Config) -> tuple[dict[str, Any], np.ndarray]:
    """One of the two sources: what `--json` says of it, and its counts by image (N, 3, C)."""
    path, name = Path(source), index.records[0].name
    side: dict[str, Any] = {"path": source, "kind": "masks", "threshold": None}
    with scratch_folder() as scratch:
        folder = _predict(index, source, scratch, own) if path.is_file() else path
        if (folder / f"{name}.png").is_file():
            if folder is path:
                check_predictions(index, folder, cfg.workers)
            return side, count_images(index, folder, None, cfg.workers)
        if (folder / f"{name}.npz").is_file():
            evaluation = evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers)
            best = evaluation.threshold_best
            return side | {"kind": "seeds", "threshold": best}, count_images(index, folder, best, cfg.workers)
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
