"""Dilated depthwise convolutions give what torch's give, and so do their gradients."""

import copy

import pytest
import torch
from torch import nn

from models.backbone import build_backbone
from models.depthwise import DilatedDepthwise, speed_up_depthwise


def pair(**options) -> tuple[nn.Conv2d, nn.Module]:
    torch.manual_seed(0)
    plain = nn.Conv2d(8, 8, groups=8, **options)
    other = copy.deepcopy(plain)
    speed_up_depthwise(other)
    assert type(other) is DilatedDepthwise
    return plain, other


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    "sides",
    [
        {"kernel_size": 5, "dilation": 2, "padding": 4},
        {"kernel_size": (3, 5), "dilation": (2, 3), "padding": (1, 6)},
        {"kernel_size": 3, "dilation": 2, "padding": 0},
    ],
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_outputs_and_all_gradients_are_those_of_torch(sides, bias, precision):
    found = []
    for layer in pair(bias=bias, **sides):
        x = torch.randn(2, 8, 17, 14, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            y = layer(x)
        weights = torch.linspace(-1, 1, y.numel()).view_as(y)
        (y.float() * weights).sum().backward()
        found.append([y, x.grad, *(parameter.grad for parameter in layer.parameters())])
        assert y.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=2e-2 if precision == "bf16" else 1e-4, atol=1e-3)


def test_frozen_weights_get_no_gradient():
    _, layer = pair(kernel_size=3, dilation=2, padding=2)
    layer.requires_grad_(False)
    x = torch.randn(1, 8, 9, 9, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_only_dilated_depthwise_layers_of_stride_1_change():
    layers = [
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=8, dilation=2, stride=2),
        nn.Conv2d(8, 8, 3, groups=4, dilation=2),
        nn.Conv2d(8, 16, 3, groups=8, dilation=2),
        nn.Conv2d(8, 8, 3, dilation=2),
        nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding="same"),
        nn.Conv2d(8, 8, 1, groups=8, dilation=2, padding=1),
        nn.Conv2d(8, 8, 3, groups=8, dilation=2, padding_mode="reflect", padding=1),
    ]
    speed_up_depthwise(nn.Sequential(*layers))
    assert all(type(layer) is nn.Conv2d for layer in layers)


def test_the_compact_backbone_has_them():
    backbone = build_backbone("efficientnet_lite0", "none")
    assert sum(type(module) is DilatedDepthwise for module in backbone.modules()) == 4
