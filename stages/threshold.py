"""The background threshold found without truth, from the seeds themselves; docs/method.md 7.

What is chosen lies in the run folder, `threshold.json`, with the reason; `threshold.jpg` shows masks around it.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from data.artifacts import Seed, read_seed
from data.dataset import Index, Record
from data.hints import NO_HINTS, Hints
from data.index import class_palette
from data.inspection import spread
from models.pseudo import pseudo_mask, upsample
from stages.context import CONTEXT_STEP
from stages.files import THRESHOLD, THRESHOLD_SHEET, some_seeds
from stages.hints import image_hints_of
from stages.settings import Config
from utils.distributed import from_main, is_main
from utils.files import atomic_path, read_json, write_json
from utils.ignore import IGNORE
from utils.run import Run
from utils.visualize import Tile, contact_sheet, overlay

logger = logging.getLogger(__name__)

MOST = 500  # seeds that are looked at, evenly over the list
WITHOUT_HINTS = 20  # images with classes and without hints; where there are so many, no others are looked at
TINY = 0.03  # of all cells; noise around objects that cover less is cut away, too,
REGIONS = 1.5  # until so many regions a class and image are left,
KEPT = 0.25  # but this part of what is above stays
GRID = np.arange(0.05, 0.901, 0.025).round(6)  # thresholds at which regions are counted
REFINED = 0.9  # of the value found, where masks are refined: that takes from objects (docs/log.md, e69)
EXAMPLES = 6  # images of the sheet
AROUND = 0.1  # the sheet shows the threshold, and this much below and above


@dataclass(frozen=True)
class Choice:
    """A threshold and the reason for it."""

    threshold: float
    reason: str


def choose(seeds: Callable[[], Iterable[Seed]], by_roots: bool = False) -> Choice | None:
    """Of seeds with a class: what separates the highest value of each of their cells into two groups best.

    Cells with a value outside of 0..1 do not count. With `by_roots`, for maps that are low on most of an object, what
    separates the roots of these values best. Where objects are tiny, the first higher value that leaves few regions.
    """
    histogram = np.zeros(256, np.int64)  # how often each value 0/255 .. 255/255 is the highest of an image's maps
    for seed in seeds():
        values = np.rint(seed.maps.max(axis=0) * 255).astype(np.int64)
        histogram += np.bincount(values[(values >= 0) & (values <= 255)], minlength=256)
    if not histogram.any():
        return None
    split = separating_value(histogram)
    areas = [histogram[np.arange(256) > value * 255].sum() / histogram.sum() for value in (split, *GRID)]
    area, areas_of_grid = areas[0], np.array(areas[1:])
    if area > TINY and by_roots:
        return Choice(round(separating_value(histogram, 0.5), 3), "it separates the roots of the maps' values best")
    if area <= TINY:
        regions = regions_above(seeds())
        at_split = np.interp(split, GRID, regions)
        fits = np.flatnonzero((split < GRID) & (regions <= REGIONS) & (areas_of_grid >= KEPT * area))
        if at_split > REGIONS and len(fits):
            tiny = f"objects are tiny, and {split:.2f}, which separates the maps' values best, leaves {at_split:.1f}"
            reason = f"{tiny} regions a class and image; from here on there are {regions[fits[0]]:.1f}"
            return Choice(float(GRID[fits[0]]), reason)
    return Choice(round(split, 3), f"it separates the maps' values best, {area:.2%} of which are above")


def regions_above(seeds: Iterable[Seed]) -> np.ndarray:
    """How many connected regions a class and image are above each threshold of `GRID`.

    Regions of a class with a cell above 1 are one together: a person has said that they are right.
    """
    regions, maps = np.zeros(len(GRID)), 0
    for seed in seeds:
        highest, winner = seed.maps.max(axis=0), seed.maps.argmax(axis=0)
        for index in range(len(seed.classes)):
            own = np.where(winner == index, highest, 0)
            for position, threshold in enumerate(GRID):
                count, labels = cv2.connectedComponents((own > threshold).astype(np.uint8))
                regions[position] += count - 1 - max(0, len(np.unique(labels[own > 1])) - 1)
        maps += len(seed.classes)
    return regions / maps


def separating_value(histogram: np.ndarray, power: float = 1.0) -> float:
    """(256,) counts of 0/255 .. 255/255 -> the value that separates the values to this power best (Otsu, 1979)."""
    share, values = histogram / max(1, histogram.sum()), (np.arange(256) / 255) ** power
    below, moment = share.cumsum(), (share * values).cumsum()
    between = (moment[-1] * below - moment) ** 2 / np.maximum(below * (1 - below), 1e-9)
    best = np.flatnonzero(between >= between.max() * (1 - 1e-9))
    return float(best.mean() / 255)


def find_threshold(index: Index, folder: Path, hints: Hints = NO_HINTS) -> Choice | None:
    """The threshold of the seeds of a list; None where no image has a class.

    Where the last step was the removal of context, maps are low on most of an object. Cells with a hint do not count:
    a hint holds at every threshold, so images without hints are looked at where there are enough.
    """
    records = [record for record in index.records if record.labels]
    without = [record for record in records if record.name not in hints.images]
    if len(without) >= WITHOUT_HINTS:
        records, hints = without, NO_HINTS
    return choose(partial(_seeds_and_hints, hints, records, folder), by_roots=folder.name == CONTEXT_STEP.folder)


def _seeds_and_hints(hints: Hints, records: Sequence[Record], folder: Path) -> Iterator[Seed]:
    """Some seeds of these images; in cells with a hint, a class has the value 2 if it is there, and else -1."""
    for record, seed in some_seeds(records, folder, MOST):
        own_hints = image_hints_of(hints, record.name, seed)
        if own_hints is not None:
            maps = torch.from_numpy(seed.maps)
            known, parts = own_hints.on_grid(maps)
            told = torch.where(parts[1:] > 0.5, 2.0, -1.0).to(maps.dtype)
            seed = dataclasses.replace(seed, maps=torch.where(known, told, maps).numpy())
        yield seed


def mask_at(path: Path, threshold: float) -> np.ndarray:
    """The (H, W) uint8 mask of a seed file at a threshold."""
    seed = read_seed(path)
    maps = upsample(torch.from_numpy(seed.maps), seed.size)
    return pseudo_mask(maps, torch.from_numpy(seed.classes), threshold=threshold).numpy()


def choose_threshold(
    cfg: Config, run: Run, index: Index, seeds: Path, hints: Hints = NO_HINTS
) -> tuple[Config, dict[str, Any], list[str]]:
    """Choose the threshold of stage `pseudo`, where `pseudo.find_threshold` asks for it, and write it down.

    The configuration with it, what the record of the stage keeps, and a sentence for the report if one was chosen.
    """
    if not cfg.pseudo.find_threshold and is_main() and run.path(THRESHOLD).is_file():
        # infer.py looks there, because the settings in the classifier's file may ask for a threshold that is found.
        write_json(run.path(THRESHOLD), dataclasses.asdict(Choice(cfg.pseudo.threshold, "it was set")))
        run.path(THRESHOLD_SHEET).unlink(missing_ok=True)
    choice = from_main(lambda: find_threshold(index, seeds, hints)) if cfg.pseudo.find_threshold else None
    if choice is None:
        return cfg, {}, []
    if cfg.pseudo.refine != "none":
        reason = f"{choice.reason}; times {REFINED}, because refinement ({cfg.pseudo.refine}) takes from objects"
        choice = Choice(round(REFINED * choice.threshold, 3), reason)
    cfg = cfg.changed("pseudo", threshold=choice.threshold)
    text = f"background threshold {choice.threshold:.3g} found without truth: {choice.reason} (see {THRESHOLD_SHEET})"
    run.log(f"pseudo    {text}")
    if is_main():
        write_json(run.path(THRESHOLD), dataclasses.asdict(choice))
        draw_thresholds(cfg, run.path(THRESHOLD_SHEET), index, seeds)
    return cfg, {"threshold": choice.threshold}, [text]


def with_found_threshold(cfg: Config, folder: Path | None) -> Config:
    """The configuration with the threshold that was found in a run folder, where one was asked for and is there."""
    if not cfg.pseudo.find_threshold or folder is None:
        return cfg
    found = read_json(folder / THRESHOLD)
    if not found:
        logger.warning("%s has no %s; masks are cut at pseudo.threshold, %g", folder, THRESHOLD, cfg.pseudo.threshold)
        return cfg
    return cfg.changed("pseudo", threshold=float(found["threshold"]))


def draw_thresholds(cfg: Config, path: Path, index: Index, seeds: Path) -> None:
    """Draw a sheet of examples cut at the threshold, below it and above it, so that a person can pick."""
    palette = class_palette(cfg.data, index.class_names)
    levels = [cfg.pseudo.threshold + step for step in (-AROUND, 0, AROUND)]
    rows = []
    for record in spread([record for record in index.records if record.labels], EXAMPLES):
        image = np.array(record.read_image())
        tiles = [Tile(image, ", ".join(index.class_names[label] for label in record.labels))]
        for level in levels:
            mask = mask_at(seeds / f"{record.name}.npz", max(0.0, level))
            part = np.count_nonzero((mask > 0) & (mask < IGNORE)) / mask.size
            tiles.append(Tile(overlay(image, mask, palette), f"{level:.2f}: {100 * part:.1f} %"))
        rows.append(tiles)
    title = f"pseudo.threshold {cfg.pseudo.threshold:.2f}, and around it"
    with atomic_path(path) as temporary:
        contact_sheet(rows, tile=230, title=title).save(temporary, quality=88)
