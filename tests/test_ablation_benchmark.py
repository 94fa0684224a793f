"""The ablation: which rows it prints, and that each says what the method with these modules says."""

import pytest
import torch

from benchmarks.ablation import READ, chosen_rows, every_row, read_rows
from models.context import ContextDiscriminant
from stages.config import load_config
from stages.reading import build_method
from stages.walk import walk_along, walk_features
from tests.models.tiny import make_image, tiny_classifier

SETTINGS = ["cam.scales=[1.0]", "gfm.min_stride=8", "affinity.feature_strides=[8]", "affinity.feature_power=2"]
CLASSES = [2, 0]


def settings(*more: str):
    return load_config(None, overrides=[*SETTINGS, *more])


def test_each_module_alone_added_and_left_out():
    rows = chosen_rows(settings(), trained=True)
    everything = ("gfm", "prm", "ibb", "context", "trained", "walk")
    assert list(rows)[:4] == ["CAM", "GFM", "PRM", "IBB"]
    assert rows["GFM + PRM + IBB + context + trained + walk"] == everything
    assert rows["all but PRM"] == ("gfm", "ibb", "context", "trained", "walk")
    assert rows["all but IBB and trained"] == ("gfm", "prm", "context", "walk")
    for name in everything:
        assert (name,) in rows.values()
        assert tuple(other for other in everything if other != name) in rows.values()
    for count in range(len(everything) + 1):
        assert everything[:count] in rows.values()


def test_every_combination_is_there_once():
    rows = every_row(settings(), trained=True)
    assert len(rows) == len({frozenset(names) for names in rows.values()}) == 64


@pytest.mark.parametrize("rows", [chosen_rows, every_row])
def test_what_a_run_does_not_have_has_no_row(rows):
    said = " ".join(rows(settings("context.enabled=false"), trained=False))
    assert "context" not in said
    assert "trained" not in said
    assert "walk" in said


def test_each_row_is_what_the_method_with_these_modules_says():
    cfg, classifier, image = settings(), tiny_classifier(), make_image()
    random = torch.Generator().manual_seed(0)
    classifier.context = ContextDiscriminant(4, 8)
    classifier.context.weight.data.normal_(generator=random)
    shares = torch.rand(2, 8, 12, generator=random)
    unit = walk_features(classifier, image, cfg.affinity, cfg.step("cam").scales, cfg.step("cam").flip)
    rows = every_row(cfg, trained=True)
    seen = dict(read_rows(rows, classifier, image, CLASSES, cfg, shares))
    assert list(seen) == list(rows)
    for title, names in rows.items():
        switched = [f"{name}.enabled={name in names}" for name in (*READ, "context")]
        expected = build_method(settings(*switched))(classifier, image, CLASSES)
        if "trained" in names:
            expected = (1 - cfg.correction.weight) * expected + cfg.correction.weight * shares
        if "walk" in names:
            expected = walk_along(unit, expected, cfg.affinity)
        torch.testing.assert_close(seen[title], expected, msg=title)
