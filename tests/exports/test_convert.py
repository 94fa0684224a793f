"""IRN's files become checkpoints."""

import pytest
import torch

from data.voc import VOC_CLASSES
from models.affinity import build_affinity_net
from models.classifier import Classifier, build_classifier
from stages.networks import load_affinity, load_classifier
from tests.models.reference import published_state
from tests.project import call
from utils.checkpoint import load_checkpoint


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return build_classifier("resnet50", 20, "none")


@pytest.mark.parametrize("kind", ["a classifier", "an affinity network"])
def test_irns_networks_become_checkpoints(tmp_path, classifier, kind):
    theirs, back = tmp_path / "theirs.pth", tmp_path / "back.pth"
    network, load = classifier, load_classifier
    if kind == "an affinity network":
        network, load = build_affinity_net("resnet50", "none", True), load_affinity
        network.mean_shift.running_mean.copy_(torch.tensor([1.5, -0.5]))
    torch.save(published_state(network.state_dict()), theirs)
    assert f"{kind} on resnet50" in call("exports.convert", theirs, back).well().out
    found, expected = load(back).state_dict(), network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    checkpoint = load_checkpoint(back)
    assert (checkpoint.class_names, checkpoint.backbone) == (VOC_CLASSES, "resnet50")
    again = call("exports.convert", back, tmp_path / "again.pth")
    assert (again.code, "is a checkpoint of this project" in again.err) == (2, True)


def test_what_cannot_be_imported_is_refused(tmp_path, classifier):
    state = classifier.state_dict() | {"classifier.weight": classifier.classifier.weight[:3]}
    backbone = {name.removeprefix("backbone."): values for name, values in state.items() if name != "classifier.weight"}
    known = published_state(state)
    for content, said in ((known, "knows 3 classes, expected VOC's 20"), (backbone, "need no conversion")):
        torch.save(content, tmp_path / "other.pth")
        ended = call("exports.convert", tmp_path / "other.pth", tmp_path / "out.pth")
        assert (ended.code, said in ended.err, "model.weights" in ended.err) == (2, True, True)
    assert not (tmp_path / "out.pth").exists()
