"""Is a difference between two methods more than the choice of images? Paired bootstrap intervals (Efron, 1979).

Images are drawn with replacement, as many as there are, the same for both methods, and both are measured on each draw. mIoU
is a ratio of sums over images, so a draw needs each image's counts only once: a matrix product gives all draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
DRAWS = 2000
CHUNK = 200  # draws at a time: (200, N) weights, 64 MB for 40,000 images

HITS, TRUTH, PREDICTED = range(3)  # rows of an image's counts


@dataclass(frozen=True)
class Difference:
    """A figure of two methods, A and B.

    Attributes:
        a, b: on all images, 0..1.
        low, high: percentile interval of b - a at `LEVEL`.
        not_better: share of the draws in which B is not above A.
    """

    a: float
    b: float
    low: float
    high: float
    not_better: float

    @property
    def difference(self) -> float:
        """How much larger the second is."""
        return self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def class_counts(confusion: np.ndarray) -> np.ndarray:
    """(C, C) counts of an image, truth in rows -> (3, C) hits, pixels in the truth, pixels predicted: all that IoU needs."""
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def figures_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of counts (..., 3, C), each (...): `miou`, `over_activation` and `under_activation`, in 0..1.

    mIoU is over the classes in the truth, as in `utils.metrics`; a draw may be without a rare class.
    """
    hits, truth, predicted = counts[..., HITS, :], counts[..., TRUTH, :], counts[..., PREDICTED, :]
    union = truth + predicted - hits
    present = truth > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(present, hits / np.where(present, union, 1), 0.0)
        return {
            "miou": iou.sum(axis=-1) / present.sum(axis=-1),
            "over_activation": (truth[..., 0] - hits[..., 0]) / truth[..., 0],
            "under_activation": (predicted[..., 0] - hits[..., 0]) / truth[..., 1:].sum(axis=-1),
        }


def compare_counts(a: np.ndarray, b: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, Difference]:
    """Paired bootstrap of every figure of `figures_of`.

    Args:
        a, b: (N, 3, C) counts of the same N images (`class_counts`).
        draws: how many.

    Raises:
        ValueError: other shapes, or truths that differ.
    """
    if a.shape != b.shape or not np.array_equal(a[:, TRUTH], b[:, TRUTH]):
        raise ValueError("both must be of the same images with the same truth")
    images = len(a)
    both = np.stack([a, b]).reshape(2, images, -1).astype(np.float64)  # sums stay exact below 2^53
    drawn = [
        figures_of((weights @ both).reshape(2, len(weights), *a.shape[1:])) for weights in _draw(images, draws, seed)
    ]
    whole = figures_of(both.sum(axis=1).reshape(2, *a.shape[1:]))
    result = {}
    for name, (first, second) in whole.items():
        differences = np.concatenate([chunk[name][1] - chunk[name][0] for chunk in drawn])
        differences = differences[np.isfinite(differences)]
        if not len(differences):  # no background, or no object, in any draw
            differences = np.array([np.nan])
        low, high = _quantiles(differences)
        result[name] = Difference(float(first), float(second), low, high, float((differences <= 0).mean()))
    return result


def intervals_of(counts: np.ndarray, draws: int = DRAWS, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Percentile intervals at `LEVEL` of every figure of `figures_of`, of one method; NaN where no draw has the figure.

    Two methods whose intervals overlap may still differ clearly on the same images: that is what `compare_counts` tells.

    Args:
        counts: (N, 3, C) of N images (`class_counts`).
    """
    flat = counts.reshape(len(counts), -1).astype(np.float64)
    drawn = [figures_of((weights @ flat).reshape(-1, *counts.shape[1:])) for weights in _draw(len(counts), draws, seed)]
    found = {}
    for name in drawn[0]:
        values = np.concatenate([chunk[name] for chunk in drawn])
        values = values[np.isfinite(values)]
        found[name] = _quantiles(values) if len(values) else (float("nan"), float("nan"))
    return found


def _draw(images: int, draws: int, seed: int) -> Iterator[np.ndarray]:
    """(chunk, N) float64: how often each image is drawn."""
    random = np.random.default_rng(seed)
    for start in range(0, draws, CHUNK):
        chosen = random.multinomial(images, np.full(images, 1 / images), size=min(CHUNK, draws - start))
        yield chosen.astype(np.float64)


def _quantiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
