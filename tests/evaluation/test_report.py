"""What stage `report` evaluates and chooses to show."""

import itertools
import json

import numpy as np
import pytest

from data.artifacts import read_mask
from data.index import open_index
from evaluation.report import choose_images
from stages.files import REPORT, REPORT_IMAGES


def test_every_line_has_an_interval_and_a_gain_over_the_line_before_and_confusions_are_those_of_the_figures(evaluated):
    cfg, run = evaluated
    figures, images = (json.loads(run.path(name).read_text()) for name in (REPORT, REPORT_IMAGES))
    steps = ["CAM", "+ GFM", "+ PRM", "+ IBB", "+ context", "+ IBB in training"]
    given = [*steps, "pseudo masks", "segmentation, given labels"]
    predicted = [f"{title}, predicted labels" for title in ("IBB", "context", "IBB in training", "segmentation")]
    assert list(figures) == given + predicted
    for title, row in figures.items():
        counts = np.array(images["confusion"][title])
        over = counts[0, 1:].sum() / counts[0].sum()
        assert over == pytest.approx(row["over_activation_best"])
        low, high = row["interval"]["miou"]
        assert low <= row["miou_best"] <= high
        assert low < high
    truth = [read_mask(record.mask) for record in open_index(cfg.data, "val", masks=True).records]
    assert counts.sum() == sum((mask != 255).sum() for mask in truth)
    assert len(images["shown"]) == images["images"] == len(truth)
    for titles in (given, predicted):
        assert figures[titles[0]]["gain"] is None
        for before, title in itertools.pairwise(titles):
            gain = figures[title]["gain"]
            assert gain["over"] == before
            assert gain["miou"] == pytest.approx(figures[title]["miou_best"] - figures[before]["miou_best"])
            assert gain["low"] <= gain["miou"] <= gain["high"]
            assert gain["clear"] == (gain["low"] > 0 or gain["high"] < 0)


def test_the_worst_and_the_best_are_always_chosen_and_few_images_all():
    miou = np.random.default_rng(0).random(500)
    shown = choose_images(miou, most=50, extremes=5)
    order = np.argsort(miou)
    assert {*order[:5], *order[-5:]} <= set(shown)
    assert shown == sorted(set(shown))
    assert len(shown) == 50
    assert max(np.diff(shown)) < 40  # spread over the list
    for count in (1, 2, 50):
        assert choose_images(np.full(count, np.nan), most=50, extremes=5) == list(range(count))
