"""Stage `report`: what each step adds, evaluated on the validation list; the files are in docs/run_folder.md."""

from pathlib import Path
from typing import Any

import numpy as np

from data.artifacts import read_mask
from data.dataset import Index
from data.index import class_palette, open_index
from data.inspection import spread
from evaluation.ablation import GIVEN, PREDICTED, PSEUDO_ROW, change_rows, evaluate_row, method_rows
from evaluation.predictions import evaluate_predictions, write_predictions
from evaluation.scores import Evaluation, count_images, evaluate_masks
from evaluation.truth import warn_of_trained, why_no_truth
from stages import files
from stages.config import Config
from stages.dataset_steps import open_steps
from stages.networks import load_classifier, load_segmenter
from stages.pseudo import write_pseudo_masks
from stages.reading import build_method
from stages.threshold import mask_at, with_found_threshold
from utils.bootstrap import compare_counts, figures_of, intervals_of
from utils.compute import choose_compute
from utils.distributed import from_main, is_main
from utils.files import atomic_path, is_whole, write_json, write_text
from utils.ignore import IGNORE
from utils.run import Run
from utils.visualize import Tile, contact_sheet, overlay

EXAMPLES = 12  # images of the sheet, spread evenly over the list
PAGE_IMAGES, EXTREMES = 150, 12  # images of the page; of these the worst and the best ones, the others spread evenly


def no_truth(cfg: Config) -> str | None:
    """Why the validation list is not evaluated, or None if it is."""
    return why_no_truth(cfg) if cfg.report.enabled else "report.enabled is false"


def make_report(cfg: Config, run: Run) -> dict[str, Any]:
    """Evaluate all rows of the list with intervals over images, write the files of the report, and print its table."""
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    from_main(lambda: warn_of_trained(cfg, index))
    cfg = with_found_threshold(cfg, run.folder)
    rows = evaluate_rows(cfg, run, index)
    counts = {}  # (N, 3, C) by image
    for title, row in rows.items():
        counts[title] = count_images(index, Path(row.about["path"]), row.threshold_best, cfg.workers)
    run.replace_output()
    if is_main():
        table = report_table(rows, cfg.data.val_list)
        write_text(run.path(files.REPORT_TABLE), table + "\n")
        draw_sheet(run, index, rows, cfg)
        chosen = choose_images(figures_of(counts[list(counts)[-1]])["miou"], PAGE_IMAGES, EXTREMES)
        images = {
            "class_names": list(index.class_names),
            "images": len(index),
            "shown": [index.records[position].name for position in chosen],
            "confusion": {title: row.best.counts.tolist() for title, row in rows.items()},
        }
        write_json(run.path(files.REPORT_IMAGES), images)
        write_json(run.path(files.REPORT), figures_with_intervals(rows, counts))
        run.log(table)
    return {title: round(100 * row.best.miou(), 2) for title, row in rows.items()}


def evaluate_rows(cfg: Config, run: Run, index: Index) -> dict[str, Evaluation]:
    """The lines of the report by title: each step with given labels, masks, then the lines with predicted labels."""
    about = {"list": cfg.data.val_list, "backbone": cfg.model.backbone, "weights": cfg.model.weights}
    classifier = load_classifier(run.path(files.last_classifier(cfg)), index.class_names)
    steps, method = open_steps(cfg, run.folder, classifier, choose_compute(cfg)), build_method(cfg)
    seeds = method_rows(method, run.path(files.ABLATION))
    seeds = change_rows(seeds, steps, cfg, index, run.fresh_folder(files.CHANGED_ABLATION))
    rows = {row.title: evaluate_row(row, index, cfg, method, **about) for row in seeds}
    last = [row for row in seeds if row.labels == GIVEN][-1]
    folder = run.fresh_folder(files.PSEUDO_ABLATION)
    write_pseudo_masks(cfg, index, last.folder, folder)
    rows[PSEUDO_ROW] = evaluate_masks(index, folder, cfg.workers, labels=GIVEN, refine=cfg.pseudo.refine, **about)
    if "segment" in run.stages and run.path(files.SEGMENTER).is_file():
        folder = run.fresh_folder(files.PREDICTIONS)
        write_predictions(load_segmenter(run.path(files.SEGMENTER), index.class_names), index, folder, cfg)
        rows |= evaluate_predictions(index, folder, cfg, **about)
    return dict(sorted(rows.items(), key=lambda item: item[1].about["labels"] != GIVEN))


