"""Has a run learned anything? Checks of stages without truth, and warnings: what was found, and what to change."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.artifacts import read_mask
from data.dataset import Index
from data.inspection import spread
from models.classifier import Classifier
from models.reading import Views, read
from models.segmenter import Segmenter, cell_probabilities, most_likely
from stages.files import some_seeds
from stages.reading import prepare, whole_images
from stages.settings import Config
from utils.compute import Compute
from utils.distributed import gather, total
from utils.ignore import IGNORE
from utils.run import Run

MOST = 200  # images of a list that are looked at, evenly over it
FLAT = 0.9  # a map whose mean is above this part of its maximum shows no position
EQUAL = 0.98  # correlation from which on the maps of two classes are the same
EVERYWHERE = 0.9  # of an image: objects that cover more are rare
TOO_MANY = 0.5  # of the images: from this share on there is a warning
SHUFFLES = 2000  # random orders
LEVEL = 0.95  # a figure is above chance if at most one in twenty random orders reaches it


@dataclass(frozen=True)
class Learned:
    """What a classifier has learned of one class, by images that it was not trained with."""

    name: str
    images: int  # how many of them show it
    precision: float  # average precision; NaN where no image shows it
    chance: float  # what random orders reach
    needed: float  # what at most one in twenty random orders reaches, of all classes together

    @property
    def is_learned(self) -> bool:
        """Whether it is found better than by chance."""
        return self.precision > self.needed

    @property
    def can_tell(self) -> bool:
        """Whether there are enough images for any figure to be better than chance."""
        return self.images > 0 and self.needed < 1

    def __str__(self) -> str:
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return f"{self.name} {self.precision:.2f} (chance {self.chance:.2f}, {images})"


def tell(run: Run, stage: str, warnings: Sequence[str]) -> dict[str, Any]:
    """Log the warnings of a stage; returns what its record keeps of them, from which the report has them."""
    for warning in warnings:
        run.log(f"{stage:9} WARNING: {warning}")
    return {"warnings": list(warnings)} if warnings else {}


def what_classes_learned(cfg: Config, classifier: Classifier, held: Index, compute: Compute) -> list[Learned]:
    """Average precision of each class on images held back, beside chance."""
    sides = cfg.seeds.or_at_most(max(cfg.cam.resize_long))
    logits, labels = [], []
    for item in whole_images(held, range(len(held)), cfg.workers, "held back"):
        image = prepare(item["image"], classifier, compute, sides)
        logits.append(read(classifier, image, [], Views(flip=False)).logits.tolist())
        labels.append(item["labels"].tolist())
    scores, truth = _of_all_processes(logits), _of_all_processes(labels) > 0  # (C, N) each
    classes = int(truth.any(axis=1).sum())
    found = zip(held.class_names, truth.sum(axis=1).tolist(), average_precision(truth, scores).tolist(), strict=True)
    return [Learned(*row, *chance_level([row[1]], len(held), classes)) for row in found]


def _of_all_processes(rows: list[list[float]]) -> np.ndarray:
    """A row of C values for each image that this process has read -> (C, N) of the N images of all processes."""
    return np.array([row for part in gather(rows) for row in part]).T


def together(rows: Sequence[Learned], count: int) -> Learned | None:
    """The classes as one, by the mean of their average precisions on `count` images; None where these show none."""
    shown = [row for row in rows if row.images]
    if not shown:
        return None
    mean = float(np.mean([row.precision for row in shown]))
    return Learned("all classes", count, mean, *chance_level([row.images for row in shown], count))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(..., N) bool and (..., N) or (N,) scores -> the mean precision at the ranks of the right ones; NaN without any.

    Of equal scores the first is ranked first.
    """
    truth, scores = np.broadcast_arrays(truth, scores)
    ranked = np.take_along_axis(truth, np.argsort(-scores, axis=-1, kind="stable"), axis=-1)
    precision = ranked.cumsum(axis=-1) / np.arange(1, ranked.shape[-1] + 1)
    right = ranked.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (precision * ranked).sum(axis=-1) / np.where(right, right, np.nan)


def chance_level(right: Sequence[int], count: int, tests: int = 1) -> tuple[float, float]:
    """The mean average precision of random orders of `count` items, and the limit of chance.

    `right` is how many items are right, of each class; the figure is the mean over the classes. With more `tests` the
    limit is stricter, so that all together stay within `LEVEL`.
    """
    random, total = np.random.default_rng(0), np.zeros(SHUFFLES)
    for one in right:
        total += average_precision(np.arange(count) < one, random.random((SHUFFLES, count)))
    found = total / len(right)
    return float(found.mean()), float(np.quantile(found, 1 - (1 - LEVEL) / max(1, tests)))


