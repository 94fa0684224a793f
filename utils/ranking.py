"""How well scores put the right ones first: average precision, and what chance alone would reach."""

from collections.abc import Sequence

import numpy as np

SHUFFLES = 2000
LEVEL = 0.95  # a figure is above chance if at most one in twenty random orders reaches it


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

    Args:
        right: how many are right, of each class; the figure is the mean over the classes.
        tests: with more figures to test the limit is stricter, so that all together stay within `LEVEL`.
    """
    random, total = np.random.default_rng(0), np.zeros(SHUFFLES)
    for one in right:
        total += average_precision(np.arange(count) < one, random.random((SHUFFLES, count)))
    found = total / len(right)
    return float(found.mean()), float(np.quantile(found, 1 - (1 - LEVEL) / max(1, tests)))
