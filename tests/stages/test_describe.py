"""Our files say what they are; of others the entries are shown."""

from pathlib import Path

import pytest
import torch

from stages.config import load_config
from stages.describe import describe
from tests.project import call
from utils.checkpoint import Checkpoint, save_checkpoint
from utils.errors import UserError


def saved(path: Path, content) -> Path:
    torch.save(content, path)
    return path


def test_our_own_says_what_it_is(tmp_path):
    cfg = load_config(None, overrides=["model.backbone=efficientnet_lite0", "segment.scales=[0.5, 1.0]"])
    config = cfg.to_dict() | {"old": {"key": 3}}  # of another version
    sizes = {"head.weight": (4, 5), "bn.running_mean": (7,), "bn.num_batches_tracked": ()}
    state = {name: torch.ones(size) for name, size in sizes.items()}
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    own = Checkpoint("segmenter", ("cat", "dög"), "efficientnet_lite0", config, state, {"loss": 0.25}, colours)
    save_checkpoint(tmp_path / "a.pth", own)
    lines = dict(describe(tmp_path / "a.pth"))
    assert lines["kind"] == "IBBNet segmenter"
    assert lines["classes"] == "2: cat, dög"
    assert (lines["backbone"], lines["mean"], lines["figure loss"]) == ("efficientnet_lite0", "0.5, 0.4, 0.3", "0.25")
    assert lines["parameters"] == "20 in 1 tensors (3 entries)"
    settings = {title: text for title, text in lines.items() if title.startswith("setting")}
    changed = {"setting model.backbone": "efficientnet_lite0", "setting segment.scales": "[0.5, 1.0]"}
    assert settings == changed | {"setting old.key": "3"}


def test_of_others_the_entries_are_shown_and_a_layer_under_several_names_is_counted_once(tmp_path):
    state = {f"part{number}.weight": torch.ones(3, 2) for number in range(9)}
    state |= dict.fromkeys(("part7.weight", "part8.weight"), state["part6.weight"])
    for content in (state, {"epoch": 3, "state_dict": state}):
        lines = dict(describe(saved(tmp_path / "a.pth", content)))
        assert lines["kind"].startswith("not a checkpoint of train.py; its entries begin with part0.weight, part1")
        assert lines["kind"].endswith("part5.weight and 3 more")
        assert lines["parameters"] == "42 in 7 tensors (9 entries)"
    for content in ({}, [1, 2], torch.ones(3), {"a": 1, "b": "c"}):
        with pytest.raises(UserError, match=r"a\.pth holds .* and no weights"):
            describe(saved(tmp_path / "a.pth", content))


def test_the_command_and_a_stopped_training(tmp_path):
    state = {"fingerprint": "f", "step": 12, "network": {"a.weight": torch.ones(3, 2)}, "optimizer": {}}
    path = saved(tmp_path / "cam.last.pth", state)
    assert call("stages.describe", path, path).well().out.count("a training that was stopped after 12 steps") == 2
