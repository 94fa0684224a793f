"""Is a difference between two methods more than the choice of images? Paired bootstrap intervals (Efron, 1979).

mIoU is a ratio of sums over images, so one matrix product of draws and counts gives all draws.
"""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
DRAWS = 2000
CHUNK = 200  # draws at a time: (200, N) weights, 64 MB for 40,000 images

HITS, TRUTH, PREDICTED = range(3)  # rows of an image's counts


@dataclass(frozen=True)
class Difference:
    """A figure of two methods, A and B, on all images, 0..1."""

    a: float
    b: float
    low: float  # percentile interval of b - a at `LEVEL`
    high: float
    not_better: float  # share of the draws in which B is not above A

    @property
    def difference(self) -> float:
        """b - a."""
        return self.b - self.a

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.low > 0 or self.high < 0


def class_counts(confusion: np.ndarray) -> np.ndarray:
    """(C, C) counts of an image, truth in rows -> (3, C): hits, pixels in the truth, pixels predicted."""
    return np.stack([np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)])


def figures_of(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The figures of counts (..., 3, C), each (...): `miou`, `over_activation` and `under_activation`, in 0..1.

    mIoU is over the classes in the truth, as in `utils.metrics`; a draw may be without a rare class.
    """
    hits, truth, predicted = counts[..., HITS, :], counts[..., TRUTH, :], counts[..., PREDICTED, :]
    present = truth > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(present, hits / (truth + predicted - hits), 0.0)
        return {
            "miou": iou.sum(axis=-1) / present.sum(axis=-1),
            "over_activation": (truth[..., 0] - hits[..., 0]) / truth[..., 0],
            "under_activation": (predicted[..., 0] - hits[..., 0]) / truth[..., 1:].sum(axis=-1),
        }


def compare_counts(a: np.ndarray, b: np.ndarray) -> dict[str, Difference]:
    """Paired bootstrap of every figure of (N, 3, C) counts of the same N images; other images are a `ValueError`."""
    if a.shape != b.shape or not np.array_equal(a[:, TRUTH], b[:, TRUTH]):
        raise ValueError("both must be of the same images with the same truth")
    both = np.stack([a, b])
    whole, drawn = figures_of(both.sum(axis=1)), _drawn_figures(both)
    result = {}
    for name, (first, second) in whole.items():
        differences = drawn[name][1] - drawn[name][0]
        not_better = (differences <= 0).sum() / max(1, np.isfinite(differences).sum())
        result[name] = Difference(float(first), float(second), *_interval(differences), float(not_better))
    return result


def intervals_of(counts: np.ndarray) -> dict[str, tuple[float, float]]:
    """Intervals at `LEVEL` of every figure of (N, 3, C) counts of one method; NaN where no draw has the figure."""
    drawn = _drawn_figures(counts[None])
    return {name: _interval(values[0]) for name, values in drawn.items()}


def _drawn_figures(counts: np.ndarray) -> dict[str, np.ndarray]:
    """(M, N, 3, C) counts of M methods -> the figures of each on each draw, (M, DRAWS); always the same draws."""
    methods, images = counts.shape[:2]
    flat = counts.reshape(methods, images, -1).astype(np.float64)  # sums stay exact below 2^53
    random = np.random.default_rng(0)
    chunks = []
    for start in range(0, DRAWS, CHUNK):
        size = min(CHUNK, DRAWS - start)
        weights = random.multinomial(images, np.full(images, 1 / images), size=size).astype(np.float64)
        chunks.append(figures_of((weights @ flat).reshape(methods, size, *counts.shape[2:])))
    return {name: np.concatenate([chunk[name] for chunk in chunks], axis=1) for name in chunks[0]}


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Of the finite values; NaN where there is none: no background, or no object, in any draw."""
    finite = values[np.isfinite(values)]
    low, high = np.quantile(finite, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(finite) else (np.nan, np.nan)
    return float(low), float(high)
