from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import stages.recipe
from data.index import open_index
from data.recipe import INSPECTION
from stages.config import load_config
from stages.recipe import early_share, fit_of, share_known
from tests.project import ROOT

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.random((3, 120)) < 0.3


def features(signal: float) -> np.ndarray:
    """(N, D) noise, with so much of each label in it."""
    random = np.random.default_rng(1)
    return random.normal(size=(120, 40)) + signal * (LABELS.T @ random.normal(size=(3, 40)))


def test_an_early_stage_with_the_same_features_knows_all_and_one_of_noise_nothing():
    assert share_known(LABELS, features(0.3), features(0.3)) == 1
    assert share_known(LABELS, features(0), features(0.3)) < 0.3


def test_nothing_is_said_where_the_last_stage_knows_nothing_or_the_early_one_everything():
    assert share_known(LABELS, features(0.3), features(0)) is None
    assert share_known(LABELS, features(50), features(50)) is None


def settings(folder: Path, colour: bool, *more: str, count: int = 8):
    """Noisy images of two classes, and the settings of preset `folder` for them."""
    for name in ("cat", "dog"):
        (folder / "data" / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = np.broadcast_to(RANDOM.integers(0, 256, (24, 32, 3 if colour else 1), np.uint8), (24, 32, 3))
            Image.fromarray(pixels.copy()).save(folder / "data" / name / f"{name}{number}.png")
    set_here = (f"data.root={folder / 'data'}", f"run={folder / 'run'}", "device=cpu", "model.backbone=tiny")
    cfg = load_config(ROOT / "config.yaml", "folder", [*set_here, *more])
    return cfg, open_index(cfg.data, "")


@pytest.mark.parametrize(
    ("colour", "share", "preset"),
    [
        (True, 0.2, ""),
        (False, 0.2, ""),  # grey photographs
        (True, 0.9, INSPECTION),  # textures in colour
        (False, 0.9, INSPECTION),
        (True, 0.6, ""),
        (False, 0.6, INSPECTION),
        (True, None, ""),
        (False, None, INSPECTION),
    ],
)
def test_features_decide_where_they_are_clear_and_colours_elsewhere(
    tmp_path, tiny_backbone, monkeypatch, colour, share, preset
):
    monkeypatch.setattr(stages.recipe, "early_share", lambda cfg, index: share)
    fit = fit_of(*settings(tmp_path, colour))
    assert fit.preset == preset
    assert ("but the classes differ by" in fit.why) == (share is not None and colour == (preset == INSPECTION))


def test_what_features_know_is_found_once_for_the_same_images_and_labels(tmp_path, tiny_backbone, monkeypatch):
    monkeypatch.setattr(stages.recipe, "FEWEST", 16)
    cfg, index = settings(tmp_path, True)
    calls = []
    monkeypatch.setattr(stages.recipe, "share_known", lambda labels, early, last: calls.append(early.shape) or 0.5)
    assert [early_share(cfg, index), early_share(cfg, index)] == [0.5, 0.5]
    assert calls == [(16, 16)]
    (tmp_path / "data" / "dog" / "dog0.png").write_bytes(b"no image")  # looks as if it were all grey
    assert early_share(cfg, index) == 0.5
    early_share(*settings(tmp_path, True, count=9))
    assert calls == [(16, 16), (16, 16), (18, 16)]


def test_without_weights_or_with_few_images_nothing_is_said(tmp_path, tiny_backbone, monkeypatch):
    assert early_share(*settings(tmp_path, True)) is None  # 16 images
    monkeypatch.setattr(stages.recipe, "FEWEST", 8)
    assert early_share(*settings(tmp_path, True, "model.weights=none")) is None
    assert early_share(*settings(tmp_path / "few", True, count=5)) is None
    assert not (tmp_path / "run").exists()
