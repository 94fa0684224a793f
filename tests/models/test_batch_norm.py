"""Shared batch norm is batch norm of the whole batch, with simulated processes (real ones: tests/utils)."""

import copy

import pytest
import torch
from torch import nn

import models.batch_norm as module
from models.batch_norm import SharedBatchNorm2d, share_statistics


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
