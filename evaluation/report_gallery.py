"""The images of a run's page: before the report of the training list, then of the validation list with errors."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import read_mask, read_seed
from data.dataset import Index, Record
from data.images import read_image
from data.index import class_palette, open_index
from data.inspection import spread
from evaluation.ablation import GIVEN, PREDICTED, PSEUDO_ROW, READ_IMAGES, method_rows, step_rows
from evaluation.scores import finite
from pages.images import SIDE, heat_layer, image_uri, mask_layer
from pages.page import Item, Layer, Section, write_page
from stages.config import Config
from stages.dataset_steps import used_steps
from stages.files import ABLATION, CHANGED_ABLATION, HINTS_PAGE, PREDICTIONS, PSEUDO, PSEUDO_ABLATION, SEEDS, seed_index
from stages.reading import build_method
from stages.threshold import mask_at, with_found_threshold
from utils.console import progress
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import is_whole
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix
from utils.run import Run

TRAINING_IMAGES = 24  # of the training list, while nothing is evaluated
HINT_IMAGES, HINT_SIDE = 200, 512  # of the training list, on the page where a person gives hints; their long side
MOST_BYTES = 18_000_000  # of all images together, so that the page stays under 20 MB
ERRORS = ("background taken for an object", "object taken for background", "another class")
# Okabe and Ito's colours, which the colour-blind can tell apart; the first is of what is right.
ERROR_PALETTE = np.array([(0, 0, 0), (230, 159, 0), (0, 114, 178), (204, 121, 167)], np.uint8)


@dataclass(frozen=True)
class ImageRow:
    """Files of a run that its page draws, one or more for each image."""

    title: str  # on the page
    folder: str  # of the run folder, with `ID.npz` (maps), `ID.png` (a mask) or `ID.1.webp`, `ID.2.webp`, ... (images)
    as_map: bool = False  # whether maps are drawn as maps
    threshold: float | None = None  # where maps are cut into a mask; None draws no mask of them


def validation_gallery(cfg: Config, run: Run, figures: dict[str, Any], images: dict[str, Any]) -> Section:
    """Images of the validation list, as many as `MOST_BYTES` allow, with their truth and every row of the report."""
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    wanted = set(images["shown"])
    records = [record for record in index.records if record.name in wanted]
    items = _items(progress(records, len(records), "page"), index, cfg, run, validation_images(cfg, figures))
    note = f"List {cfg.data.val_list}. Labels are given, except where a title names predicted labels."
    if len(items) < images["images"]:
        note += f" {len(items)} of {images['images']} images: the worst, the best, and an even sample of the others."
    scored = [layer.name for item in items for layer in item.layers if layer.score is not None]
    return Section("Images", note, items=items, show=scored[-1] if scored else "")


def training_gallery(cfg: Config, run: Run) -> Section:
    """Some images of the training list with what the stages have made of them so far; never a truth."""
    index = seed_index(cfg)
    items = _items(spread(index.records, TRAINING_IMAGES), index, cfg, run, training_images(cfg))
    items = [item for item in items if item.layers]
    note = (
        "Some images of the training list; their truth is not read. python report.py FOLDER --hints writes a page with "
        "many of them, on which a person gives hints."
    )
    labels = (cfg.data.background, *index.class_names)
    return Section("Images", note, items=items, show=items[0].layers[-1].name if items else "", hint_labels=labels)


def write_hints_page(cfg: Config, run: Run) -> Path:
    """Write `hints.html`: the least certain images of the training list, to give hints on; never a truth."""
    index, rows = seed_index(cfg), training_images(cfg)
    seeds = [row.folder for row in rows if row.as_map and run.path(row.folder).is_dir()]
    threshold = with_found_threshold(cfg, run.folder).pseudo.threshold
    found = {}
    for record in progress(index.records, len(index), "certainty"):
        files = [path for folder in seeds if is_whole(path := run.path(folder) / f"{record.name}.npz")]
        if files and record.labels:
            found[record.name] = certainty_of(read_seed(files[-1], index.class_names).maps, threshold)
    if not found:
        raise UserError(f"{run.folder} has no seeds yet; run train.py up to stage seeds first")
    seen = [record for record in index.records if record.name in found]
    records = sorted(seen, key=lambda record: found[record.name])[:HINT_IMAGES]
    items = _items(progress(records, len(records), "page"), index, cfg, run, rows[-1:], HINT_SIDE)
    without = [run.path(PSEUDO) / f"{item.title}.png" for item in items if not item.layers]
    if stale := [*filter(is_whole, without)]:
        what = f"{stale[0]} has another size than its image, so the data have changed since"
        raise UserError(f"{what}; give the train command again, and then this one")
    items = [replace(item, certainty=found[item.title]) for item in items]
    note = (
        f"The {len(items)} least certain of {len(index)} images. The certainty of an image is the mean, over its "
        "pixels, of the difference between the two highest scores of background and its classes."
    )
    labels = (cfg.data.background, *index.class_names)
    section = Section("Images", note, items=items, show=rows[-1].title, hint_labels=labels)
    intro = [
        "Click where a mask is wrong, and save hints.json. The same train command with --set data.hints=hints.json "
        "makes again what depends on it."
    ]
    write_page(run.path(HINTS_PAGE), f"Hints for {run.folder.resolve().name}", intro, [section])
    return run.path(HINTS_PAGE)


def validation_images(cfg: Config, figures: dict[str, Any]) -> list[ImageRow]:
    """The files that `report.json` has figures of. The first and the last maps are drawn as maps, too."""
    seeds = method_rows(build_method(cfg), Path(ABLATION))
    seeds += [step_rows(step, Path(CHANGED_ABLATION))[GIVEN] for step in used_steps(cfg)]
    rows = [(row.title, str(row.folder)) for row in seeds if row.labels == GIVEN]
    rows += [(PSEUDO_ROW, PSEUDO_ABLATION), ("segmentation, predicted labels", f"{PREDICTIONS}/{PREDICTED}")]
    found = [(title, folder, figures[title]["threshold_best"]) for title, folder in rows if title in figures]
    maps = [title for title, _, threshold in found if threshold is not None]
    ends = (*maps[:1], *maps[-1:])
    drawn = [ImageRow(title, folder, title in ends, threshold) for title, folder, threshold in found]
    return drawn + [ImageRow(f"{step.title}: image", f"{ABLATION}/{READ_IMAGES}/{step.name}") for step in cfg.steps]


def training_images(cfg: Config) -> list[ImageRow]:
    """What the stages make for the images of the training list."""
    steps = [ImageRow(f"seed + {step.title}", step.folder, as_map=True) for step in used_steps(cfg)]
    return [ImageRow("seed", SEEDS, as_map=True), *steps, ImageRow("pseudo mask", PSEUDO)]


def certainty_of(maps: np.ndarray, threshold: float) -> float:
    """The mean difference between the two highest scores of background (`threshold`) and of maps (K, h, w), K >= 1."""
    scores = np.sort(np.concatenate([np.full_like(maps[:1], threshold), maps]), axis=0)
    return float((scores[-1] - scores[-2]).mean())


def _items(
    records: Iterable[Record], index: Index, cfg: Config, run: Run, rows: Sequence[ImageRow], side: int = SIDE
) -> list[Item]:
    palette = class_palette(cfg.data, index.class_names)
    items: list[Item] = []
    size = 0
    for record in records:
        image = np.array(record.read_image())
        classes = [index.class_names[label] for label in record.labels]
        layers = list(_layers(record, image.shape[:2], index.class_names, palette, run, rows))
        content = digest_files([record.image])[0]
        item = Item(record.name, image_uri(image, side), image.shape[:2], classes, layers, content=content)
        size += len(item.uri) + sum(len(layer.uri) for layer in layers)
        if size > MOST_BYTES:
            break
        items.append(item)
    return items


def _layers(
    record: Record, size: tuple[int, ...], names: Sequence[str], palette: np.ndarray, run: Run, rows: Sequence[ImageRow]
) -> Iterator[Layer]:
    truth = None if record.mask is None else record.read_truth()
    if truth is not None:
        yield mask_layer("truth", truth, palette, names)
    last = None
    for row in rows:
        folder, mask = run.path(row.folder), None
        maps, drawn = folder / f"{record.name}.npz", folder / f"{record.name}.png"
        if row.as_map and is_whole(maps):
            yield heat_layer(f"{row.title}, map", read_seed(maps).maps.max(axis=0, initial=0))
        if row.threshold is not None and is_whole(maps):
            mask = mask_at(maps, row.threshold)
        elif is_whole(drawn):
            mask = read_mask(drawn)
        numbered = (folder / f"{record.name}.{number}.webp" for number in count(1))
        for number, path in enumerate(takewhile(is_whole, numbered), 1):
            yield Layer(f"{row.title} {number}", image_uri(np.array(read_image(path))), over=False)
        if mask is not None and mask.shape == size:  # else of data that have been replaced since
            score, by_class = (None, {}) if truth is None else evaluate_image(truth, mask, names)
            yield mask_layer(row.title, mask, palette, names, score=score, by_class=by_class)
            last = mask
    if truth is not None and last is not None:
        yield mask_layer("errors", error_map(truth, last), ERROR_PALETTE, ERRORS, names=())


def evaluate_image(truth: np.ndarray, mask: np.ndarray, names: Sequence[str]) -> tuple[float | None, dict[str, float]]:
    """mIoU over the classes in an image's truth (None without any), and the IoU of each class in its truth or mask."""
    matrix = ConfusionMatrix(len(names) + 1)
    matrix.update(torch.from_numpy(truth), torch.from_numpy(mask))
    ious = {name: finite(iou) for name, iou in zip(("background", *names), matrix.iou(), strict=True)}
    return finite(matrix.miou()), {name: iou for name, iou in ious.items() if iou is not None}


def error_map(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8: 0 where the mask is right or the truth is 255, else 1 + the index of the error in `ERRORS`."""
    mask = np.where(mask == IGNORE, 0, mask)  # counts as background
    right = (truth == mask) | (truth == IGNORE)
    return np.select([right, truth == 0, mask == 0], [0, 1, 2], 3).astype(np.uint8)