def classifier_warnings(rows: Sequence[Learned]) -> list[str]:
    """What to say of classes that the classifier does not tell."""
    known = [row for row in rows if row.can_tell]
    warnings = []
    if names := ", ".join(row.name for row in rows if not row.can_tell and row.chance != 1):  # 1: all images show it
        warnings.append(
            f"too few images were held back to tell whether these classes are learned: {names}; more images of each "
            "class (10 at least), or a higher cam.held_back"
        )
    if missed := [str(row) for row in known if not row.is_learned]:
        warnings.append(
            f"average precision of images held back cannot be told from chance: {'; '.join(missed)}; are the labels "
            "right, and can the class be seen in images of cam.resize_long pixels? Give more images of it, or a higher "
            "cam.least_steps"
        )
    return warnings


def map_warnings(index: Index, folder: Path) -> list[str]:
    """What to say of seeds that show no position, or the same one for all classes."""
    flat = maps = equal = pairs = 0
    for _, seed in some_seeds(index.records, folder, MOST):
        rows = seed.maps.reshape(len(seed.classes), -1)
        is_flat = (rows.max(axis=1) == 0) | (rows.mean(axis=1) > FLAT * rows.max(axis=1))
        flat += int(is_flat.sum())
        maps += len(rows)
        rows = rows[~is_flat]
        if len(rows) > 1:
            correlations = np.corrcoef(rows)[np.triu_indices(len(rows), 1)]  # each pair once
            equal += int((correlations > EQUAL).sum())
            pairs += len(correlations)
    warnings = []
    if maps and flat / maps > TOO_MANY:
        warnings.append(
            f"{flat} of {maps} maps are flat and show no position; the classifier knows its classes by the whole "
            "image: add images without any class as background, or train it longer (cam.epochs, cam.least_steps)"
        )
    if pairs and equal / pairs > TOO_MANY:
        warnings.append(
            f"in {equal} of {pairs} pairs the maps of two classes of an image are the same; these classes always occur "
            "together: add images that show only one of them"
        )
    return warnings


def pseudo_warnings(index: Index, folder: Path) -> list[str]:
    """What to say of pseudo masks without objects, or with objects nearly everywhere."""
    records = (record for record in spread(index.records, MOST) if record.labels)
    masks = (read_mask(folder / f"{record.name}.png") for record in records)
    parts = [np.count_nonzero((mask > 0) & (mask < IGNORE)) / mask.size for mask in masks]
    return _extent_warnings(
        _none_and_everywhere(parts),
        len(parts),
        "pseudo masks of images whose labels say an object there is none; lower pseudo.threshold, or set "
        "pseudo.refine=none, which small objects need",
        f"pseudo masks objects cover more than {EVERYWHERE:.0%} of the image; if they do not in the images, raise "
        "pseudo.threshold, and add images without any class",
    )


def loss_warnings(loss: float, masks: Iterable[np.ndarray], object_weight: float) -> list[str]:
    """What to say of a network whose cross-entropy is not below that of a constant answer: how frequent a value is."""
    counts = sum((np.bincount(mask.ravel(), minlength=256) for mask in masks), np.zeros(256))[:IGNORE]
    counts[1:] *= object_weight
    shares = counts[counts > 0] / counts.sum()
    constant = -float((shares * np.log(shares)).sum())
    if not constant or loss < constant:
        return []
    return [
        f"the network has learned nothing: the loss of its last epoch is {loss:.2f}, and the same answer for every "
        f"pixel, how frequent each class is, has {constant:.2f}; lower segment.lr, or set segment.clip=5"
    ]


@torch.no_grad()
def mask_warnings(cfg: Config, index: Index, segmenter: Segmenter, compute: Compute) -> list[str]:
    """What to say of a network that draws no object in images whose labels say one, or draws them everywhere."""
    positions = [position for position in spread(range(len(index)), MOST) if index.records[position].labels]
    parts = []
    for item in whole_images(index, positions, cfg.workers, "look at masks"):
        image = prepare(item["image"], segmenter, compute, cfg.segmenter)
        size = (image.shape[-2], image.shape[-1])
        winner = most_likely(cell_probabilities(segmenter, image[None], (1.0,), False, size)[0], size)
        given = item["labels"].nonzero().flatten().to(winner.device) + 1
        parts.append(float(torch.isin(winner, given).float().mean()))
    return _extent_warnings(
        total(torch.tensor(_none_and_everywhere(parts))).tolist(),
        len(positions),
        "images whose labels say an object the network draws none; look at the pseudo masks: where they are right, "
        "raise segment.object_weight, segment.epochs or the size of the images (segment.max_side, segment.crop_size), "
        "else mend the steps before",
        f"images the network draws objects on more than {EVERYWHERE:.0%} of the pixels; if they are not so large, look "
        "at the pseudo masks: where these are right, raise segment.epochs or lower segment.object_weight, else raise "
        "pseudo.threshold",
    )


def _none_and_everywhere(parts: Sequence[float]) -> list[int]:
    """Of the parts of images that objects cover: how many are 0, and how many nearly all."""
    return [sum(part == 0 for part in parts), sum(part > EVERYWHERE for part in parts)]


def _extent_warnings(counts: Sequence[int], images: int, *sentences: str) -> list[str]:
    found = zip(counts, sentences, strict=True)
    return [f"in {count} of {images} {sentence}" for count, sentence in found if count > TOO_MANY * images]
