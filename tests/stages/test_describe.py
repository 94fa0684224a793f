"""Files are told apart by what they say or by the names of their entries."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from stages.config import Config, load_config
from stages.describe import changed_settings, describe
from tests.project import ROOT, call
from utils.checkpoint import Checkpoint, save_checkpoint
from utils.errors import UserError


def entries(*names: str, rows: int = 3) -> dict[str, Tensor]:
    return {name: torch.ones(rows, 2) for name in names}


def resnet(blocks: int, bottleneck: bool, head: int = 0) -> dict[str, Tensor]:
    """The names of a ResNet's state, as far as they tell which it is."""
    names = ["conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.conv1.weight"]
    names += [f"layer3.{number}.conv1.weight" for number in range(blocks)] + ["layer1.0.conv3.weight"] * bottleneck
    return entries(*names) | ({"fc.weight": torch.ones(head, 2)} if head else {})


def said(path: Path) -> dict[str, str]:
    return dict(describe(path))


def saved(path: Path, content) -> Path:
    torch.save(content, path)
    return path


def test_our_own_says_what_it_is(tmp_path):
    cfg = load_config(None, overrides=["model.backbone=efficientnet_lite0", "segment.scales=[0.5, 1.0]"])
    state = {
        "head.weight": torch.ones(4, 5),
        "bn.running_mean": torch.ones(7),
        "bn.num_batches_tracked": torch.tensor(1),
    }
    save_checkpoint(
        tmp_path / "a.pth",
        Checkpoint(
            "segmenter",
            ("cat", "dög"),
            "efficientnet_lite0",
            cfg.to_dict(),
            state,
            {"loss": 0.25},
            {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
        ),
    )
    lines = said(tmp_path / "a.pth")
    assert lines["kind"] == "IBBNet segmenter"
    assert lines["classes"] == "2: cat, dög"
    assert (lines["backbone"], lines["mean"], lines["figure loss"]) == ("efficientnet_lite0", "0.5, 0.4, 0.3", "0.25")
    assert lines["parameters"] == "20 in 1 tensors (3 entries)"
    settings = {title: text for title, text in lines.items() if title.startswith("setting")}
    assert settings == {"setting model.backbone": "efficientnet_lite0", "setting segment.scales": "[0.5, 1.0]"}


def test_defaults_are_not_said_and_settings_that_are_gone_are():
    assert changed_settings(Config().to_dict()) == {}
    assert changed_settings(Config().to_dict() | {"old": {"key": 3}}) == {"old.key": 3}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (resnet(6, True, head=1000), "torchvision's ResNet-50 with a head of 1000 classes; model.weights takes it"),
        (resnet(23, True), "torchvision's ResNet-101 without a head; model.weights takes it"),
        (resnet(2, False, head=10), "torchvision's ResNet-18 with a head of 10 classes"),
        (resnet(5, False), "torchvision's ResNet without a head"),
        ({f"module.{name}": tensor for name, tensor in resnet(6, True).items()}, "torchvision's ResNet-50"),
        (
            entries("resnet50.conv1.weight", "stage1.0.weight", "classifier.weight", rows=20),
            "IRN's CAM network (res50_cam.pth) with a head of 20 classes",
        ),
        (
            entries("resnet50.conv1.weight", "stage1.0.weight", "fc_edge1.0.weight", "edge_layers.0.0.weight"),
            "IRN's affinity",
        ),
        (entries("backbone.conv1.weight", "fc_edge1.0.weight"), "the bare state of an IBBNet affinity network"),
        (entries("backbone.conv_stem.weight", "head.0.weight"), "the bare state of an IBBNet segmentation network"),
        (
            entries("backbone.conv_stem.weight", "classifier.weight"),
            "the bare state of an IBBNet classifier with a head of 3",
        ),
        (
            {f"backbone.{name}": tensor for name, tensor in resnet(23, True).items()}
            | entries("classifier.0.convs.0.0.weight"),
            "torchvision's segmentation network on ResNet-101",
        ),
        (entries("conv_stem.weight", "blocks.0.0.conv.weight"), "timm's EfficientNet or MobileNet without a head"),
        (
            entries("patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "head.weight"),
            "timm's vision transformer with a head",
        ),
        (
            entries(*(f"part{number}.weight" for number in range(9))),
            "not known; its entries begin with part0.weight, part1",
        ),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_others_are_known_by_their_names(tmp_path, state, expected, wrapped):
    path = saved(tmp_path / "a.pth", {"epoch": 3, "state_dict": state} if wrapped else state)
    assert said(path)["kind"].startswith(expected)


def test_a_layer_under_three_names_is_counted_once(tmp_path):
    weight = torch.ones(2048, 20)
    state = {f"{name}.weight": weight for name in ("resnet50.conv1", "stage1.0", "backbone.0.0")} | entries(
        "classifier.weight"
    )
    assert said(saved(tmp_path / "a.pth", state))["parameters"] == f"{2048 * 20 + 6:,} in 2 tensors (4 entries)"


def test_a_stopped_training(tmp_path):
    state = {
        "fingerprint": "f",
        "step": 12,
        "totals": {},
        "random": {},
        "network": entries("a.weight"),
        "optimizer": {},
    }
    assert said(saved(tmp_path / "cam.last.pth", state))["kind"].startswith(
        "a training that was stopped after 12 steps"
    )


@pytest.mark.parametrize("content", [{}, [1, 2], torch.ones(3), {"a": 1, "b": "c"}])
def test_what_holds_no_weights(tmp_path, content):
    with pytest.raises(UserError, match=r"a\.pth holds .* and no weights"):
        describe(saved(tmp_path / "a.pth", content))


def test_the_command(tmp_path):
    path = saved(tmp_path / "a.pth", resnet(6, True, head=1000))
    command = [sys.executable, "-m", "stages.describe"]
    ended = subprocess.run([*command, path, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("ResNet-50") == 2
    ended = call("stages.describe", "nowhere.pth")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: there is no file nowhere.pth")
