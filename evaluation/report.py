"""Stage `report`: what each step adds, evaluated on the validation list.

`report.json` holds every figure with its interval, `report_images.json` confusions and which images the page shows,
`report.txt` the table, `report.jpg` examples. The page itself, `report.html`, is made of these by evaluation/report_page.py.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import read_mask, read_seed
from data.dataset import Index, NoTruth
from data.index import class_palette, open_index
from evaluation.ablation import GIVEN, PREDICTED
from evaluation.figures import Evaluation
from evaluation.predictions import evaluate_predictions, write_predictions
from evaluation.rows import change_rows, evaluate_row, method_rows
from evaluation.scores import count_masks, count_seeds, evaluate_masks
from models.pseudo import pseudo_mask, upsample
from stages.config import Config
from stages.dataset_steps import open_steps
from stages.files import (
    ABLATION,
    CHANGED_ABLATION,
    PREDICTIONS,
    PSEUDO_ABLATION,
    REPORT,
    REPORT_IMAGES,
    REPORT_SHEET,
    REPORT_TABLE,
    SEGMENTER,
    last_classifier,
)
from stages.mask_writer import write_pseudo_masks
from stages.networks import load_classifier, load_segmenter
from stages.threshold import with_found_threshold
from utils.bootstrap import compare_counts, figures_of, intervals_of
from utils.compute import choose_compute
from utils.distributed import is_main
from utils.files import atomic_path, is_whole, read_json, write_json, write_text
from utils.ignore import IGNORE
from utils.run import Run
from utils.visualize import Tile, contact_sheet, overlay

PSEUDO_ROW = "pseudo masks"
EXAMPLES = 12  # images of the sheet, spread evenly over the list
SHOWN, EXTREMES = 150, 12  # images of the page; of these the worst and the best ones, the others spread evenly


@dataclass(frozen=True)
class Row:
    """A line of the report: its figures, and the folder that they are of."""

    evaluation: Evaluation
    folder: Path

    def counts(self, index: Index, workers: int) -> np.ndarray:
        """(N, 3, C) counts by image; seeds at their best threshold."""
        if self.evaluation.threshold_best is None:
            return count_masks(index, self.folder, workers)
        return count_seeds(index, self.folder, self.evaluation.threshold_best, workers)


def no_truth(cfg: Config) -> str | None:
    """Why the validation list cannot be evaluated, or None if it can."""
    if not cfg.report.enabled:
        return "report.enabled is false"
    if not cfg.data.val_list:
        return "data.val_list is empty"
    try:
        index = open_index(cfg.data, cfg.data.val_list, masks=True)
    except NoTruth as reason:
        return str(reason)
    without = index.without_truth()
    if len(without) == len(index):
        return f"list '{cfg.data.val_list}' has no masks to evaluate against"
    if without:
        return (
            f"{len(without)} of {len(index)} images of list '{cfg.data.val_list}' have no mask, first {without[0].image}; "
            "add them, or make a list of the images that have one"
        )
    return None


def make_report(cfg: Config, run: Run) -> dict[str, Any]:
    """Evaluate every step and the segmentation network, with intervals over images; print the table."""
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    cfg = with_found_threshold(cfg, run.folder)
    rows = evaluate_rows(cfg, run, index)
    counts = {title: row.counts(index, cfg.workers) for title, row in rows.items()}
    run.replace_output()
    if is_main():
        write_report(cfg, run, index, rows, counts)
    return {title: round(100 * row.evaluation.best.miou(), 2) for title, row in rows.items()}


def write_report(cfg: Config, run: Run, index: Index, rows: dict[str, Row], counts: dict[str, np.ndarray]) -> None:
    """Write all files of the report, and print the table.

    Args:
        rows, counts: of each line, the latter (N, 3, C) by image.
    """
    evaluations = {title: row.evaluation for title, row in rows.items()}
    table = report_table(evaluations, cfg.data.val_list)
    write_text(run.path(REPORT_TABLE), table + "\n")
    draw_sheet(run, index, rows, cfg)
    shown = choose_shown(figures_of(counts[list(counts)[-1]])["miou"], SHOWN, EXTREMES)
    write_json(
        run.path(REPORT_IMAGES),
        {
            "class_names": list(index.class_names),
            "images": len(index),
            "shown": [index.records[position].name for position in shown],
            "confusion": {title: row.best.counts.tolist() for title, row in evaluations.items()},
        },
    )
    write_json(run.path(REPORT), figures_with_intervals(evaluations, counts))
    run.log(table)


def report_is_complete(cfg: Config, run: Run) -> bool:
    """Whether the figures are there, and what the page needs beside them."""
    return all(read_json(run.path(name)) for name in (REPORT, REPORT_IMAGES))


def evaluate_rows(cfg: Config, run: Run, index: Index) -> dict[str, Row]:
    """The lines of the report by title: each step with given labels, masks, then what predicted labels give."""
    about = {"list": cfg.data.val_list, "backbone": cfg.model.backbone, "weights": cfg.model.weights}
    steps = open_steps(
        cfg, run.folder, load_classifier(run.path(last_classifier(cfg)), index.class_names), choose_compute(cfg)
    )
    seeds = change_rows(method_rows(cfg, run.path(ABLATION)), steps, cfg, index, run.fresh_folder(CHANGED_ABLATION))
    rows = {row.title: Row(evaluate_row(row, index, cfg, **about), row.folder) for row in seeds}
    given = {row.title: rows[row.title] for row in seeds if row.labels == GIVEN}
    predicted = {row.title: rows[row.title] for row in seeds if row.labels == PREDICTED}
    given[PSEUDO_ROW] = make_masks(cfg, run, index, list(given.values())[-1].folder, **about)
    if "segment" in run.stages and run.path(SEGMENTER).is_file():
        folder = run.fresh_folder(PREDICTIONS)
        write_predictions(load_segmenter(run.path(SEGMENTER), index.class_names), index, folder, cfg)
        masks = evaluate_predictions(index, folder, cfg, **about)
        given["segmentation, given labels"] = Row(masks[GIVEN], folder / GIVEN)
        predicted["segmentation, predicted labels"] = Row(masks[PREDICTED], folder / PREDICTED)
    return given | predicted


def make_masks(cfg: Config, run: Run, index: Index, source: Path, **about: Any) -> Row:
    """Make of the last seeds the masks that training would get, and evaluate them."""
    folder = run.fresh_folder(PSEUDO_ABLATION)
    write_pseudo_masks(cfg, index, source, folder)
    return Row(evaluate_masks(index, folder, cfg.workers, labels=GIVEN, crf=cfg.pseudo.refine, **about), folder)


def figures_with_intervals(rows: dict[str, Evaluation], counts: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What `report.json` holds: figures by title, each with `interval` and `gain`, the paired difference to the line before.

    Lines with given and with predicted labels are compared apart; the first line of each has no gain.
    """
    found = {}
    before: dict[str, str] = {}
    for title, row in rows.items():
        labels = str(row.evaluated["labels"])
        found[title] = row.figures() | {"interval": _finite(intervals_of(counts[title])), "gain": None}
        if labels in before:
            difference = compare_counts(counts[before[labels]], counts[title])["miou"]
            found[title]["gain"] = {
                "over": before[labels],
                "miou": difference.difference,
                "low": difference.low,
                "high": difference.high,
                "clear": bool(difference.is_clear),
            }
        before[labels] = title
    return found


