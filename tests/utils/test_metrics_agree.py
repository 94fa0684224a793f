"""Our figures beside the definition of chainercv, which the published ones come from, and torchmetrics'.

What the three do with a class that is not in the truth differs, and only that. Nowhere at all: chainercv gives NaN
and leaves it out of the mean, as we do; torchmetrics gives 0 and leaves it out. Predicted but not in the truth: its IoU
is 0 for all three; chainercv and torchmetrics take that 0 into the mean, we do not. On the published lists every class
is in the truth, and all three agree.
"""

import numpy as np
import pytest
import torch

import models  # noqa: F401  (lets torchvision load beside a CPU-only torch, which torchmetrics imports)
from utils.metrics import ConfusionMatrix

VALUES = 21


def chainercv_iou(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """chainercv.evaluations.calc_semantic_segmentation_iou by its definition, each class as a set of pixels."""
    sets = [(truth == value, predicted == value) for value in range(VALUES)]
    hits = np.array([np.count_nonzero(one & other) for one, other in sets], np.float64)
    unions = np.array([np.count_nonzero(one | other) for one, other in sets], np.float64)
    return np.divide(hits, unions, out=np.full(VALUES, np.nan), where=unions > 0)


def random_pairs() -> list[tuple[np.ndarray, np.ndarray]]:
    """(truth, prediction) of other sizes, every class in the truth, some 255 in both."""
    random = np.random.default_rng(0)
    pairs = []
    for height, width in ((60, 80), (33, 71), (90, 40)):
        truth = random.integers(VALUES, size=(height, width))
        predicted = np.where(random.random(truth.shape) < 0.4, random.integers(VALUES, size=truth.shape), truth)
        truth[random.random(truth.shape) < 0.1] = 255
        predicted[random.random(truth.shape) < 0.05] = 255
        pairs.append((truth, predicted))
    return pairs


def test_chainercvs_definition_and_torchmetrics():
    matrix, pairs = ConfusionMatrix(VALUES), random_pairs()
    matrix.update_all(pairs)
    truth, predicted = (np.concatenate([mask.ravel() for mask in masks]) for masks in zip(*pairs, strict=True))
    predicted = np.where(predicted == 255, 0, predicted)
    theirs = chainercv_iou(truth[truth != 255], predicted[truth != 255])
    assert matrix.iou().numpy() == pytest.approx(theirs, nan_ok=True, rel=0, abs=1e-9)
    assert matrix.miou() == pytest.approx(np.nanmean(theirs), rel=0, abs=1e-9)
    assert 0.1 < matrix.miou() < 0.95
    classification = pytest.importorskip("torchmetrics.classification", reason="needs torchmetrics")
    each = classification.MulticlassJaccardIndex(VALUES, average="none", ignore_index=255)
    each.update(torch.from_numpy(predicted)[None], torch.from_numpy(truth)[None])
    # It divides in single precision; its counts agree to the last digit.
    assert torch.equal(each.confmat, matrix.counts)
    assert matrix.iou().numpy() == pytest.approx(each.compute().numpy(), abs=1e-6)
