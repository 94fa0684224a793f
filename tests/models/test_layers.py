"""Layers in the place of torch's give what torch's give, and so do their gradients.

Batch norm is shared with simulated processes (real ones: tests/utils/test_distributed.py).
"""

import copy

import pytest
import torch
from timm.layers import Conv2dSame
from torch import nn

import models.layers as module
from models.backbone import build_backbone
from models.layers import Depthwise, DepthwiseSame, SharedBatchNorm2d, share_statistics, speed_up_depthwise

KINDS = {nn.Conv2d: Depthwise, Conv2dSame: DepthwiseSame}


def pair(kind: type[nn.Conv2d] = nn.Conv2d, **options) -> tuple[nn.Conv2d, nn.Conv2d]:
    """A layer of torch or timm, and what it becomes."""
    torch.manual_seed(0)
    plain = kind(8, 8, groups=8, bias=False, **options)
    other = copy.deepcopy(plain)
    speed_up_depthwise(other)
    assert type(other) is KINDS[kind]
    return plain, other


@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 5, "dilation": 2, "padding": 4},
        {"kernel_size": (3, 5), "dilation": (2, 3), "padding": (1, 6)},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 1, "padding": 1},
        {"kernel_size": 3, "padding": 1, "stride": 2},
        {"kernel_size": 5, "stride": 2, "kind": Conv2dSame},
        {"kernel_size": 3, "dilation": 2, "kind": Conv2dSame},
    ],
    ids=str,
)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_outputs_and_all_gradients_are_those_of_torch(options, precision):
    found = []
    for layer in pair(**options):
        x = torch.randn(2, 8, 17, 14, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            y = layer(x)
        weights = torch.linspace(-1, 1, y.numel()).view_as(y)
        (y.float() * weights).sum().backward()
        found.append([y, x.grad, layer.weight.grad])
    tolerance = {"rtol": 2e-2, "atol": 5e-2} if precision == "bf16" else {"rtol": 1e-4, "atol": 1e-5}
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, **tolerance)
    layer, x = pair(**options)[1].requires_grad_(False), torch.randn(1, 8, 9, 9, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None


def test_other_layers_stay_what_they_are():
    layers = [
        nn.Conv2d(8, 8, 3, bias=False),
        nn.Conv2d(8, 8, 3, groups=4, bias=False),
        nn.Conv2d(8, 16, 3, groups=8, bias=False),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 8, 3, groups=8, bias=False, padding="same"),
        nn.Conv2d(8, 8, 3, groups=8, bias=False, padding=1, padding_mode="reflect"),
    ]
    speed_up_depthwise(nn.Sequential(*layers))
    assert all(type(layer) is nn.Conv2d for layer in layers)
    modules = [type(module) for module in build_backbone("efficientnet_lite0", "none").modules()]
    assert (modules.count(Depthwise), modules.count(DepthwiseSame)) == (13, 3)


@pytest.fixture
def twins(monkeypatch):
    """Two processes that see the same images."""
    monkeypatch.setattr(module, "world_size", lambda: 2)
    monkeypatch.setattr(module, "total", lambda value: 2 * value)


def both() -> tuple[nn.Module, nn.BatchNorm2d]:
    """A plain layer, and the same as it is exchanged where there are several processes."""
    torch.manual_seed(0)
    plain = nn.BatchNorm2d(4, eps=0.02, momentum=0.3)
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    plain.running_mean.normal_()
    plain.running_var.uniform_(0.5, 2)
    network = nn.Sequential(nn.Sequential(copy.deepcopy(plain)), nn.ReLU())
    share_statistics(network)
    return network[0][0], plain


def test_its_statistics_and_gradients_are_those_of_all_processes(twins):
    random = torch.Generator().manual_seed(1)
    x, weights = (torch.randn(2, 4, 5, 3, generator=random) for _ in range(2))
    shared, plain = both()
    own, whole = (3 * x + 1).requires_grad_(), torch.cat([3 * x + 1] * 2).requires_grad_()
    for _ in range(2):
        found, expected = shared(own), plain(whole)
        torch.testing.assert_close(found, expected[:2])
    assert shared.num_batches_tracked == plain.num_batches_tracked == 2
    torch.testing.assert_close(shared.running_mean, plain.running_mean)
    torch.testing.assert_close(shared.running_var, plain.running_var)
    (found * weights).sum().backward()
    (expected * torch.cat([weights, weights])).sum().backward()
    torch.testing.assert_close(own.grad, whole.grad[:2], atol=1e-5, rtol=1e-4)


def test_in_evaluation_and_alone_it_is_the_plain_layer(twins, monkeypatch):
    x = torch.randn(2, 4, 5, 3)
    shared, plain = both()
    assert type(shared) is SharedBatchNorm2d
    torch.testing.assert_close(shared.eval()(x), plain.eval()(x))
    share_statistics(nested := nn.Sequential(plain))
    assert not nested[0].training
    monkeypatch.setattr(module, "world_size", lambda: 1)
    torch.testing.assert_close(shared.train()(x), plain.train()(x))
    assert type(both()[0]) is nn.BatchNorm2d
