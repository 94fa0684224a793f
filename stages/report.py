"""Stages `ladder` and `report`: what each module adds, measured on the validation list."""

from typing import Any

from data.index import open_index
from stages.cam import FILE as CLASSIFIER
from stages.evaluation import Measurement, has_truth
from stages.networks import load_classifier, load_network
from stages.predictions import (
    GIVEN,
    PREDICTED,
    ladder_complete,
    measure_ladder,
    measure_predictions,
    write_ladder,
    write_predictions,
)
from stages.segment import FILE as SEGMENTER
from utils.config import Config
from utils.files import write_json, write_text
from utils.run import Run

LADDER, PREDICTIONS, FILE = "ladder", "predictions", "report.json"
TITLES = {"cam": "CAM", "gfm": "+ GFM", "prm": "+ PRM", "ibb": "+ IBB (the seed)"}


def no_truth(cfg: Config) -> str | None:
    """Why the validation list cannot be measured, or None if it can."""
    if not cfg.report.enabled:
        return "report.enabled is false"
    if not cfg.data.val_list:
        return "data.val_list is empty"
    if not has_truth(open_index(cfg.data, cfg.data.val_list, masks=True)):
        return f"list '{cfg.data.val_list}' has no masks to measure against"
    return None


def climb_ladder(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `ladder/RUNG/ID.npz` for the validation list: the maps at each step of the method."""
    index = open_index(cfg.data, cfg.data.val_list)
    written = write_ladder(load_classifier(run.path(CLASSIFIER)), index, run.fresh_folder(LADDER), cfg)
    return {"pictures": len(index), "written": written}


def ladder_is_complete(cfg: Config, run: Run) -> bool:
    """Whether every validation picture has all its steps."""
    return ladder_complete(open_index(cfg.data, cfg.data.val_list), run.path(LADDER))


def make_report(cfg: Config, run: Run) -> dict[str, Any]:
    """Measure the ladder and the segmentation network beside it, write `report.json` and `report.txt`, print the table."""
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    said = {"list": cfg.data.val_list, "backbone": cfg.model.backbone, "weights": cfg.model.weights}
    seeds = measure_ladder(index, run.path(LADDER), cfg, **said)
    rows = {title: seeds[rung] for rung, title in TITLES.items()}
    masks: dict[str, Measurement] = {}
    if "segment" in run.stages and run.path(SEGMENTER).is_file():
        segmenter, _, _ = load_network(run.path(SEGMENTER))
        folder = run.fresh_folder(PREDICTIONS)
        write_predictions(segmenter, index, folder, cfg)
        masks = measure_predictions(index, folder, cfg, **said)
        rows["segmentation, given labels"] = masks[GIVEN]
    rows["seed, predicted labels"] = seeds[PREDICTED]
    if masks:
        rows["segmentation, predicted labels"] = masks[PREDICTED]
    table = ladder_table(rows, cfg.data.val_list)
    write_json(run.path(FILE), {title: row.figures() for title, row in rows.items()})
    write_text(run.path("report.txt"), table + "\n")
    run.log(table)
    return {title: round(100 * row.best.miou(), 2) for title, row in rows.items()}


def ladder_table(rows: dict[str, Measurement], list_name: str) -> str:
    """A line a row: mIoU, over- and under-activation at the best threshold, that threshold, mIoU at the configured one."""
    count = next(iter(rows.values())).matrix.n_images
    lines = [f"{f'{list_name}: {count} pictures':34}{'mIoU':>7}{'over':>8}{'under':>8}{'best at':>9}{'at set':>8}"]
    for title, row in rows.items():
        cells = f"{title:34}{100 * row.best.miou():7.1f}{100 * row.best.over_activation():8.1f}{100 * row.best.under_activation():8.1f}"
        if row.threshold_best is not None:
            cells += f"{row.threshold_best:9.2f}{100 * row.matrix.miou():8.1f}"
        lines.append(cells)
    return "\n".join(lines)
