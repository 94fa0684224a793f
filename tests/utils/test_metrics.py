"""Figures against slow plain versions of their definitions."""

import math

import numpy as np
import pytest
import torch

from utils.metrics import ConfusionMatrix, ThresholdSweep

CLASSES = 5


def random_masks(seed: int, *shape: int, ignore: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    masks = random.integers(CLASSES, size=(2, *shape))
    masks[random.random((2, *shape)) < ignore] = 255
    return torch.from_numpy(np.asarray(masks[0])), torch.from_numpy(np.asarray(masks[1]))


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
    counts, ignored = plain_counts(target, prediction)
    assert matrix.counts.tolist() == counts
    assert matrix.counts.dtype == torch.int64
    assert matrix.ignored_predictions == ignored


def test_batches_add_up():
    one, two, both = ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES)
    target, prediction = random_masks(2, 3, 8, 9)
    one.update(target, prediction)
    for number in range(3):
        two.update(target[number], prediction[number])
    both.update(target, prediction)
    both.update(target, prediction)
    assert torch.equal(one.counts, two.counts)
    assert torch.equal(both.counts, 2 * one.counts)
    assert (one.n_images, two.n_images, both.n_images) == (3, 3, 6)


def test_images_counted_together_are_those_counted_one_by_one():
    random = np.random.default_rng(3)
    sizes = ((4, 5), (1, 1), (30, 7))
    pairs = [tuple(random.choice([0, 1, 2, 255], size=(2, *size)).astype(np.uint8)) for size in sizes]
    together, alone = ConfusionMatrix(3), ConfusionMatrix(3)
    together.update_all(pairs)
    for target, prediction in pairs:
        alone.update(torch.from_numpy(target), torch.from_numpy(prediction))
    assert torch.equal(together.counts, alone.counts)
    assert (together.ignored_predictions, together.n_images) == (alone.ignored_predictions, alone.n_images)
    before = together.counts.clone()
    together.update_all([])
    with pytest.raises(ValueError, match="values \\[7\\] in the prediction"):
        together.update_all([*pairs, (np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8))])
    assert torch.equal(together.counts, before)
    assert together.n_images == 3


def test_what_others_have_counted_is_added():
    parts, whole = [ConfusionMatrix(CLASSES), ConfusionMatrix(CLASSES)], ConfusionMatrix(CLASSES)
    for number, part in enumerate(parts):
        target, prediction = random_masks(number, 2, 7, 9)
        part.update(target, prediction)
        whole.update(target, prediction)
    parts[0].add(parts[1])
    assert torch.equal(parts[0].counts, whole.counts)
    assert (parts[0].ignored_predictions, parts[0].n_images) == (whole.ignored_predictions, whole.n_images)
    assert whole.ignored_predictions > 0


def test_the_mean_is_over_the_classes_in_the_truth():
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1]))
    # background 1/2, class 1 whole, class 2 only predicted (its IoU is 0), classes 3 and 4 nowhere
    assert matrix.iou()[:3].tolist() == [0.5, 1.0, 0.0]
    assert matrix.iou()[3:].isnan().all()
    assert matrix.miou() == 0.75
    assert math.isnan(ConfusionMatrix(CLASSES).miou())


def test_over_and_under_activation_are_shares_of_background_and_of_object():
    target, prediction = random_masks(5, 30, 30)
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(target, prediction)
    predicted = prediction.masked_fill(prediction == 255, 0)
    background, objects = target == 0, (target > 0) & (target < 255)
    assert matrix.over_activation() == pytest.approx((predicted[background] > 0).double().mean().item())
    assert matrix.under_activation() == pytest.approx((predicted[objects] == 0).double().mean().item())
    assert matrix.over_activation() != pytest.approx(matrix.under_activation(), abs=0.01)


@pytest.mark.parametrize(
    ("value", "dtype"),
    [(-1, torch.int64), (CLASSES, torch.uint8), (CLASSES, torch.int64), (254, torch.uint8), (300, torch.int64)],
)
def test_values_of_no_class_are_refused(value, dtype):
    good, bad = torch.zeros(4, dtype=dtype), torch.tensor([0, 0, value, 0], dtype=dtype)
    with pytest.raises(ValueError, match=rf"{value}.*truth.*0\.\.4 or 255"):
        ConfusionMatrix(CLASSES).update(bad, good)
    with pytest.raises(ValueError, match=rf"{value}.*prediction.*0\.\.4 or 255"):
        ConfusionMatrix(CLASSES).update(good, bad)
    sweep = ThresholdSweep(CLASSES, [0.5])
    with pytest.raises(ValueError, match="truth"):
        sweep.update(bad, torch.rand(4), good)
    with pytest.raises(ValueError, match="prediction"):
        sweep.update(good, torch.rand(4), bad)
    assert sweep.bins.sum() == 0


