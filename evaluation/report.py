"""Stages `ladder` and `report`: what each module adds, measured on the validation list.

`report.json` holds every figure with its interval, `report_images.json` confusions and which images the page shows,
`report.txt` the table, `report.jpg` examples. The page itself, `report.html`, is made of these by evaluation/report_page.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import IGNORE, read_mask, read_seed
from data.dataset import Index, NoTruth
from data.index import class_palette, open_index
from evaluation.predictions import (
    GIVEN,
    LAST_RUNG,
    PREDICTED,
    RUNGS,
    evaluate_ladder,
    evaluate_predictions,
    evaluate_rung,
    ladder_complete,
    write_ladder,
    write_predictions,
)
from evaluation.scores import Evaluation, count_masks, count_seeds, evaluate_masks
from models.pseudo import pseudo_mask, upsample
from stages.files import (
    FUSED_LADDER,
    IBB,
    LADDER,
    PREDICTIONS,
    PSEUDO_LADDER,
    REPORT,
    REPORT_IMAGES,
    REPORT_SHEET,
    REPORT_TABLE,
    SEGMENTER,
    WALKED_LADDER,
    last_classifier,
    trains_on_blurred,
)
from stages.ibb import fuse_seeds
from stages.networks import load_classifier, load_segmenter
from stages.pseudo import write_pseudo_masks
from stages.walk import walk_seeds
from utils.bootstrap import compare_counts, figures_of, intervals_of
from utils.config import Config
from utils.distributed import is_main
from utils.files import atomic_path, is_whole, read_json, write_json, write_text
from utils.run import Run
from utils.visualize import Tile, contact_sheet, overlay

BLUR_TRAINING = "IBB in training"  # what the ladder calls the stages `ibb` and `fuse`
SeedStep = Callable[[Config, Run, Index, Path, Path], int]  # seeds of one folder -> seeds in another

EXAMPLES = 12  # images of the sheet, spread evenly over the list
SHOWN, EXTREMES = 150, 12  # images of the page; of these the worst and the best ones, the others spread evenly


@dataclass(frozen=True)
class Row:
    """A line of the ladder: its figures, and the folder that they are of."""

    measured: Evaluation
    folder: Path

    def counts(self, index: Index, workers: int) -> np.ndarray:
        """(N, 3, C) counts by image; seeds at their best threshold."""
        if self.measured.threshold_best is None:
            return count_masks(index, self.folder, workers)
        return count_seeds(index, self.folder, self.measured.threshold_best, workers)


def no_truth(cfg: Config) -> str | None:
    """Why the validation list cannot be measured, or None if it can."""
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
        return f"list '{cfg.data.val_list}' has no masks to measure against"
    if without:
        return (
            f"{len(without)} of {len(index)} images of list '{cfg.data.val_list}' have no mask, first {without[0].image}; "
            "add them, or make a list of the images that have one"
        )
    return None


def climb_ladder(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `ladder/RUNG/ID.npz` for the validation list: the maps at each step of the method."""
    index = open_index(cfg.data, cfg.data.val_list)
    written = write_ladder(load_classifier(run.path(last_classifier(cfg))), index, run.fresh_folder(LADDER), cfg)
    return {"images": len(index), "written": written}


def ladder_is_complete(cfg: Config, run: Run) -> bool:
    """Whether every validation image has all its steps."""
    rounds = cfg.ibb.iterations if cfg.ibb.enabled else 0
    return ladder_complete(open_index(cfg.data, cfg.data.val_list), run.path(LADDER), rounds)


def make_report(cfg: Config, run: Run) -> dict[str, Any]:
    """Measure the ladder and the segmentation network beside it, with intervals over images; print the table."""
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    rows = measure_rows(cfg, run, index)
    measured = {title: row.measured for title, row in rows.items()}
    counts = {title: row.counts(index, cfg.workers) for title, row in rows.items()}
    run.replace_output()
    if is_main():
        write_report(cfg, run, index, measured, counts)
    return {title: round(100 * row.best.miou(), 2) for title, row in measured.items()}


def write_report(
    cfg: Config, run: Run, index: Index, measured: dict[str, Evaluation], counts: dict[str, np.ndarray]
) -> None:
    """Write all files of the report, and print the table.

    Args:
        measured, counts: of each line of the ladder, the latter (N, 3, C) by image.
    """
    table = ladder_table(measured, cfg.data.val_list)
    write_text(run.path(REPORT_TABLE), table + "\n")
    draw_sheet(run, index, measured, cfg)
    shown = choose_shown(figures_of(counts[list(counts)[-1]])["miou"], SHOWN, EXTREMES)
    write_json(
        run.path(REPORT_IMAGES),
        {
            "class_names": list(index.class_names),
            "images": len(index),
            "shown": [index.records[number].name for number in shown],
            "confusion": {title: row.best.counts.tolist() for title, row in measured.items()},
        },
    )
    write_json(run.path(REPORT), figures_with_intervals(measured, counts))
    run.log(table)


def report_is_complete(cfg: Config, run: Run) -> bool:
    """Whether the figures are there, and what the page needs beside them."""
    return all(read_json(run.path(name)) for name in (REPORT, REPORT_IMAGES))