def figures_with_intervals(rows: dict[str, Evaluation], counts: dict[str, np.ndarray]) -> dict[str, dict[str, Any]]:
    """What `report.json` holds: figures, each with `interval` and `gain` over the line before with the same labels."""
    found = {}
    before: dict[str, str] = {}
    for title, row in rows.items():
        labels = row.about["labels"]
        intervals = {
            name: ends if np.isfinite(ends).all() else None for name, ends in intervals_of(counts[title]).items()
        }
        found[title] = row.figures() | {"interval": intervals, "gain": None}
        if labels in before:
            difference = compare_counts(counts[before[labels]], counts[title])["miou"]
            ends = {"low": difference.low, "high": difference.high, "clear": bool(difference.is_clear)}
            found[title]["gain"] = {"over": before[labels], "miou": difference.difference, **ends}
        before[labels] = title
    return found


def choose_images(miou: np.ndarray, most: int, extremes: int) -> list[int]:
    """Positions of at most `most` images by their mIoU (N,): `extremes` of the worst and best, others evenly."""
    if len(miou) <= most:
        return list(range(len(miou)))
    order = np.argsort(np.nan_to_num(miou), kind="stable")
    chosen = {*order[:extremes].tolist(), *order[-extremes:].tolist()}
    rest = [position for position in spread(range(len(miou)), most) if position not in chosen]
    return sorted(chosen.union(spread(rest, most - len(chosen))))


def draw_sheet(run: Run, index: Index, rows: dict[str, Evaluation], cfg: Config) -> None:
    """Draw `report.jpg`, examples: image, truth, the masks of the first and of the last maps, and the network's."""
    seeds = [(title, row) for title, row in rows.items() if row.about["labels"] == GIVEN and row.curve]
    palette = class_palette(cfg.data, index.class_names)
    sheet_rows = []
    for record in spread(index.records, EXAMPLES):
        image = np.array(record.read_image())
        masks = {"truth": record.read_truth()}
        for title, row in dict((seeds[0], seeds[-1])).items():
            masks[title] = mask_at(Path(row.about["path"]) / f"{record.name}.npz", row.threshold_best or 0.0)
        predicted = run.path(files.PREDICTIONS, PREDICTED, f"{record.name}.png")
        if is_whole(predicted):
            masks["segmentation"] = read_mask(predicted)
        tiles = [Tile(image, ", ".join(index.class_names[label] for label in record.labels))]
        for title, mask in masks.items():
            found = [int(value) for value in np.unique(mask) if 0 < value < IGNORE]
            swatches = [(index.class_names[value - 1], palette[value]) for value in found]
            tiles.append(Tile(overlay(image, mask, palette), title, swatches))
        sheet_rows.append(tiles)
    with atomic_path(run.path(files.REPORT_SHEET)) as temporary:
        contact_sheet(sheet_rows, tile=230).save(temporary, quality=88)


def report_table(rows: dict[str, Evaluation], list_name: str) -> str:
    """A line a row: figures at the best threshold, that threshold, and mIoU at the configured one."""
    count = next(iter(rows.values())).matrix.n_images
    lines = [f"{f'{list_name}: {count} images':34}{'mIoU':>7}{'over':>8}{'under':>8}{'best at':>9}{'at set':>8}"]
    for title, row in rows.items():
        best = row.best
        over, under = 100 * best.over_activation(), 100 * best.under_activation()
        cells = f"{title:34}{100 * best.miou():7.1f}{over:8.1f}{under:8.1f}"
        if row.threshold_best is not None:
            cells += f"{row.threshold_best:9.2f}{100 * row.matrix.miou():8.1f}"
        lines.append(cells)
    return "\n".join(lines)
