"""Truth that real users had, in ../shared/cases: what the check and evaluation make of each."""

import logging

import numpy as np
import pytest

from data.check import check
from data.index import open_index
from evaluation.scores import evaluate_masks
from tests.data.test_check import settings
from utils.errors import UserError


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("01_mask_0_255", "data.mask_values={0: background, 255: cat}"),
        ("02_mask_rgb", 'data.mask_values={"#000000": background, "#008000": dog, "#800000": cat}'),
        ("06_mask_palette_other_order", 'data.mask_values={"#800000": cat, "#000000": background, "#008000": dog}'),
    ],
)
def test_the_check_stops_with_the_line_that_reads_the_masks(case, name, says):
    """Also where no validation list is set: masks that are there are looked at."""
    findings = check(settings(case(name)))
    assert len(findings.problems) == 1
    assert f"--set '{says}'" in findings.problems[0]


@pytest.mark.parametrize(
    ("name", "mapping"),
    [
        ("01_mask_0_255", {"0": "background", "255": "cat"}),
        ("02_mask_rgb", {"#000000": "background", "#008000": "dog", "#800000": "cat"}),
        ("06_mask_palette_other_order", {"#000000": "background", "#008000": "dog", "#800000": "cat"}),
    ],
)
def test_with_that_line_masks_are_of_their_labels(case, name, mapping):
    cfg = settings(case(name), mask_values=mapping, val_list="val")
    assert check(cfg).problems == []
    for record in open_index(cfg.data, "val", masks=True).records:
        assert set(np.unique(record.read_truth())) == {0, record.labels[0] + 1}


def test_predictions_of_background_alone_do_not_score(case):
    truth, predictions = case("01_mask_0_255"), case("01_predictions_all_background")
    index = open_index(settings(truth).data, "val", masks=True)
    with pytest.raises(UserError, match=r"hold only 0 and 255.*data.mask_values=\{0: background, 255: cat\}"):
        evaluate_masks(index, predictions, 0)
    mapping = {"0": "background", "255": "cat"}
    index = open_index(settings(truth, mask_values=mapping).data, "val", masks=True)
    measured = evaluate_masks(index, predictions, 0)
    assert measured.matrix.iou()[1] == 0
    assert measured.matrix.miou() < 0.4


def test_masks_that_exchange_two_classes_are_measured_anew_with_a_warning(case, caplog):
    base, exchanged = case("00_base"), case("88_truth_corrected")
    ious = {}
    for root in (base, exchanged):
        index = open_index(settings(root).data, "val", masks=True)
        with caplog.at_level(logging.WARNING):
            ious[root] = evaluate_masks(index, base / "masks", 0).matrix.iou()[1:]
        assert ("contradict their labels" in caplog.text) == (root == exchanged)
    assert "no mask holds cat (8 images), dog (8 images) for an image with that label" in caplog.text
    assert ious[base].min() == 1
    assert ious[exchanged].max() == 0
