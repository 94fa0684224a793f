"""Masks are counted where they are read, and what is wrong with a file is said with its name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.artifacts import write_mask
from data.dataset import Index, Record
from evaluation.scores import count_images, evaluate_masks
from utils.bootstrap import class_counts
from utils.errors import UserError
from utils.metrics import ConfusionMatrix

NAMES = ("cat", "dog", "owl")


@pytest.fixture
def masks(tmp_path) -> tuple[Index, Path, list[tuple[np.ndarray, np.ndarray]]]:
    """An index with truth, a folder of masks, and both as arrays; 255 in each."""
    random = np.random.default_rng(0)
    records, pairs = [], []
    (tmp_path / "truth").mkdir()
    (tmp_path / "masks").mkdir()
    for number in range(3):
        pair = random.choice([0, 1, 2, 3, 255], size=(2, 20 + number, 31)).astype(np.uint8)
        name, truth = f"p{number}", tmp_path / f"truth/p{number}.png"
        write_mask(truth, pair[0])
        write_mask(tmp_path / f"masks/{name}.png", pair[1])
        records.append(Record(name, tmp_path / f"{name}.jpg", (0, 1, 2), truth))
        pairs.append((pair[0], pair[1]))
    return Index(NAMES, tuple(records)), tmp_path / "masks", pairs


@pytest.mark.parametrize(("batch", "workers"), [(1, 0), (2, 2), (8, 0)])
def test_masks_are_counted_as_by_the_matrix(masks, monkeypatch, batch, workers):
    monkeypatch.setattr("evaluation.scores.BATCH", batch)
    monkeypatch.setattr("evaluation.truth.FEW", 2)  # else threads
    index, folder, pairs = masks
    measured = evaluate_masks(index, folder, workers).matrix
    expected, each = ConfusionMatrix(4), []
    for truth, mask in pairs:
        one = ConfusionMatrix(4)
        for matrix in (one, expected):
            matrix.update(torch.from_numpy(truth), torch.from_numpy(mask))
        each.append(class_counts(one.counts.numpy()))
    assert torch.equal(measured.counts, expected.counts)
    assert measured.ignored_predictions == expected.ignored_predictions > 0
    assert measured.n_images == 3
    assert np.array_equal(count_images(index, folder, None, workers), np.stack(each))
    write_mask(folder / "p2.png", np.where(truth == 255, 9, mask))  # also where the truth is not counted
    with pytest.raises(UserError, match=r"masks/p2\.png has value 9;"):
        count_images(index, folder, None, workers=0)


def test_masks_of_classes_in_another_order_are_told(masks):
    index, folder, pairs = masks
    told = {
        (0, 2, 3, 1): "other values (2 for cat, 3 for dog, 1 for owl): is the order right",
        (255, 0, 1, 2): "other values (0 for cat, 1 for dog, 2 for owl): is the order right",
    }
    for values in (*told, (1, 2, 3, 3), (0, 1, 1, 1), (0, 1, 2, 3), (0, 0, 0, 0)):
        for record, (truth, _) in zip(index.records, pairs, strict=True):
            write_mask(folder / f"{record.name}.png", np.array([*values, *[0] * 251, 255])[truth])
        table = evaluate_masks(index, folder, 0).table()
        assert ("is the order right" in table) == (values in told)
        assert told.get(values, "") in table


def test_a_class_that_is_only_drawn_is_told_to_be_outside_the_mean_and_what_is_nowhere_is_null(masks, tmp_path):
    index, folder, _ = masks
    for record, values in zip(index.records, ((0, 0), (0, 2), (0, 0)), strict=True):
        for path, value in zip((record.mask, folder / f"{record.name}.png"), values, strict=True):
            write_mask(path, np.full((20, 31), value, np.uint8))
    unlabelled = Index(NAMES, tuple(replace(record, labels=()) for record in index.records))
    found = evaluate_masks(unlabelled, folder, workers=0)
    assert "not in the truth of these images, so not in the mean: dog\n" in found.table() + "\n"
    figures = found.figures()
    assert figures["miou"] == pytest.approx(2 / 3)
    assert figures["under_activation"] is None
    json.dumps(figures, allow_nan=False)
