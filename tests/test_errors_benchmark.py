"""Kinds of error: made-up masks in which each kind is known, and the parts make the whole."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.common import set_all
from benchmarks.errors import DISTANCES, KINDS, PARTS, corrected, count_bands, distances, error_figures, error_kinds
from data.artifacts import Seed, read_mask, seed_size, write_mask, write_seed
from tests.project import ROOT, call
from utils.ignore import IGNORE
from utils.metrics import ConfusionMatrix

VALUES = 4  # background and three classes
NAMES = ("background", "cat", "dog", "train")


def test_distances_are_those_of_all_pairs_of_pixels():
    random = np.random.default_rng(0)
    target = random.choice([0, 0, 0, 1, 2, IGNORE], size=(19, 23)).astype(np.uint8)
    target[5:15, 5:15], target[10:, 15:] = 0, 2
    found = distances(target)
    points = np.indices(target.shape).reshape(2, -1).T
    flat = target.ravel()
    for wanted, others in ((flat == 0, (flat != 0) & (flat != IGNORE)), ((flat != 0) & (flat != IGNORE), flat == 0)):
        slow = np.linalg.norm(points[wanted][:, None] - points[others][None], axis=-1).min(axis=1)
        assert np.allclose(found.ravel()[wanted], slow)


def test_miou_without_a_kind_is_that_of_the_mask_with_these_pixels_corrected():
    random = np.random.default_rng(0)
    target = np.zeros((150, 160), np.uint8)
    target[20:110, 10:100], target[60:120, 90:130], target[140, 3] = 1, 2, 3
    target[118:124, 10:130] = IGNORE
    prediction = target.copy()
    is_wrong = random.random(target.shape) < 0.4
    prediction[is_wrong] = random.choice([0, 1, 2, 3, IGNORE], size=int(is_wrong.sum()))
    taken = np.where(prediction == IGNORE, 0, prediction)
    away, is_object = distances(target), (target > 0) & (target != IGNORE)
    over, under = (target == 0) & (taken > 0), is_object & (taken == 0)
    wrong = {"over": over, "context": over & (away > 32), "under": under, "inside": under & (away > 32)}
    wrong |= {f"halo_{limit}": over & (away <= limit) for limit in DISTANCES}
    wrong |= {f"rim_{limit}": under & (away <= limit) for limit in DISTANCES}
    wrong["confusion"] = is_object & (taken > 0) & (taken != target)
    bands = count_bands(target, prediction, VALUES)
    errors, classes = error_figures(bands, NAMES)
    assert set(errors) == set(wrong) == set(KINDS)
    everything = corrected(bands.sum(dim=0), sum(error_kinds(bands)[part] for part in PARTS))
    assert torch.equal(everything, bands.sum(dim=(0, 2)).diag())  # without all parts nothing is wrong
    for name, pixels in wrong.items():
        mended = ConfusionMatrix(VALUES)
        mended.update_all([(target, np.where(pixels, target, prediction))])
        assert errors[name]["miou_without"] == pytest.approx(mended.miou(), abs=1e-12)
        assert errors[name]["pixels"] == pytest.approx(pixels.sum() / (target != IGNORE).sum(), abs=1e-12)
        if name in PARTS:
            iou = [row["iou_without"][name] for row in classes.values()]
            assert iou == pytest.approx(mended.iou().tolist(), abs=1e-12)
    for row in classes.values():  # the largest error is that which costs a class most
        assert row["iou_without"][row["largest"]] == max(row["iou_without"].values())
    _, classes = error_figures(count_bands(target, target, VALUES), NAMES)
    assert {row["largest"] for row in classes.values()} == {None}


def test_the_largest_error_of_a_class_is_that_which_costs_it_most():
    target = np.zeros((9, 100), np.uint8)
    target[:, 50:], target[:, 98:] = 1, 2
    prediction = target.copy()
    prediction[:, 40:50] = 1  # 90 pixels of halo
    prediction[:4, 90] = 0  # 4 inside
    prediction[:, 99] = 1  # half of class 2
    _, classes = error_figures(count_bands(target, prediction, VALUES), NAMES)
    largest = {name: row["largest"] for name, row in classes.items()}
    assert largest == {"background": "halo_32", "cat": "halo_32", "dog": "confusion", "train": None}


def truths(root: Path) -> dict[str, np.ndarray]:
    return {f"p{i}": read_mask(root / f"SegmentationClass/p{i}.png") for i in range(6)}


def write_seeds(root: Path, folder: Path, heights: list[float]) -> None:
    """Maps that are the truth, of another height in each image, over a ground of half that height."""
    for height, (name, target) in zip(heights, truths(root).items(), strict=True):
        values = [int(value) for value in np.unique(target) if value not in (0, IGNORE)]
        rows, columns = (np.arange(cells) * 4 + 1 for cells in seed_size(*target.shape))
        rows, columns = rows.clip(max=target.shape[0] - 1), columns.clip(max=target.shape[1] - 1)
        maps = [(target[np.ix_(rows, columns)] == value) * height / 2 + height / 2 for value in values]
        write_seed(folder / f"{name}.npz", Seed(np.array(values) - 1, np.stack(maps), target.shape))


def test_the_command_starts_from_the_figures_of_evaluate_and_takes_masks_too(make_voc, tmp_path):
    root = make_voc(size=(60, 80))
    settings = ["--config", ROOT / "config.yaml", *set_all([f"data.root={root}", "data.kind=voc", "workers=0"])]
    folder, ours, theirs = tmp_path / "seeds", tmp_path / "errors.json", tmp_path / "figures.json"
    write_seeds(root, folder, [0.3, 0.9, 0.3, 0.9, 0.3, 0.9])
    ended = call("benchmarks.errors", folder, *settings, "--list", "train", "--json", ours).well()
    assert call("evaluate", "--seeds", folder, *settings, "--split", "train", "--json", theirs).code == 0
    found, measured = json.loads(ours.read_text()), json.loads(theirs.read_text())
    assert (found["list"], found["n_images"]) == ("train", 4)
    assert (found["threshold"], found["miou"]) == (measured["threshold_best"], measured["miou_best"])
    assert found["over_activation"] == measured["over_activation_best"]
    truth = np.concatenate([truths(root)[name].ravel() for name in ("p0", "p1", "p3", "p4")])
    for kind, share, of in (
        ("over", "over_activation", truth == 0),
        ("under", "under_activation", (truth > 0) & (truth != IGNORE)),
    ):
        wrong = found["errors"][kind]["pixels"] * (truth != IGNORE).sum()
        assert 0 < wrong == pytest.approx(found[share] * of.sum())
    assert f"mIoU {100 * found['miou']:.1f} at the best common threshold {found['threshold']:g}" in ended.out
    folder = tmp_path / "masks"
    for name, target in truths(root).items():
        target[target == 1] = IGNORE  # every cat's pixel is given up
        write_mask(folder / f"{name}.png", target)
    ended = call("benchmarks.errors", folder, *settings, "--list", "train", "--every", "2", "--json", ours).well()
    found = json.loads(ours.read_text())
    assert (found["n_images"], found["threshold"]) == (2, None)
    assert found["errors"]["over"]["pixels"] == 0 < found["errors"]["under"]["pixels"]
    assert found["errors"]["under"]["miou_without"] == 1
    assert found["per_class"]["cat"]["iou"] == 0
    assert f"{found['ignored_predictions']} pixels marked 255" in ended.out
