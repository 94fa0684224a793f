"""The command between this project's checkpoints and IRN's files."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from data.voc import VOC_CLASSES
from models.affinity import AffinityNet, build_affinity_net
from models.backbone import build_backbone
from models.classifier import Classifier, build_classifier
from models.weights import published_state
from stages.config import Config
from stages.networks import load_affinity, load_classifier, save_network
from tests.project import Ended, call
from utils.checkpoint import load_checkpoint

LITE0 = "efficientnet_lite0"


def convert(source: Path, target: Path) -> Ended:
    return call("exports.convert", source, target)


def same(found: nn.Module, expected: nn.Module) -> bool:
    found, expected = found.state_dict(), expected.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_classifier_goes_to_irn_and_back(tmp_path):
    ours, theirs, back = (tmp_path / name for name in ("classifier.pth", "res50_cam.pth", "back.pth"))
    network = build_classifier("resnet50", 20, "none")
    save_network(ours, "classifier", network, VOC_CLASSES, Config(), {"loss": 0.1})
    ended = convert(ours, theirs)
    assert ended.code == 0, ended.err
    assert "res50_cam.pth" in ended.out
    assert "under IRN's names" in ended.out
    published = torch.load(theirs, weights_only=True)
    assert published.keys() == published_state(network.state_dict()).keys()
    assert theirs.stat().st_size < 1.1 * ours.stat().st_size  # duplicates are written once

    ended = convert(theirs, back)
    assert ended.code == 0, ended.err
    assert "a classifier on resnet50" in ended.out
    assert same(load_classifier(back), network)
    checkpoint = load_checkpoint(back)
    assert (checkpoint.class_names, checkpoint.backbone) == (VOC_CLASSES, "resnet50")


@pytest.mark.parametrize("displacement", [False, True])
def test_an_affinity_network_goes_to_irn_and_back(tmp_path, displacement):
    ours, theirs, back = (tmp_path / name for name in ("affinity.pth", "res50_irn.pth", "back.pth"))
    network = build_affinity_net("resnet50", "none", displacement)
    if displacement:
        network.mean_shift.running_mean.copy_(torch.tensor([1.5, -0.5]))
    save_network(ours, "affinity", network, VOC_CLASSES, Config(), {})
    for source, target in ((ours, theirs), (theirs, back)):
        ended = convert(source, target)
        assert ended.code == 0, ended.err
    assert "an affinity network on resnet50" in ended.out
    assert same(load_affinity(back), network)


def test_what_irn_cannot_read_is_refused(tmp_path):
    settings = replace(Config(), model=replace(Config().model, backbone=LITE0))
    backbone = build_backbone(LITE0, "none")
    for kind, network in (("classifier", Classifier(backbone, 2)), ("affinity", AffinityNet(backbone, False))):
        save_network(tmp_path / f"{kind}.pth", kind, network, ("cat", "dog"), settings, {})
        ended = convert(tmp_path / f"{kind}.pth", tmp_path / "out.pth")
        assert ended.code == 2
        assert f"{kind}.pth is on another backbone than resnet50" in ended.err
        assert not (tmp_path / "out.pth").exists()


def test_what_cannot_be_imported_is_refused(tmp_path):
    state = build_classifier("resnet50", 3, "none").state_dict()
    backbone = {name.removeprefix("backbone."): values for name, values in state.items() if name != "classifier.weight"}
    for content, said in (
        (published_state(state), "knows 3 classes, expected VOC's 20"),
        (backbone, "need no conversion"),
    ):
        torch.save(content, tmp_path / "other.pth")
        ended = convert(tmp_path / "other.pth", tmp_path / "out.pth")
        assert ended.code == 2
        assert said in ended.err
        assert "model.weights" in ended.err
    assert not (tmp_path / "out.pth").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "out.pth").write_bytes(b"dear to somebody")
    ended = convert(tmp_path / "none.pth", tmp_path / "out.pth")
    assert ended.code == 2
    assert "out.pth exists already" in ended.err
    assert convert(tmp_path / "none.pth", tmp_path / "new.pth").code == 2
    assert (tmp_path / "out.pth").read_bytes() == b"dear to somebody"
