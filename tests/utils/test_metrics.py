"""Figures against slow plain versions of their definitions."""

import math

import numpy as np
import pytest
import torch

import models  # noqa: F401  (lets torchvision load beside a CPU-only torch, which torchmetrics imports)
from utils.metrics import ConfusionMatrix, ThresholdSweep

CLASSES = 5


def random_masks(seed: int, *shape: int) -> tuple[torch.Tensor, ...]:
    random = torch.Generator().manual_seed(seed)
    masks = torch.randint(CLASSES, (2, *shape), generator=random)
    return masks.masked_fill(torch.rand(2, *shape, generator=random) < 0.1, 255).unbind()


def plain_counts(target: torch.Tensor, prediction: torch.Tensor) -> tuple[list[list[int]], int]:
    """One pixel after the other: the counts, and how many predictions were 255."""
    counts, ignored = [[0] * CLASSES for _ in range(CLASSES)], 0
    for truth, predicted in zip(target.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth == 255:
            continue
        if predicted == 255:
            predicted, ignored = 0, ignored + 1
        counts[truth][predicted] += 1
    return counts, ignored


@pytest.mark.parametrize("shape", [(), (7,), (9, 11), (3, 8, 5), (2, 1, 6, 4), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.int16])
def test_counts_agree_with_a_plain_loop(shape, dtype):
    target, prediction = random_masks(0, *shape)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(target.to(dtype), prediction.to(dtype))
    assert (matrix.counts.tolist(), matrix.ignored_predictions) == plain_counts(target, prediction)
    assert matrix.counts.dtype == torch.int64


def test_images_add_up_counted_one_by_one_together_or_by_others():
    batch, each, together, others = (ConfusionMatrix(CLASSES) for _ in range(4))
    target, prediction = random_masks(2, 3, 8, 9)
    batch.update(target, prediction)
    for pair in zip(target, prediction, strict=True):
        each.update(*pair)
    together.update_all(zip(target.byte().numpy(), prediction.byte().numpy(), strict=True))
    others.add(each)
    for matrix in (each, together, others):
        assert torch.equal(matrix.counts, batch.counts)
        assert (matrix.ignored_predictions, matrix.n_images) == (batch.ignored_predictions, 3)
    assert batch.ignored_predictions > 0
    others.add(each)
    others.update_all([])
    bad = [(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8)), (np.zeros((1, 1), np.uint8), np.full((1, 1), 7))]
    with pytest.raises(ValueError, match="values \\[7\\] in the prediction"):
        others.update_all(bad)
    assert torch.equal(others.counts, 2 * batch.counts)
    assert (others.ignored_predictions, others.n_images) == (2 * batch.ignored_predictions, 6)


def compared() -> tuple[ConfusionMatrix, torch.Tensor, torch.Tensor]:
    """A matrix, and the masks that it has counted: the truth, and a prediction that is right in most columns."""
    truth, predicted = random_masks(7, 60, 80)
    predicted = torch.where(torch.arange(80) < 48, truth, predicted)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(truth, predicted)
    return matrix, truth, predicted.masked_fill(predicted == 255, 0)


def test_figures_are_those_of_their_plain_definitions():
    matrix, truth, predicted = compared()
    counted = truth != 255
    sets = [(truth[counted] == value, predicted[counted] == value) for value in range(CLASSES)]
    theirs = [float((one & other).sum() / (one | other).sum()) for one, other in sets]
    assert matrix.iou().tolist() == pytest.approx(theirs, abs=1e-6)
    assert matrix.miou() == pytest.approx(np.mean(theirs), abs=1e-6)
    target, prediction = random_masks(5, 30, 30)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(target, prediction)
    predicted = prediction.masked_fill(prediction == 255, 0)
    background, objects = target == 0, (target > 0) & (target < 255)
    assert matrix.over_activation() == pytest.approx((predicted[background] > 0).double().mean().item())
    assert matrix.under_activation() == pytest.approx((predicted[objects] == 0).double().mean().item())
    assert matrix.over_activation() != pytest.approx(matrix.under_activation(), abs=0.01)


