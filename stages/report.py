"""Stages `ladder` and `report`: what each module adds, measured on the validation list."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import IGNORE, read_mask, read_seed
from data.dataset import Index, NoTruth
from data.images import read_image
from data.index import class_palette, open_index
from models.pseudo import pseudo_mask, upsample
from stages.cam import FILE as CLASSIFIER
from stages.evaluation import Measurement
from stages.networks import load_classifier, load_network
from stages.predictions import (
    GIVEN,
    PREDICTED,
    RUNGS,
    ladder_complete,
    measure_ladder,
    measure_predictions,
    measure_rung,
    write_ladder,
    write_predictions,
)
from stages.segment import FILE as SEGMENTER
from stages.walk import walk_seeds
from utils.config import Config
from utils.files import atomic_path, write_json, write_text
from utils.run import Run
from utils.visualize import Card, Table, Tile, contact_sheet, overlay, write_page

LADDER, WALKED_LADDER, PREDICTIONS, FILE = "ladder", "ladder_walked", "predictions", "report.json"
EXAMPLES = 12  # pictures drawn, spread evenly over the list
TITLES = {"cam": "CAM", "gfm": "+ GFM", "prm": "+ PRM", "ibb": "+ IBB (the seed)"}


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
        return (f"{len(without)} of {len(index)} pictures of list '{cfg.data.val_list}' have no mask, first {without[0].image}; "
                "add them, or make a list of the pictures that have one")  # fmt: skip
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
    """Measure the ladder and the segmentation network beside it, print the table.

    Writes `report.txt` (the table), `report.jpg` (examples), `report.html` (both) and `report.json` (every figure).
    """
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    said = {"list": cfg.data.val_list, "backbone": cfg.model.backbone, "weights": cfg.model.weights}
    seeds = measure_ladder(index, run.path(LADDER), cfg, **said)
    rows = {title: seeds[rung] for rung, title in TITLES.items()}
    walked: dict[str, Measurement] = {}
    walk_title = f"walk ({cfg.affinity.kind})"
    if cfg.affinity.kind != "none":
        walked = climb_walk(cfg, run, index, **said)
        rows[f"+ {walk_title}"] = walked[GIVEN]
    masks: dict[str, Measurement] = {}
    if "segment" in run.stages and run.path(SEGMENTER).is_file():
        segmenter, _, _ = load_network(run.path(SEGMENTER))
        folder = run.fresh_folder(PREDICTIONS)
        write_predictions(segmenter, index, folder, cfg)
        masks = measure_predictions(index, folder, cfg, **said)
        rows["segmentation, given labels"] = masks[GIVEN]
    rows["seed, predicted labels"] = seeds[PREDICTED]
    if walked:
        rows[f"{walk_title}, predicted labels"] = walked[PREDICTED]
    if masks:
        rows["segmentation, predicted labels"] = masks[PREDICTED]
    table = ladder_table(rows, cfg.data.val_list)
    write_text(run.path("report.txt"), table + "\n")
    draw_report(run, index, rows, cfg)
    write_json(run.path(FILE), {title: row.figures() for title, row in rows.items()})
    run.log(table)
    return {title: round(100 * row.best.miou(), 2) for title, row in rows.items()}


def climb_walk(cfg: Config, run: Run, index: Index, **said: Any) -> dict[str, Measurement]:
    """Walk the ladder's seeds and measure them, with given and with predicted labels."""
    folder = run.fresh_folder(WALKED_LADDER)
    for labels, rung in ((GIVEN, RUNGS[-1]), (PREDICTED, PREDICTED)):
        walk_seeds(cfg, run, index, run.path(LADDER, rung), folder / labels)
    return {labels: measure_rung(index, folder / labels, labels, cfg, **said) for labels in (GIVEN, PREDICTED)}


def draw_report(run: Run, index: Index, rows: dict[str, Measurement], cfg: Config) -> None:
    """Draw examples of what was measured: picture, truth, and each method's mask beside it."""
    first, last = rows[TITLES["cam"]], rows[TITLES["ibb"]]
    examples = [index.records[round(place)] for place in np.linspace(0, len(index) - 1, min(EXAMPLES, len(index)))]
    palette = class_palette(cfg.data, index.class_names)
    sheet_rows = []
    for record in examples:
        image = np.array(read_image(record.image))
        masks = {
            "truth": read_mask(record.mask),
            "CAM": _mask_at(run.path(LADDER, "cam", f"{record.name}.npz"), first.threshold_best),
            "seed (GFM, PRM, IBB)": _mask_at(run.path(LADDER, "ibb", f"{record.name}.npz"), last.threshold_best),
        }
        walked = run.path(WALKED_LADDER, GIVEN, f"{record.name}.npz")
        walk_row = rows.get(f"+ walk ({cfg.affinity.kind})")
        if walk_row is not None:
            masks["seed after the walk"] = _mask_at(walked, walk_row.threshold_best)
        predicted = run.path(PREDICTIONS, PREDICTED, f"{record.name}.png")
        if predicted.is_file():
            masks["segmentation"] = read_mask(predicted)
        names = ", ".join(index.class_names[label] for label in record.labels)
        tiles = [Tile(image, names)]
        for title, mask in masks.items():
            found = [int(value) for value in np.unique(mask) if 0 < value < IGNORE]
            swatches = [(index.class_names[value - 1], palette[value]) for value in found]
            tiles.append(Tile(overlay(image, mask, palette), title, swatches))
        sheet_rows.append(tiles)
    with atomic_path(run.path("report.jpg")) as temporary:
        contact_sheet(sheet_rows, tile=230).save(temporary, quality=88)
    columns = ("", "mIoU", "over-activation", "under-activation", "best threshold", "mIoU at the set threshold")
    cells = [
        (title, f"{100 * row.best.miou():.1f}", f"{100 * row.best.over_activation():.1f} %", f"{100 * row.best.under_activation():.1f} %",
         *(("", "") if row.threshold_best is None else (f"{row.threshold_best:.2f}", f"{100 * row.matrix.miou():.1f}")))
        for title, row in rows.items()
    ]  # fmt: skip
    intro = (f"List {cfg.data.val_list}, {len(index)} pictures; {cfg.model.backbone}, {cfg.model.weights} weights. Over-activation is the share "
             "of background pixels given a class, under-activation the share of object pixels given background.",)  # fmt: skip
    sheet = np.array(read_image(run.path("report.jpg")))
    card = Card("examples", sheet, note="masks at each method's best threshold")
    page_title = f"IBBNet: {run.folder.name}"
    write_page(
        run.path("report.html"),
        page_title,
        intro,
        [card],
        [Table("Ladder", columns, cells)],
        card_width=900,
        thumbnail=2600,
    )


def _mask_at(path: Path, threshold: float | None) -> np.ndarray:
    """The mask of a seed file at a threshold."""
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
