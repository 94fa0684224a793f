"""The images of a run's page: of the validation list with truth and errors, or before that of the seed list with its masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import read_mask, read_seed
from data.dataset import Index, Record
from data.images import read_image
from data.index import class_palette, open_index
from evaluation.predictions import BLURRED, GIVEN, LAST_RUNG, PREDICTED, RUNGS
from evaluation.report import BLUR_TRAINING, mask_at, walk_title
from stages.files import (
    FUSED,
    FUSED_LADDER,
    LADDER,
    PARTED,
    PREDICTIONS,
    PSEUDO,
    PSEUDO_LADDER,
    SEEDS,
    WALKED,
    WALKED_LADDER,
)
from stages.lists import seed_index
from utils.bootstrap import HITS, TRUTH, class_counts, figures_of
from utils.bootstrap import PREDICTED as PREDICTED_PIXELS
from utils.config import Config
from utils.console import progress
from utils.files import is_whole
from utils.metrics import ConfusionMatrix
from utils.page import Item, Layer, heat_uri, image_uri, mask_layer, mask_uri
from utils.run import Run
from utils.visualize import ERROR_COLOURS, ERRORS, error_map

TRAINING_IMAGES = 24  # shown of the seed list, while nothing is measured
MOST_BYTES = 13_000_000  # of all images together, so that the page stays under 15 MB
SEED, PREDICTION = "seed", "prediction"
ERROR_PALETTE = np.array(ERROR_COLOURS, np.uint8)


def validation_items(cfg: Config, run: Run, shown: Sequence[str], figures: dict[str, Any]) -> list[Item]:
    """Images of the validation list with every step from CAM to prediction.

    Args:
        shown: their names; as many are taken as `MOST_BYTES` allow.
        figures: `report.json`, for the thresholds.
    """
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    wanted = set(shown)
    records = [record for record in index.records if record.name in wanted]
    palette = class_palette(cfg.data, index.class_names)
    items = (
        _item(record, index, list(_validation_layers(cfg, run, record, index, palette, figures)))
        for record in progress(records, len(records), "page")
    )
    return list(_bounded(items))


def training_items(cfg: Config, run: Run) -> list[Item]:
    """Some images of the seed list with what the stages have made of them so far; never a truth."""
    index = seed_index(cfg)
    places = np.linspace(0, len(index) - 1, min(TRAINING_IMAGES, len(index))).round().astype(int)
    palette = class_palette(cfg.data, index.class_names)
    items = []
    for record in (index.records[place] for place in places):
        layers = [
            _heat(title, run.path(folder, f"{record.name}.npz"))
            for title, folder in (
                ("seed map", SEEDS),
                ("seed map without context", PARTED),
                ("seed map after training on blurred images", FUSED),
                ("walked seed map", WALKED),
            )
            if is_whole(run.path(folder, f"{record.name}.npz"))
        ]
        mask = run.path(PSEUDO, f"{record.name}.png")
        if is_whole(mask):
            layers.append(mask_layer("pseudo mask", read_mask(mask), palette, index.class_names))
        if layers:
            items.append(_item(record, index, layers))
    return list(_bounded(items))


def _item(record: Record, index: Index, layers: Sequence[Layer]) -> Item:
    image = np.array(record.read_image())
    classes = [index.class_names[label] for label in record.labels]
    return Item(record.name, image_uri(image), image.shape[:2], classes, layers)


def _validation_layers(
    cfg: Config, run: Run, record: Record, index: Index, palette: np.ndarray, figures: dict[str, Any]
) -> Iterator[Layer]:
    assert record.mask is not None  # the list is opened with masks
    truth, names = record.read_truth(), index.class_names

    def measured(title: str, mask: np.ndarray) -> Layer:
        score, by_class = evaluate_image(truth, mask, names)
        return mask_layer(title, mask, palette, names, score=score, by_class=by_class)

    yield mask_layer("truth", truth, palette, names)
    last = np.zeros_like(truth)
    cam = run.path(LADDER, "cam", f"{record.name}.npz")
    yield _heat("CAM map", cam)
    yield measured("CAM", mask_at(cam, figures[RUNGS["cam"]]["threshold_best"]))
    for number, path in enumerate(_rounds(run.path(LADDER, BLURRED), record.name), 1):
        yield Layer(f"blur, round {number}", image_uri(np.array(read_image(path))), over=False)
    seed = run.path(LADDER, LAST_RUNG, f"{record.name}.npz")
    yield _heat("seed map", seed)
    last = mask_at(seed, figures[RUNGS[LAST_RUNG]]["threshold_best"])
    yield measured(SEED, last)
    for name, title, folder in (
        ("seed after training on blurred images", BLUR_TRAINING, FUSED_LADDER),
        ("walked seed", walk_title(cfg), WALKED_LADDER),
    ):
        path = run.path(folder, GIVEN, f"{record.name}.npz")
        row = figures.get(f"+ {title}")
        if row is not None and is_whole(path):
            last = mask_at(path, row["threshold_best"])
            yield measured(name, last)
    pseudo = run.path(PSEUDO_LADDER, f"{record.name}.png")
    if is_whole(pseudo):
        last = read_mask(pseudo)
        yield measured("pseudo mask", last)
    predicted = run.path(PREDICTIONS, PREDICTED, f"{record.name}.png")
    if is_whole(predicted):
        last = read_mask(predicted)
        yield measured(PREDICTION, last)
    errors = error_map(truth, last)
    found = [number for number in range(1, len(ERROR_COLOURS)) if (errors == number).any()]
    yield Layer("errors", mask_uri(errors, ERROR_PALETTE), swatches=[(ERRORS[n - 1], ERROR_COLOURS[n]) for n in found])


def evaluate_image(truth: np.ndarray, mask: np.ndarray, class_names: Sequence[str]) -> tuple[float, dict[str, float]]:
    """mIoU over the classes in an image's truth, and the IoU of each class in its truth or mask; 0..1.

    Args:
        truth, mask: (H, W) uint8, 255 as in `utils.metrics`.
    """
    matrix = ConfusionMatrix(len(class_names) + 1)
    matrix.update(torch.from_numpy(truth), torch.from_numpy(mask))
    counts = class_counts(matrix.counts.numpy())
    union = counts[TRUTH] + counts[PREDICTED_PIXELS] - counts[HITS]
    names = ("background", *class_names)
    by_class = {names[value]: float(counts[HITS, value] / union[value]) for value in np.flatnonzero(union)}
    return float(figures_of(counts)["miou"]), by_class


def _heat(name: str, path: Path) -> Layer:
    """A seed file's highest map."""
    seed = read_seed(path)
    strongest = seed.maps.max(axis=0) if len(seed.classes) else np.zeros(seed.maps.shape[1:], np.float32)
    return Layer(name, heat_uri(strongest), ramp=True)


def _rounds(folder: Path, name: str) -> Iterator[Path]:
    number = 1
    while is_whole(path := folder / f"{name}.{number}.webp"):
        yield path
        number += 1


def _bounded(items: Iterator[Item] | Sequence[Item]) -> Iterator[Item]:
    """Items until `MOST_BYTES` are used up."""
    size = 0
    for item in items:
        size += len(item.uri) + sum(len(layer.uri) for layer in item.layers)
        if size > MOST_BYTES:
            return
        yield item
