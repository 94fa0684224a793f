"""The benchmark beside other CAM methods: what the libraries see of our classifier is what we see."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks.peers import Staged, maps_of, of_grad_cam, of_torchcam
from models.reading import read
from models.steps import ClassActivationMap
from tests.models.tiny import make_image, tiny_classifier

CLASSES = [2, 0]


def test_stages_pass_through_the_hooked_modules_unchanged():
    classifier, x = tiny_classifier(), torch.randn(2, 3, 64, 96)
    seen = []
    staged = Staged(classifier, 2)
    for stage in staged.stages:
        stage.register_forward_hook(lambda module, inputs, output: seen.append(output))
    assert torch.equal(staged(x), classifier(x))
    assert [map_.requires_grad for map_ in seen] == [False, False, True, True, True]


@pytest.mark.parametrize(("library", "build"), [("pytorch_grad_cam", of_grad_cam), ("torchcam", of_torchcam)])
def test_grad_cam_of_the_last_stage_is_the_class_activation_map(library, build):
    pytest.importorskip(library, reason="needs grad-cam and torchcam (requirements-peers.txt)")
    cfg = SimpleNamespace(step=lambda name: ClassActivationMap(scales=(1.0,), flip=True))
    classifier, image = tiny_classifier(), make_image(96, 128)
    found = maps_of(build("GradCAM", classifier, [4]), image, CLASSES, cfg)
    ours = read(classifier, image, CLASSES).cam
    assert found.shape == ours.shape
    for one, other in zip(found, ours, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.9
