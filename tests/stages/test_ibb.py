"""Stages `ibb` and `correct`: training on blurred backgrounds, and what the network then does to the seeds."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch

from benchmarks.common import set_all
from data.artifacts import Seed, read_mask, read_seed
from models.segmenter import Segmenter
from stages.config import load_config
from stages.files import trains_on_blurred
from stages.ibb import open_correction
from stages.networks import load_network
from tests.models.tiny import TinyBackbone, tiny_classifier
from tests.project import Project, names
from utils.compute import Compute


class Constant(Segmenter):
    """The same logits everywhere."""

    def __init__(self, logits: list[float]):
        super().__init__(TinyBackbone(), len(logits))
        self.values = torch.tensor(logits)

    def forward(self, x):
        return self.values[None, :, None, None].expand(len(x), -1, 3, 4)


@pytest.fixture
def correct(monkeypatch, tmp_path) -> Callable[[float, list[float], Seed], Seed]:
    """(weight, logits of the network, seed) -> the seed that it corrects."""

    def run(weight: float, logits: list[float], seed: Seed) -> Seed:
        monkeypatch.setattr("stages.ibb.load_segmenter", lambda *_: Constant(logits).eval())
        change = open_correction(load_config(None, overrides=[f"ibb.weight={weight}"]), tmp_path, tiny_classifier())
        return change.apply(seed, torch.zeros(3, *seed.size, dtype=torch.uint8), Compute(torch.device("cpu")))

    return run


@pytest.mark.parametrize("weight", [0.0, 0.4, 1.0])
def test_corrected_maps_are_the_weighted_mean(correct, weight):
    maps = np.random.default_rng(0).random((2, 12, 16), np.float32)
    seed = Seed(np.array([0, 2]), maps, (48, 64))
    corrected = correct(weight, [0.0, 1.0, 5.0, 2.0], seed)
    # Class 1, which the image does not contain, takes no part, however likely the network finds it.
    likely = np.exp([1.0, 2.0]) / np.exp([0.0, 1.0, 2.0]).sum()
    expected = (1 - weight) * maps + weight * likely[:, None, None]
    np.testing.assert_allclose(corrected.maps, expected, atol=1e-5)
    assert (corrected.classes == seed.classes).all()
    assert corrected.size == seed.size
    empty = Seed(np.zeros(0, np.int64), np.zeros((0, 12, 16), np.float32), (48, 64))
    assert correct(weight, [0.0, 1.0], empty) is empty


def test_stages_write_masks_a_network_and_seeds(finished: Project):
    network, checkpoint = load_network(finished.run / "ibb.pth")
    assert isinstance(network, Segmenter)
    assert "segmentation" in checkpoint.figures
    for name in names(finished, "train"):
        seed, corrected = (read_seed(finished.run / f"seeds_{step}/{name}.npz") for step in ("context", "trained"))
        mask = read_mask(finished.run / "ibb_masks" / f"{name}.png")
        assert set(np.unique(mask)) <= {0, 255, *(seed.classes + 1)}
        assert mask.shape == tuple(corrected.size)
        assert corrected.maps.shape == seed.maps.shape


def learned(project: Project, *settings: str) -> torch.Tensor:
    """What stage `ibb` learns with these settings."""
    project.train(*set_all(settings), "--stages", "ibb").well()
    return load_network(project.run / "ibb.pth")[0].head[-1].weight


def test_the_blur_changes_what_the_network_learns_and_divergence_names_the_setting_to_lower(project: Project):
    assert not torch.equal(*(learned(project, f"ibb.blurred_share={share}") for share in (0, 1)))
    ended = project.train("--set", "segment.lr=1e30", "--set", "ibb.epochs=2", "--stages", "ibb")
    assert (ended.code, "lower segment.lr, which is 1e+30" in ended.err) == (2, True), ended.err
    assert "training of stage 'ibb' diverged in epoch 2" in ended.err


def test_stage_ibb_may_have_sizes_of_its_own(project: Project):
    own = ("crop_size=64", "scale_range=[0.5,0.6]", "max_side=60", "frozen_stride=4")
    assert torch.equal(*(learned(project, *(f"{part}.{each}" for each in own)) for part in ("segment", "ibb")))
    ended = project.train("--set", "ibb.max_side=50", "--stages", "ibb,correct,pseudo,segment")
    assert ended.stages("done") == ["ibb", "correct", "pseudo", "segment"]
    cfg = load_config(None, overrides=["segment.max_side=60", "ibb.max_side=50"])
    assert open_correction(cfg, project.run, tiny_classifier()).sides.max_side == 50
    assert cfg.segmenter.max_side == 60


@pytest.mark.parametrize(
    ("setting", "skipped", "seeds"),
    [
        pytest.param("ibb.epochs=0", ["ibb", "correct"], "seeds_context", marks=pytest.mark.long),
        ("ibb.enabled=false", ["ibb", "correct"], "seeds_context"),
        ("context.enabled=false", ["context", "remove"], "seeds_trained"),
    ],
)
def test_without_a_step_later_stages_take_the_seeds_before_it(project: Project, setting, skipped, seeds):
    ended = project.train("--set", setting).well()
    assert set(skipped) <= set(ended.stages("skipped"))
    assert not trains_on_blurred(load_config(None, overrides=["ibb.epochs=0"]))  # as ibb.enabled=false
    assert not set(skipped) & set(ended.stages("done"))
    masks = project.evaluate("--set", setting, "--masks", project.run / "pseudo", "--split", "train")
    figures = project.evaluate("--set", setting, "--seeds", project.run / seeds, "--split", "train")
    assert masks["miou"] == pytest.approx(figures["miou"], abs=1e-9)
    gone = "context" if skipped[0] == "context" else "IBB in training"
    assert not any(gone in title for title in json.loads((project.run / "report.json").read_text()))


def test_the_segmentation_network_begins_with_that_of_stage_ibb(project: Project):
    for wanted in (True, False):
        project.train("--set", f"segment.from_ibb={wanted}", "--set", "segment.lr=1e-20", "--stages", "segment").well()
        first, last = (load_network(project.run / name)[0].head[-1].weight for name in ("ibb.pth", "segmenter.pth"))
        assert torch.equal(first, last) is wanted