def measure_rows(cfg: Config, run: Run, index: Index) -> dict[str, Row]:
    """The lines of the ladder by title: each module with given labels, then the same ends with predicted labels."""
    said = {"list": cfg.data.val_list, "backbone": cfg.model.backbone, "weights": cfg.model.weights}
    ladder = run.path(LADDER)
    seeds = evaluate_ladder(index, ladder, cfg, **said)
    rows = {title: Row(seeds[rung], ladder / rung) for rung, title in RUNGS.items()}
    ends = {"seed": Row(seeds[PREDICTED], ladder / PREDICTED)}
    climbs = []
    if trains_on_blurred(cfg) and run.path(IBB).is_file():
        climbs.append((BLUR_TRAINING, FUSED_LADDER, fuse_seeds))
    if cfg.affinity.kind != "none":
        climbs.append((walk_title(cfg), WALKED_LADDER, walk_seeds))
    for title, name, step in climbs:
        before = {GIVEN: [*rows.values()][-1].folder, PREDICTED: [*ends.values()][-1].folder}
        after = climb(cfg, run, index, before, run.fresh_folder(name), step, **said)
        rows[f"+ {title}"], ends[title] = after[GIVEN], after[PREDICTED]
    rows["pseudo masks"] = make_masks(cfg, run, index, list(rows.values())[-1].folder, **said)
    if "segment" in run.stages and run.path(SEGMENTER).is_file():
        segmenter = load_segmenter(run.path(SEGMENTER))
        folder = run.fresh_folder(PREDICTIONS)
        write_predictions(segmenter, index, folder, cfg)
        masks = evaluate_predictions(index, folder, cfg, **said)
        rows["segmentation, given labels"] = Row(masks[GIVEN], folder / GIVEN)
        ends["segmentation"] = Row(masks[PREDICTED], folder / PREDICTED)
    return rows | {f"{name}, predicted labels": row for name, row in ends.items()}


def walk_title(cfg: Config) -> str:
    """What the ladder calls the walk."""
    return f"walk ({cfg.affinity.kind})"


def climb(
    cfg: Config, run: Run, index: Index, before: dict[str, Path], folder: Path, step: SeedStep, **said: Any
) -> dict[str, Row]:
    """Take the ladder's seeds, with given and with predicted labels, a stage further, and measure them."""
    for labels, seeds in before.items():
        step(cfg, run, index, seeds, folder / labels)
    return {
        labels: Row(evaluate_rung(index, folder / labels, labels, cfg, **said), folder / labels) for labels in before
    }


def make_masks(cfg: Config, run: Run, index: Index, source: Path, **said: Any) -> Row:
    """Make of the ladder's last seeds the masks that training would get, and measure them."""
    folder = run.fresh_folder(PSEUDO_LADDER)
    write_pseudo_masks(cfg, index, source, folder)
    return Row(evaluate_masks(index, folder, cfg.workers, labels=GIVEN, crf=cfg.pseudo.refine, **said), folder)


def figures_with_intervals(rows: dict[str, Evaluation], counts: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What `report.json` holds: figures by title, each with `interval` and `gain`, the paired difference to the line before.

    Lines with given and with predicted labels are two ladders; the first line of each has no gain.
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
    rest = [number for number in even if number not in chosen]
    places = np.linspace(0, len(rest) - 1, min(len(rest), most - len(chosen))).round().astype(int)
    return sorted(chosen | {rest[place] for place in places})


def draw_sheet(run: Run, index: Index, rows: dict[str, Evaluation], cfg: Config) -> None:
    """Draw `report.jpg`, examples of what was measured: image, truth, and each method's mask beside it."""
    first, last = rows[RUNGS["cam"]], rows[RUNGS[LAST_RUNG]]
    examples = [index.records[round(place)] for place in np.linspace(0, len(index) - 1, min(EXAMPLES, len(index)))]
    palette = class_palette(cfg.data, index.class_names)
    sheet_rows = []
    for record in examples:
        image = np.array(record.read_image())
        masks = {
            "truth": record.read_truth(),
            "CAM": mask_at(run.path(LADDER, "cam", f"{record.name}.npz"), first.threshold_best),
            "seed (all modules)": mask_at(run.path(LADDER, LAST_RUNG, f"{record.name}.npz"), last.threshold_best),
        }
        walked = run.path(WALKED_LADDER, GIVEN, f"{record.name}.npz")
        walk_row = rows.get(f"+ {walk_title(cfg)}")
        if walk_row is not None:
            masks["seed after the walk"] = mask_at(walked, walk_row.threshold_best)
        predicted = run.path(PREDICTIONS, PREDICTED, f"{record.name}.png")
        if is_whole(predicted):
            masks["segmentation"] = read_mask(predicted)
        names = ", ".join(index.class_names[label] for label in record.labels)
        tiles = [Tile(image, names)]
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


def ladder_table(rows: dict[str, Evaluation], list_name: str) -> str:
    """A line a row: mIoU, over- and under-activation at the best threshold, that threshold, mIoU at the configured one."""
    count = next(iter(rows.values())).matrix.n_images
    lines = [f"{f'{list_name}: {count} images':34}{'mIoU':>7}{'over':>8}{'under':>8}{'best at':>9}{'at set':>8}"]
    for title, row in rows.items():
        cells = f"{title:34}{100 * row.best.miou():7.1f}{100 * row.best.over_activation():8.1f}{100 * row.best.under_activation():8.1f}"
        if row.threshold_best is not None:
            cells += f"{row.threshold_best:9.2f}{100 * row.matrix.miou():8.1f}"
        lines.append(cells)
    return "\n".join(lines)