@pytest.mark.parametrize("steps", [0, 10, 20])
def test_a_sweep_agrees_with_thresholding(steps):
    """With `steps`, map values are few and often equal to a threshold."""
    random = torch.Generator().manual_seed(0)
    thresholds = [0.0, 0.1, 0.2, 0.3, 0.55, 0.6, 1.0]
    sweep, direct = ThresholdSweep(CLASSES, thresholds), [ConfusionMatrix(CLASSES) for _ in thresholds]
    for seed in range(3):
        target, _ = random_masks(seed, 12, 17)
        maps = torch.rand(CLASSES - 1, 12, 17, generator=random)
        if steps:
            maps = (maps * steps).round() / steps
        value, winner = maps.max(dim=0)
        winner = winner + 1
        sweep.update(target, value, winner)
        for threshold, matrix in zip(thresholds, direct, strict=True):
            matrix.update(target, torch.where(value > threshold, winner, 0))
    for number, matrix in enumerate(direct):
        assert torch.equal(sweep.at(number).counts, matrix.counts)
        assert sweep.at(number).n_images == matrix.n_images == 3
    assert sweep.curve() == [matrix.miou() for matrix in direct]
    assert sweep.curve()[0] != sweep.curve()[-1]


def test_a_map_of_8_bits_is_not_above_the_threshold_that_it_equals():
    value = torch.arange(256, dtype=torch.uint8).float() / 255
    thresholds = [0.2, 0.4, 0.6, 0.8]  # 51, 102, 153 and 204 of 255
    sweep = ThresholdSweep(2, thresholds)
    sweep.update(torch.ones(256, dtype=torch.int64), value, torch.ones(256, dtype=torch.int64))
    for number, threshold in enumerate(thresholds):
        assert sweep.at(number).counts[1, 1] == int((value > threshold).sum()) == 255 - round(255 * threshold)


def test_an_image_without_classes_is_background_at_every_threshold():
    sweep = ThresholdSweep(CLASSES, [0.0, 0.5])
    target = torch.tensor([[0, 2], [255, 0]])
    sweep.update(target, torch.zeros(2, 2), torch.zeros(2, 2, dtype=torch.int64))
    for number in range(2):
        assert sweep.at(number).counts[:, 0].tolist() == [2, 0, 1, 0, 0]
        assert sweep.at(number).counts[:, 1:].sum() == 0
    sweep = ThresholdSweep(CLASSES, [0.0, 0.1, 0.25])
    assert [sweep.nearest(value) for value in (0.0, 0.04, 0.06, 0.25, 0.9)] == [0, 0, 1, 2, 2]


def test_a_class_is_found_in_an_image_where_its_mask_touches_it():
    matrix = ConfusionMatrix(3)
    touched, missed = torch.zeros(2, 4, 4, dtype=torch.int64).unbind()
    touched[0] = 1
    matrix.update(touched, torch.where(torch.arange(16).view(4, 4) == 0, 1, 0))  # a pixel of four is enough
    matrix.update(missed + touched, torch.flip(touched, (0,)))  # beside it
    matrix.update(missed, torch.full((4, 4), 2))  # of a class that is not there
    assert matrix.found()[1] == 0.5
    assert matrix.drawn_right()[1] == 0.5
    assert matrix.drawn_right()[2] == 0
    assert math.isnan(matrix.found()[2])
    assert matrix.precision()[1] == 1 / 5
    assert matrix.recall()[1] == 1 / 8


def test_the_mean_over_classes_alone_is_without_background():
    matrix = ConfusionMatrix(3)
    truth = torch.zeros(10, 10, dtype=torch.int64)
    truth[0, 0] = 1
    matrix.update(truth, torch.zeros_like(truth))
    assert matrix.miou() > 0.49
    assert matrix.miou_of_classes() == 0
