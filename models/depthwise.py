"""Depthwise convolutions with a dilation, whose gradient takes a CPU ten to sixty times as long as it could.

The gradient with respect to the input of a convolution of stride 1 is itself a convolution: that of the output's
gradient with the mirrored kernel. oneDNN, with which PyTorch computes on CPUs, has a fast kernel for the second and none
for the first if there is a dilation. Backbones with an output stride of 16 are dilated where they are widest.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class DilatedDepthwise(nn.Conv2d):
    """`nn.Conv2d` of stride 1 with a channel a group and as many outputs; the same numbers up to rounding."""

    padding: tuple[int, int]

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super().forward(input)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            input, weight, bias = input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        return _Depthwise.apply(input, weight, bias, self.padding, self.dilation)


class _Depthwise(torch.autograd.Function):
    """The convolution; its backward pass computes what is asked for."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: Any, dilation: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.sides, ctx.has_bias = (padding, dilation), bias is not None
        return conv2d(x, weight, bias, padding=padding, dilation=dilation, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x, weight), (padding, dilation) = ctx.saved_tensors, ctx.sides
        of_input, channels = None, len(weight)
        if ctx.needs_input_grad[0]:
            rest = [d * (side - 1) - p for d, side, p in zip(dilation, weight.shape[-2:], padding, strict=True)]
            of_input = conv2d(gradient, weight.flip(2, 3), padding=rest, dilation=dilation, groups=channels)
        of_weight = of_bias = None
        if any(ctx.needs_input_grad[1:3]):
            # input, weight, sizes of the bias, stride, padding, dilation, transposed or not, its padding, groups, which
            about = ([channels] if ctx.has_bias else None, (1, 1), padding, dilation, False, (0, 0), channels)
            wanted = (False, *ctx.needs_input_grad[1:3])
            _, of_weight, of_bias = torch.ops.aten.convolution_backward(gradient, x, weight, *about, wanted)
        return of_input, of_weight, of_bias, None, None


def speed_up_depthwise(network: nn.Module) -> None:
    """Let the convolutions of a network that are of this kind be `DilatedDepthwise`; weights stay what they are."""
    for module in network.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels > 1
            and module.stride == (1, 1)
            and max(module.dilation) > 1
            and module.padding_mode == "zeros"
            and isinstance(module.padding, tuple)
            and all(
                d * (k - 1) >= p for d, k, p in zip(module.dilation, module.kernel_size, module.padding, strict=True)
            )
        ):
            module.__class__ = DilatedDepthwise
