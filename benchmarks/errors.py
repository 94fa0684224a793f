"""Where seeds or masks still err, so that the next step is chosen by size.

    python -m benchmarks.errors runs/voc12/seeds_walk --list train               # seeds, at their best common threshold
    python -m benchmarks.errors runs/voc12/pseudo --list train --every 5 --json errors.json    # or masks

Each row is a kind of error at full resolution: its share of the truth's pixels (without 255), and what mIoU would be if
exactly these pixels were right. Gains of several kinds do not add up.

    halo        background taken as object within 4, 8, 16, 32 pixels of an object; a row has all up to its distance
    context     the same further away, or in an image without objects
    rim         object taken as background within these distances of the background
    inside      the same further away, or in an image without background
    confusion   one class taken as another

A distance is Euclidean, from a pixel's centre to that of the nearest pixel of the truth with a class (halo), whichever
class, or of background (rim). 255 in the truth is neither and is passed over: across VOC's border band, about 5 pixels
wide, nothing lies within 4. 255 in a prediction counts as background.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.common import list_parser
from data.artifacts import read_mask
from data.dataset import Index, Record
from data.index import open_index
from evaluation.scores import Evaluation, evaluate_masks, evaluate_seeds, finite, read_seed_pixels
from stages.config import Config, load_config
from utils.console import progress
from utils.errors import UserError, run_script
from utils.files import write_json
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix
from utils.reading import read_ahead
from utils.run import RUN_SETTINGS, run_of

KEPT = ("n_images", "threshold", "ignored_predictions", "miou", "over_activation", "under_activation")  # of evaluate.py
DISTANCES = (4, 8, 16, 32)  # pixels; a band ends with each of them, and the last band is what lies further away
FAR = DISTANCES[-1]
PARTS = (f"halo_{FAR}", "context", f"rim_{FAR}", "inside", "confusion")  # every wrong pixel is in exactly one of them
KINDS = {  # kind -> its title, what is wrong, in which bands
    "over": ("background taken as object", "over", slice(None)),
    **{f"halo_{far}": (f"  halo, within {far} pixels", "over", slice(n)) for n, far in enumerate(DISTANCES, start=1)},
    "context": ("  context, further away", "over", slice(-1, None)),
    "under": ("object taken as background", "under", slice(None)),
    **{f"rim_{far}": (f"  rim, within {far} pixels", "under", slice(n)) for n, far in enumerate(DISTANCES, start=1)},
    "inside": ("  inside, further away", "under", slice(-1, None)),
    "confusion": ("one class taken as another", "confusion", slice(None)),
}


def distances(target: np.ndarray) -> np.ndarray:
    """(H, W) truth -> (H, W) float32: from background to the nearest object, from an object to the nearest background.

    In pixels, infinite where the truth has no such pixel; what stands where the truth is 255 means nothing.
    """

    def distance_to(pixels: np.ndarray) -> np.ndarray:
        if not pixels.any():
            return np.full(pixels.shape, np.inf, np.float32)
        return cv2.distanceTransform((~pixels).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)

    background = target == 0
    return np.where(background, distance_to(~background & (target != IGNORE)), distance_to(background))


def count_bands(target: np.ndarray, prediction: np.ndarray, num_classes: int) -> Tensor:
    """Confusion counts of one image (H, W) by distance, (bands, C, C) int64, truth in rows; their sum is its matrix."""
    band = np.searchsorted(DISTANCES, distances(target), side="left")  # a distance of exactly 4 is within 4
    matrices = [ConfusionMatrix(num_classes) for _ in range(len(DISTANCES) + 1)]
    for index, matrix in enumerate(matrices):
        matrix.update_all([(np.where(band == index, target, IGNORE), prediction)])
    return torch.stack([matrix.counts for matrix in matrices])


def error_kinds(bands: Tensor) -> dict[str, Tensor]:
    """(bands, C, C) counts -> the (C, C) counts of the pixels of each kind of error, by the names of `KINDS`."""
    taken = torch.arange(bands.shape[-1])
    truth = taken[:, None]
    wrong = {
        "over": bands * ((truth == 0) & (taken > 0)),
        "under": bands * ((truth > 0) & (taken == 0)),
        "confusion": bands * ((truth > 0) & (taken > 0) & (truth != taken)),
    }
    return {name: wrong[what][where].sum(dim=0) for name, (_, what, where) in KINDS.items()}


def corrected(counts: Tensor, wrong: Tensor) -> Tensor:
    """(C, C) counts once the pixels counted in `wrong`, (C, C), are correct."""
    return counts - wrong + wrong.sum(dim=1).diag()


def error_figures(bands: Tensor, class_names: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the kinds of error are worth, from (bands, C, C) counts of all images; background is the first name.

    Returns:
        By kind of error its share of the `pixels` and `miou_without` it; by class `iou_without` each of `PARTS`, and
        the `largest` of them by that, None where none would help. In 0..1, None for what is not there.
    """
    counts, errors, iou = bands.sum(dim=0), {}, {}
    for name, wrong in error_kinds(bands).items():
        without = ConfusionMatrix(len(counts), corrected(counts, wrong))
        share = wrong.sum().double() / counts.sum()
        errors[name] = {"pixels": finite(share), "miou_without": finite(without.miou())}
        iou[name] = without.iou()
    before = ConfusionMatrix(len(counts), counts).iou()
    gains = torch.stack([iou[part] - before for part in PARTS]).nan_to_num()
    classes = {
        name: {
            "iou_without": {part: finite(iou[part][index]) for part in PARTS},
            "largest": PARTS[int(gains[:, index].argmax())] if gains[:, index].max() > 0 else None,
        }
        for index, name in enumerate(class_names)
    }
    return errors, classes


