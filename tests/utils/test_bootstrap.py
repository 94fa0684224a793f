"""Paired bootstrap: figures are those of the confusion matrix, intervals those of a plain loop and of theory."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from utils import bootstrap
from utils.bootstrap import class_counts, compare_counts, figures_of, intervals_of
from utils.metrics import ConfusionMatrix

CLASSES = 4


def confusions(count: int, errors: Sequence[float], seed: int = 0) -> list[np.ndarray]:
    """A confusion matrix an image (N, C, C) of each method."""
    random = np.random.default_rng(seed)
    truth = random.choice(CLASSES, size=(count, 400), p=[0.7, 0.15, 0.1, 0.05])
    methods = []
    for error in errors:
        share = random.uniform(0, 2 * error, (count, 1))
        predicted = np.where(random.random(truth.shape) < share, random.integers(CLASSES, size=truth.shape), truth)
        counts = [np.bincount(row, minlength=CLASSES**2) for row in truth * CLASSES + predicted]
        methods.append(np.stack(counts).reshape(-1, CLASSES, CLASSES))
    return methods


def paired(count: int, errors: tuple[float, float], seed: int = 0) -> list[np.ndarray]:
    """Counts (N, 3, C) of two methods on the same truth; `errors` are their mean shares of pixels that are guessed."""
    return [np.stack([class_counts(matrix) for matrix in matrices]) for matrices in confusions(count, errors, seed)]


def test_figures_are_those_of_the_confusion_matrix_and_one_without_truth_has_no_interval():
    (matrices,) = confusions(20, [0.2])
    matrices[:, 3] = 0  # a class that is only predicted
    total = ConfusionMatrix(CLASSES)
    total.counts = torch.from_numpy(matrices.sum(axis=0))
    expected = {name: getattr(total, name)() for name in ("miou", "over_activation", "under_activation")}
    assert figures_of(sum(map(class_counts, matrices))) == pytest.approx(expected, abs=1e-12)
    counts = np.zeros((5, 3, 4), np.int64)
    counts[:, :, 1] = 10  # never background
    assert np.isnan(intervals_of(counts)["over_activation"]).all()
    assert intervals_of(counts)["miou"] == (1.0, 1.0)


def test_draws_are_those_of_a_plain_loop_whatever_the_chunk_and_other_images_are_refused(monkeypatch):
    monkeypatch.setattr(bootstrap, "DRAWS", 60)
    a, b = paired(12, (0.2, 0.1))
    found = compare_counts(a, b)
    random = np.random.default_rng(0)
    differences = []
    for weights in random.multinomial(12, np.full(12, 1 / 12), size=60):
        chosen = np.repeat(np.arange(12), weights)
        totals = [figures_of(sum(method[number] for number in chosen))["miou"] for method in (a, b)]
        differences.append(totals[1] - totals[0])
    assert (found["miou"].low, found["miou"].high) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    assert found["miou"].not_better == np.mean(np.array(differences) <= 0)
    same = compare_counts(a, a)["miou"]
    assert (same.not_better, same.is_clear) == (1, False)
    a, b = paired(15, (0.2, 0.18))
    for others in (b[:4], b[::-1]):
        with pytest.raises(ValueError, match="same images"):
            compare_counts(a, others)
    one = compare_counts(a, b)
    assert compare_counts(a, b) == one
    monkeypatch.setattr(bootstrap, "CHUNK", 7)
    assert compare_counts(a, b)["miou"].low == pytest.approx(one["miou"].low)


def test_a_small_gain_on_few_images_is_no_gain_but_on_many_it_is():
    few, many = (compare_counts(*paired(count, (0.15, 0.14), seed=2))["miou"] for count in (20, 2000))
    assert (few.is_clear, many.is_clear) == (False, True)
    assert many.difference > 0
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx((2000 / 20) ** 0.5, rel=0.35)
