"""How well scores put the right ones first: average precision, and what chance alone would reach."""

import numpy as np

SHUFFLES = 2000
LEVEL = 0.95  # a figure is above chance if at most one in twenty random orders reaches it


def average_precision(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The mean, over those that are right, of the precision at their rank; NaN where none is.

    Args:
        truth: (..., N) bool.
        scores: (..., N), or (N,) for all; of equal ones the first is ranked first.
    """
    truth, scores = np.broadcast_arrays(truth, scores)
    ranked = np.take_along_axis(truth, np.argsort(-scores, axis=-1, kind="stable"), axis=-1)
    precision = ranked.cumsum(axis=-1) / np.arange(1, ranked.shape[-1] + 1)
    right = ranked.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (precision * ranked).sum(axis=-1) / np.where(right, right, np.nan)


def chance_level(right: int, count: int, tests: int = 1, seed: int = 0) -> tuple[float, float]:
    """What random orders reach of `count` items, `right` of which are right.

    Args:
        tests: of so many classes that are looked at; the level is stricter, so that all together stay within `LEVEL`.

    Returns:
        The mean average precision, and the figure that is above chance if it is exceeded.
    """
    truth = np.arange(count) < right
    found = average_precision(truth, np.random.default_rng(seed).random((SHUFFLES, count)))
    return float(found.mean()), float(np.quantile(found, 1 - (1 - LEVEL) / max(1, tests)))
