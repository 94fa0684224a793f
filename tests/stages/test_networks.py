"""Networks to and from checkpoints, and what is said of a checkpoint of the wrong kind."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.affinity import AffinityNet, boundary, displacement
from models.segmenter import Segmenter
from stages.config import Config
from stages.networks import load_affinity, load_classifier, load_network, save_network
from tests.models.tiny import TinyBackbone, make_image
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import UserError

CLASSES = ("cat", "dog", "train")
SETTINGS = Config().changed("model", backbone="tiny")
pytestmark = pytest.mark.usefixtures("tiny_backbone")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, backbone = tmp_path_factory.mktemp("networks"), TinyBackbone()
    for kind, network in (("segmenter", Segmenter(backbone, 4)), ("affinity", AffinityNet(backbone))):
        save_network(folder / f"{kind}.pth", kind, network, CLASSES, SETTINGS, {})
    return folder


@pytest.mark.parametrize("with_displacement", [False, True])
def test_an_affinity_network_comes_back_with_the_branches_that_it_had(tmp_path, with_displacement):
    network = AffinityNet(TinyBackbone(seed=1), with_displacement).eval()
    if with_displacement:
        network.mean_shift.running_mean.copy_(torch.tensor([1.5, -0.5]))
    save_network(tmp_path / "affinity.pth", "affinity", network, CLASSES, SETTINGS, {"neg": 0.2})
    loaded = load_affinity(tmp_path / "affinity.pth")
    assert loaded.has_displacement == with_displacement
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    image = make_image(40, 56)
    assert torch.equal(boundary(loaded, image), boundary(network, image))
    if with_displacement:
        assert torch.equal(displacement(loaded, image), displacement(network, image))
    checkpoint = load_checkpoint(tmp_path / "affinity.pth")
    assert (checkpoint.kind, checkpoint.class_names, checkpoint.figures) == ("affinity", CLASSES, {"neg": 0.2})


def test_a_checkpoint_of_another_kind_or_whose_weights_do_not_fit_is_told(folder, tmp_path):
    knows = "an affinity network, which knows boundaries and no .*expected a seg.* or a classifier"
    for load, kind, message in (
        (load_classifier, "affinity", "an affinity network, expected a classifier, such as the one that stage cam"),
        (load_affinity, "segmenter", "a segmentation network, expected an affinity network, such as the one that"),
        (load_network, "affinity", knows),
    ):
        with pytest.raises(UserError, match=rf"{kind}\.pth holds {message}"):
            load(folder / f"{kind}.pth")
    checkpoint = load_checkpoint(folder / "affinity.pth")
    state = {name: values for name, values in checkpoint.state.items() if name != "fc_edge2.0.weight"}
    save_checkpoint(tmp_path / "part.pth", replace(checkpoint, state=state))
    with pytest.raises(UserError, match=r"part\.pth: the weights do not fit an affinity .*fc_edge2\.0\.weight"):
        load_affinity(tmp_path / "part.pth")
    save_checkpoint(tmp_path / "other.pth", replace(checkpoint, kind="oracle"))
    with pytest.raises(UserError, match=r"other\.pth holds a network of unknown kind 'oracle'; known: classifier"):
        load_network(tmp_path / "other.pth")
