"""IRN's files become checkpoints."""

import torch
from torch import nn

from data.voc import VOC_CLASSES
from models.affinity import build_affinity_net
from models.classifier import build_classifier
from stages.networks import load_affinity, load_classifier
from tests.models.reference import published_state
from tests.project import call
from utils.checkpoint import load_checkpoint


def same(found: nn.Module, expected: nn.Module) -> bool:
    found, expected = found.state_dict(), expected.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


def test_irns_classifier_becomes_a_checkpoint(tmp_path):
    theirs, back = tmp_path / "res50_cam.pth", tmp_path / "back.pth"
    network = build_classifier("resnet50", 20, "none")
    torch.save(published_state(network.state_dict()), theirs)
    ended = call("exports.convert", theirs, back).well()
    assert "a classifier on resnet50" in ended.out
    assert same(load_classifier(back), network)
    checkpoint = load_checkpoint(back)
    assert (checkpoint.class_names, checkpoint.backbone) == (VOC_CLASSES, "resnet50")
    again = call("exports.convert", back, tmp_path / "again.pth")
    assert (again.code, "is a checkpoint of this project" in again.err) == (2, True)


def test_irns_affinity_network_becomes_a_checkpoint(tmp_path):
    network = build_affinity_net("resnet50", "none", True)
    network.mean_shift.running_mean.copy_(torch.tensor([1.5, -0.5]))
    torch.save(published_state(network.state_dict()), tmp_path / "res50_irn.pth")
    ended = call("exports.convert", tmp_path / "res50_irn.pth", tmp_path / "back.pth")
    assert "an affinity network on resnet50" in ended.out, ended.err
    assert same(load_affinity(tmp_path / "back.pth"), network)


def test_what_cannot_be_imported_is_refused(tmp_path):
    state = build_classifier("resnet50", 3, "none").state_dict()
    backbone = {name.removeprefix("backbone."): values for name, values in state.items() if name != "classifier.weight"}
    known = published_state(state)
    for content, said in ((known, "knows 3 classes, expected VOC's 20"), (backbone, "need no conversion")):
        torch.save(content, tmp_path / "other.pth")
        ended = call("exports.convert", tmp_path / "other.pth", tmp_path / "out.pth")
        assert (ended.code, said in ended.err, "model.weights" in ended.err) == (2, True, True)
    assert not (tmp_path / "out.pth").exists()
