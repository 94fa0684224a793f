"""The classifier: logits and maps are two readings of the same linear head."""

import pytest
import torch

from models.classifier import Classifier, build_classifier
from tests.models.tiny import TinyBackbone, make_image, tiny_classifier


@pytest.fixture
def classifier() -> Classifier:
    return tiny_classifier()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.stack([make_image(40, 56, seed) for seed in range(2)])


def test_maps_are_the_rectified_head_on_the_last_stage(classifier, x):
    last = classifier.backbone(x)
    weight = classifier.classifier.weight[:, :, 0, 0]
    expected = torch.stack([torch.einsum("cd,dhw->chw", weight, feature) for feature in last]).clamp_min(0)
    torch.testing.assert_close(classifier.cams(x), expected)
    assert (classifier.cams(x) == 0).any()
    assert (classifier.cams(x) > 0).any()


def test_a_logit_is_the_mean_of_its_map_before_rectification(classifier, x):
    weight = classifier.classifier.weight[:, :, 0, 0]
    unrectified = torch.einsum("cd,bdhw->bchw", weight, classifier.backbone(x))
    torch.testing.assert_close(classifier(x), unrectified.mean(dim=(2, 3)))
    assert (unrectified < 0).any()
    assert classifier.classifier.bias is None


def test_a_bias_moves_the_logits_and_no_map(x):
    plain, biased = tiny_classifier(), Classifier(TinyBackbone(), 4, bias=True).eval()
    biased.classifier.weight.data.copy_(plain.classifier.weight)
    biased.classifier.bias.data.copy_(torch.tensor([1.0, -2.0, 3.0, 0.0]))
    torch.testing.assert_close(biased(x), plain(x) + biased.classifier.bias)
    assert torch.equal(biased.cams(x), plain.cams(x))


def test_an_image_does_not_depend_on_its_batch(classifier, x):
    classifier.train()
    torch.testing.assert_close(classifier(x)[1:], classifier(x[1:]))
    torch.testing.assert_close(classifier.cams(x)[:1], classifier.cams(x[:1]))


def test_a_built_classifier_is_ready_to_use():
    classifier = build_classifier("efficientnet_lite0", 7, "none")
    assert classifier.num_classes == 7
    assert not classifier.training
    with torch.no_grad():
        assert classifier(torch.randn(2, 3, 32, 48)).shape == (2, 7)
        assert classifier.cams(torch.randn(2, 3, 32, 48)).shape == (2, 7, 2, 3)
    assert all(parameter.requires_grad for parameter in classifier.parameters())