def evaluate(index: Index, folder: Path, cfg: Config) -> Evaluation:
    """Seeds as at their best threshold, or masks, as evaluate.py does."""
    name = index.records[0].name
    if (folder / f"{name}.png").is_file():
        return evaluate_masks(index, folder, cfg.workers)
    if not (folder / f"{name}.npz").is_file():
        found = f"neither a seed file {name}.npz nor a mask {name}.png" if folder.is_dir() else "no such folder"
        raise UserError(f"{folder}: {found}; expected seeds or masks for the images of the list (--list names another)")
    evaluated = evaluate_seeds(index, folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers)
    return dataclasses.replace(evaluated, matrix=evaluated.best, threshold=evaluated.threshold_best)


def find_errors(index: Index, folder: Path, cfg: Config) -> dict[str, Any]:
    """What `--json` writes: the figures of evaluate.py that the tables start from, `errors`, and `per_class`."""
    evaluated, values = evaluate(index, folder, cfg), len(index.class_names) + 1

    def count(record: Record) -> Tensor:
        if evaluated.threshold is None:
            return count_bands(record.read_truth(), read_mask(folder / f"{record.name}.png"), values)
        target, value, winner = read_seed_pixels(folder, index.class_names, record)
        return count_bands(target.numpy(), (winner * (value > evaluated.threshold)).numpy(), values)

    bands = torch.zeros(len(DISTANCES) + 1, values, values, dtype=torch.int64)
    for counts in read_ahead(count, progress(index.records, len(index), "errors"), max(1, cfg.workers)):
        bands += counts
    errors, classes = error_figures(bands, ("background", *index.class_names))
    whole = evaluated.figures()
    return {
        "path": str(folder),
        **{name: whole[name] for name in KEPT},
        "errors": errors,
        "per_class": {name: row | classes[name] for name, row in whole["per_class"].items()},
    }


def table(figures: dict[str, Any]) -> str:
    """The figures for people, in per cent."""
    at = "" if figures["threshold"] is None else f" at the best common threshold {figures['threshold']:g}"
    lines = [
        f"{figures['path']}, {figures['n_images']} images: mIoU {_percent(figures['miou'])}{at}, over-activation "
        f"{_percent(figures['over_activation'])}, under-activation {_percent(figures['under_activation'])}",
        "",
        f"{'error':32}{'of pixels':>10}{'mIoU without':>14}",
    ]
    for name, row in figures["errors"].items():
        lines.append(f"{KINDS[name][0]:32}{_percent(row['pixels'], 2):>10}{_percent(row['miou_without']):>14}")
    lines += ["", f"{'class':24}{'IoU':>8}{'over':>8}{'under':>8}  {'largest error':16}{'IoU without':>12}"]
    for name, row in figures["per_class"].items():
        if row["iou"] is None:
            continue
        over, under, part = _percent(row["over_activation"], 2), _percent(row["under_activation"]), row["largest"]
        largest, without = (part.partition("_")[0], _percent(row["iou_without"][part])) if part else ("-", "-")
        lines.append(f"{name:24}{_percent(row['iou']):>8}{over:>8}{under:>8}  {largest:16}{without:>12}")
    if figures["ignored_predictions"]:
        lines += ["", f"{figures['ignored_predictions']} pixels marked 255 were counted as background"]
    return "\n".join(lines)


def main() -> None:
    parser = list_parser(__doc__)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="seeds ID.npz or masks ID.png")
    parser.add_argument("--config", metavar="FILE", help="settings (default: those of the folder's run)")
    parser.add_argument("--json", metavar="FILE", help="also write the figures as JSON")
    args = parser.parse_args()
    run = run_of(args.folder)
    cfg = load_config(args.config or (run / RUN_SETTINGS if run else "config.yaml"), overrides=args.set)
    index = open_index(cfg.data, args.list or cfg.data.val_list, masks=True)
    index = dataclasses.replace(index, records=index.records[:: args.every])
    figures = {"list": args.list or cfg.data.val_list} | find_errors(index, args.folder, cfg)
    print(f"\nlist {figures['list']}: {table(figures)}")
    if args.json:
        write_json(args.json, figures)


def _percent(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{100 * value:.{digits}f}"


if __name__ == "__main__":
    sys.exit(run_script(main))