@pytest.mark.long
def test_figures_are_those_of_torchmetrics():
    """What torchmetrics and chainercv do with a class that is not in the truth differs from ours, and only that.

    Nowhere at all: chainercv gives NaN and leaves it out of the mean, as we do; torchmetrics gives 0 and leaves it out.
    Only predicted: its IoU is 0 for all three, which chainercv and torchmetrics take into the mean, and we do not.
    """
    classification = pytest.importorskip("torchmetrics.classification", reason="needs torchmetrics")
    matrix, truth, predicted = compared()
    each = classification.MulticlassJaccardIndex(CLASSES, average="none", ignore_index=255)
    each.update(predicted[None], truth[None])
    assert torch.equal(each.confmat, matrix.counts)
    assert matrix.iou().numpy() == pytest.approx(each.compute().numpy(), abs=1e-6)


def test_means_are_over_the_classes_in_the_truth_and_one_is_found_where_its_mask_touches_it():
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.tensor([0, 0, 1, 1, 3, 3]), torch.tensor([0, 2, 1, 1, 1, 3]))
    # background 1/2, class 1 two of three, class 2 only predicted (its IoU is 0), class 3 one of two, class 4 nowhere
    assert matrix.iou()[:4].tolist() == pytest.approx([0.5, 2 / 3, 0.0, 0.5])
    assert matrix.iou()[4:].isnan().all()
    assert matrix.miou() == pytest.approx((0.5 + 2 / 3 + 0.5) / 3)
    assert matrix.miou_of_classes() == pytest.approx((2 / 3 + 0.5) / 2)
    assert math.isnan(ConfusionMatrix(CLASSES).miou())
    matrix = ConfusionMatrix(3)
    touched, missed = torch.zeros(2, 4, 4, dtype=torch.int64).unbind()
    touched[0] = 1
    matrix.update(touched, torch.where(torch.arange(16).view(4, 4) == 0, 1, 0))  # a pixel of four is enough
    matrix.update(missed + touched, torch.flip(touched, (0,)))  # beside it
    matrix.update(missed, torch.full((4, 4), 2))  # of a class that is not there
    figures = matrix.of_classes()
    assert figures["found"][1] == 0.5
    assert figures["drawn_right"][1:].tolist() == [0.5, 0]
    assert math.isnan(figures["found"][2])
    assert figures["precision"][1] == 1 / 5
    assert figures["recall"][1] == 1 / 8


def test_values_of_no_class_are_refused():
    for value, dtype in ((-1, torch.int64), (CLASSES, torch.uint8), (254, torch.uint8), (300, torch.int64)):
        good, bad = torch.zeros(4, dtype=dtype), torch.tensor([0, 0, value, 0], dtype=dtype)
        sweep = ThresholdSweep(CLASSES, [0.5])
        for where, pair in (("truth", (bad, good)), ("prediction", (good, bad))):
            with pytest.raises(ValueError, match=rf"{value}.*{where}.*0\.\.4 or 255"):
                ConfusionMatrix(CLASSES).update(*pair)
            with pytest.raises(ValueError, match=where):
                sweep.update(pair[0], torch.rand(4), pair[1])
        assert sweep.bins.sum() == 0


def test_a_sweep_agrees_with_thresholding():
    """With `steps`, map values are few and often equal to a threshold, as those of 8 bits are."""
    for steps in (0, 20, 255):
        random = torch.Generator().manual_seed(0)
        thresholds = [0.0, 0.1, 0.2, 0.3, 0.4, 0.55, 0.6, 0.8, 1.0]
        sweep, direct = ThresholdSweep(CLASSES, thresholds), [ConfusionMatrix(CLASSES) for _ in thresholds]
        for seed in range(3):
            target, _ = random_masks(seed, 12, 17)
            maps = torch.rand(CLASSES - 1, 12, 17, generator=random) * (seed > 0)  # the first image has no classes
            if steps:
                maps = (maps * steps).round() / steps
            value, winner = maps.max(dim=0)
            winner = (winner + 1) * (seed > 0)
            sweep.update(target, value, winner)
            for threshold, matrix in zip(thresholds, direct, strict=True):
                matrix.update(target, torch.where(value > threshold, winner, 0))
        for number, matrix in enumerate(direct):
            assert torch.equal(sweep.at(number).counts, matrix.counts)
            assert sweep.at(number).n_images == matrix.n_images == 3
        assert sweep.curve() == [matrix.miou() for matrix in direct]
        assert sweep.curve()[0] != sweep.curve()[-1]
        assert [sweep.nearest(value) for value in (0.0, 0.04, 0.06, 0.25, 0.9)] == [0, 0, 1, 2, 7]
