"""Maps and gradients of vision transformers where they can be known: blocks that say nothing, finite differences."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from models.backbone import build_backbone
from models.classifier import Classifier
from models.timm_chain import TimmBackbone

NETWORKS = ("vit_tiny_patch16_224", "eva02_tiny_patch14_224")
SIZES = [(64, 112), (65, 97), (33, 40)]
RED = 5.0


@pytest.fixture(scope="module", params=NETWORKS)
def mean_red(request) -> Classifier:
    """A transformer that says of each patch its mean red, and a classifier whose class 0 is red."""
    backbone = build_backbone(f"timm/{request.param}", "none")
    assert isinstance(backbone, TimmBackbone)
    for parameter in backbone.parameters():
        parameter.data.zero_()
    stride = backbone.strides[0]
    backbone.net.patch_embed.proj.weight.data[0, 0] = 1 / stride**2
    backbone.net.norm = torch.nn.Identity()
    classifier = Classifier(backbone, 2)
    classifier.classifier.weight.data.zero_()
    classifier.classifier.weight.data[0, 0] = RED
    return classifier.eval().requires_grad_(False)


def red_of_patches(images: Tensor, stride: int) -> Tensor:
    """Mean red of each patch, where the images lie in the middle of whole patches of zeros."""
    rests = [-side % stride for side in images.shape[-2:]]
    around = (rests[1] // 2, rests[1] - rests[1] // 2, rests[0] // 2, rests[0] - rests[0] // 2)
    return avg_pool2d(pad(images[:, :1], around), stride)


@pytest.mark.parametrize("size", SIZES)
def test_each_cell_is_its_own_patch(mean_red, size):
    images = torch.rand(2, 3, *size)
    expected = red_of_patches(images, mean_red.backbone.strides[0])
    for stage in mean_red.backbone.stages(images):
        torch.testing.assert_close(stage[:, :1], expected)
        assert stage[:, 1:].abs().max() == 0


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_gradients_of_a_logit_are_finite_differences(stage):
    torch.manual_seed(stage)
    backbone = build_backbone(f"timm/{NETWORKS[1]}", "none")
    classifier = Classifier(backbone, 3).double().eval().requires_grad_(False)
    x, step = torch.randn(1, 3, 33, 40, dtype=torch.float64), 1e-5
    stages = backbone.stages(x, grad_from=stage)
    (gradient,) = torch.autograd.grad(classifier.logits(stages)[0, 1], stages[stage])
    assert gradient.abs().amax(dim=1).min() > 0  # each cell counts
    direction = torch.randn_like(gradient)
    where = backbone.net.get_submodule(backbone.cut.stages[stage].name)

    def moved(distance: float) -> float:
        def move(module, inputs, tokens):  # the first one is the class token
            return torch.cat([tokens[:, :1], tokens[:, 1:] + distance * direction.flatten(2).mT], dim=1)

        with where.register_forward_hook(move):
            return float(classifier(x)[0, 1])

    difference = (moved(step) - moved(-step)) / (2 * step)
    assert difference == pytest.approx(float((gradient * direction).sum()), rel=1e-5)
