"""Layers that take the place of torch's in a network: the same numbers and the same names of weights.

*Shared batch norm* is over a batch that several processes share, with the statistics of the whole batch.

*Depthwise convolutions* have a backward pass that a CPU computes in a fraction of the time. oneDNN, with which PyTorch
computes on CPUs, has slow kernels for some of their gradients, and they are most layers of compact backbones. With
stride 1 the gradient of the input is itself a convolution: that of the output's gradient with the mirrored kernel
(13 ms instead of 240). The gradient of the weights is faster in float32 than in bf16 (140 ms, 410). Measured on one
core, for 1,152 channels of 20 x 20 cells and a kernel of 5 x 5, dilated.
"""

from typing import Any

import torch
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn.functional import conv2d

from utils.distributed import total, world_size

Sides = tuple[int, int]


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


class Depthwise(nn.Conv2d):
    """`nn.Conv2d` with a channel a group and as many outputs; the same numbers up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, h, w)."""
        return _convolve(self, x) if _is_slow(x) else super().forward(x)


class DepthwiseSame(Conv2dSame):
    """`Conv2dSame` of this kind: it pads as its input's size asks for."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
        if not _is_slow(x):
            return super().forward(x)
        return _convolve(self, pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation)))


def _is_slow(x: Tensor) -> bool:
    return x.device.type == "cpu" and torch.is_grad_enabled()


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    weight = layer.weight
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, weight = x.to(dtype), weight.to(dtype)
    return _Convolution.apply(x, weight, layer.stride, layer.padding, layer.dilation)


class _Convolution(torch.autograd.Function):
    """The convolution; its backward pass computes only what is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Sides, padding: Sides, dilation: Sides) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sides = stride, padding, dilation
        return conv2d(x, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (stride, padding, dilation) = ctx.saved_tensors, ctx.sides
        of_input = of_weight = None
        if ctx.needs_input_grad[0]:
            rest = [d * (side - 1) - p for d, side, p in zip(dilation, weight.shape[-2:], padding, strict=True)]
            if stride == (1, 1) and min(rest) >= 0:
                of_input = conv2d(gradient, weight.flip(2, 3), None, 1, rest, dilation, len(weight))
            else:
                of_input = _gradients(ctx, gradient, (True, False, False))[0].to(x.dtype)
        if ctx.needs_input_grad[1]:
            of_weight = _gradients(ctx, gradient, (False, True, False))[1].to(weight.dtype)
        return of_input, of_weight, None, None, None


def _gradients(ctx: Any, gradient: Tensor, wanted: tuple[bool, bool, bool]) -> tuple[Tensor, Tensor, Tensor]:
    """Those of the input, the weights and the bias that are wanted, by torch in float32."""
    (x, weight), (stride, padding, dilation) = ctx.saved_tensors, ctx.sides
    values = (gradient.float(), x.float(), weight.float())
    # No sizes of a bias, not transposed, no padding of a transposed output.
    options = (None, stride, padding, dilation, False, (0, 0), len(weight), wanted)
    return torch.ops.aten.convolution_backward(*values, *options)


def speed_up_depthwise(network: nn.Module) -> None:
    """Let a network's depthwise convolutions be these; weights and their names stay what they are."""
    kinds: dict[type, type] = {nn.Conv2d: Depthwise, Conv2dSame: DepthwiseSame}
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and type(module) in kinds
            and module.groups == module.in_channels == module.out_channels > 1
            and module.bias is None
            and module.padding_mode == "zeros"
            and isinstance(module.padding, tuple)
        ):
            module.__class__ = kinds[type(module)]