def _finite(intervals: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float] | None]:
    return {name: ends if np.isfinite(ends).all() else None for name, ends in intervals.items()}


def choose_shown(miou: np.ndarray, most: int, extremes: int) -> list[int]:
    """Which images a page shows: all if they are few, else the worst and the best ones and an even sample of the list.

    Args:
        miou: (N,) of each image.
        most: the number of images to choose.
        extremes: how many of the worst and of the best are among them.

    Returns:
        Positions in ascending order.
    """
    if len(miou) <= most:
        return list(range(len(miou)))
    order = np.argsort(np.nan_to_num(miou), kind="stable")
    chosen = {*order[:extremes].tolist(), *order[-extremes:].tolist()}
    even = np.linspace(0, len(miou) - 1, most).round().astype(int).tolist()
    rest = [position for position in even if position not in chosen]
    kept = np.linspace(0, len(rest) - 1, min(len(rest), most - len(chosen))).round().astype(int)
    return sorted(chosen | {rest[index] for index in kept})


def draw_sheet(run: Run, index: Index, rows: dict[str, Row], cfg: Config) -> None:
    """Draw `report.jpg`, examples: image, truth, the masks of the first and of the last maps, and the network's."""
    seeds = [
        (t, row) for t, row in rows.items() if row.evaluation.evaluated["labels"] == GIVEN and row.evaluation.curve
    ]
    positions = np.linspace(0, len(index) - 1, min(EXAMPLES, len(index))).round().astype(int)
    palette = class_palette(cfg.data, index.class_names)
    sheet_rows = []
    for record in (index.records[position] for position in positions):
        image = np.array(record.read_image())
        masks = {"truth": record.read_truth()}
        for title, row in dict((seeds[0], seeds[-1])).items():
            masks[title] = mask_at(row.folder / f"{record.name}.npz", row.evaluation.threshold_best)
        predicted = run.path(PREDICTIONS, PREDICTED, f"{record.name}.png")
        if is_whole(predicted):
            masks["segmentation"] = read_mask(predicted)
        tiles = [Tile(image, ", ".join(index.class_names[label] for label in record.labels))]
        for title, mask in masks.items():
            found = [int(value) for value in np.unique(mask) if 0 < value < IGNORE]
            swatches = [(index.class_names[value - 1], palette[value]) for value in found]
            tiles.append(Tile(overlay(image, mask, palette), title, swatches))
        sheet_rows.append(tiles)
    with atomic_path(run.path(REPORT_SHEET)) as temporary:
        contact_sheet(sheet_rows, tile=230).save(temporary, quality=88)


def mask_at(path: Path, threshold: float | None) -> np.ndarray:
    """The (H, W) uint8 mask of a seed file at a threshold."""
    seed = read_seed(path)
    maps = upsample(torch.from_numpy(seed.maps), seed.size)
    mask = pseudo_mask(
        maps,
        torch.from_numpy(seed.classes),
        background="threshold",
        threshold=threshold or 0.0,
        power=1.0,
        ignore_band=0.0,
    )
    return np.asarray(mask, dtype=np.uint8)


def report_table(rows: dict[str, Evaluation], list_name: str) -> str:
    """A line a row: mIoU, over- and under-activation at the best threshold, that threshold, mIoU at the configured one."""
    count = next(iter(rows.values())).matrix.n_images
    lines = [f"{f'{list_name}: {count} images':34}{'mIoU':>7}{'over':>8}{'under':>8}{'best at':>9}{'at set':>8}"]
    for title, row in rows.items():
        cells = f"{title:34}{100 * row.best.miou():7.1f}{100 * row.best.over_activation():8.1f}{100 * row.best.under_activation():8.1f}"
        if row.threshold_best is not None:
            cells += f"{row.threshold_best:9.2f}{100 * row.matrix.miou():8.1f}"
        lines.append(cells)
    return "\n".join(lines)
