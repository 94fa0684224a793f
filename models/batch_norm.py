"""Batch norm over a batch that several processes share, with the statistics of the whole batch."""

from typing import Any

import torch
from torch import Tensor, nn

from utils.distributed import total, world_size


class SharedBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with, in training, the statistics of all processes' images (SyncBatchNorm is for CUDA only)."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    momentum: float

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, normalised; in evaluation on running statistics."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        values = x.float()
        count = total(values.new_full((1,), values.numel() / values.shape[1]))
        mean = _Total.apply(values.sum(dim=(0, 2, 3))) / count
        centred = values - mean[:, None, None]
        variance = _Total.apply(centred.square().sum(dim=(0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class _Total(torch.autograd.Function):
    """The sum over all processes; the gradient of every summand is the sum of the gradients of all processes."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return total(gradient)


def share_statistics(network: nn.Module) -> None:
    """Replace every `nn.BatchNorm2d` by `SharedBatchNorm2d`, where there are several processes; weights are kept."""
    if world_size() == 1:
        return
    for module in list(network.modules()):
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                shared = SharedBatchNorm2d(child.num_features, child.eps, child.momentum)
                shared.load_state_dict(child.state_dict())
                setattr(module, name, shared.train(child.training))
