"""The stages of a timm network in a forward pass: hooks behind its modules keep their outputs as maps.

A module may give (B, C, h, w), (B, h, w, C) or tokens (B, P + h * w, C), whose first P are class and register tokens.
Where gradients are wanted, the map (B, C, h, w) goes back into the network in the module's own layout.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

MOST_PREFIX = 64  # class and register tokens


@dataclass(frozen=True)
class Stage:
    """A module whose output is a stage."""

    name: str  # of the module; empty for what the whole network gives
    stride: int
    channels: int
    layout: str  # nchw, nhwc or tokens
    prefix: int = 0  # tokens before the map's

    def to_map(self, output: Tensor, grid: Sequence[int]) -> Tensor:
        """The module's output as (B, C, h, w), without class and register tokens."""
        if self.layout == "nchw":
            return output
        if self.layout == "tokens":
            output = output[:, self.prefix :].unflatten(1, tuple(grid))
        return output.permute(0, 3, 1, 2)

    def from_map(self, values: Tensor, output: Tensor) -> Tensor:
        """The module's output with another map in it."""
        if self.layout == "nchw":
            return values
        values = values.permute(0, 2, 3, 1)
        if self.layout == "nhwc":
            return values
        return torch.cat([output[:, : self.prefix], values.flatten(1, 2)], dim=1)


def describe(name: str, output: Any, stride: int, sides: tuple[int, int]) -> Stage | None:
    """The stage that a module's output is for an image of these sides; None if it is no map of that stride."""
    if not isinstance(output, Tensor) or any(side % stride for side in sides):
        return None
    grid, shape = tuple(side // stride for side in sides), tuple(output.shape)
    if len(shape) == 4 and shape[2:] == grid:
        return Stage(name, stride, shape[1], "nchw")
    if len(shape) == 4 and shape[1:3] == grid:
        return Stage(name, stride, shape[3], "nhwc")
    if len(shape) == 3 and 0 <= shape[1] - grid[0] * grid[1] <= MOST_PREFIX:
        return Stage(name, stride, shape[2], "tokens", shape[1] - grid[0] * grid[1])
    return None


def _up(side: int, unit: int) -> int:
    """The next multiple of the unit. Sides may be symbols of an export, whose remainders of negative numbers differ."""
    return (side + unit - 1) // unit * unit


class Frame:
    """Zeros around an image of sides (H, W), so that these are multiples of `unit`: whole windows; 1: no frame.

    The image lies in the middle of its cells of `cell` pixels, so an image and its mirror image are cut alike. `cell`
    is the stride of the last stage.
    """

    def __init__(self, sides: tuple[int, int], cell: int, unit: int):
        self.sides, self.cell, self.unit = sides, cell, unit
        self.whole = (_up(sides[0], unit), _up(sides[1], unit))
        margins = [0, 0] if unit == 1 else [_up(side, cell) - side for side in sides]
        self.before = (margins[0] // 2, margins[1] // 2)

    def wrap(self, x: Tensor) -> Tensor:
        """The image (B, C, H, W) in its frame."""
        if self.unit == 1:
            return x
        (top, left), (height, width) = self.before, self.whole
        return pad(x, (left, width - self.sides[1] - left, top, height - self.sides[0] - top))

    def grid(self, stride: int) -> tuple[int, int]:
        """Rows and columns of a map of the framed image."""
        return self.whole[0] // stride, self.whole[1] // stride

    def crop(self, values: Tensor, stride: int) -> Tensor:
        """The part of a map (B, C, h, w) that is the image's, a cell for each `stride` pixels begun; a view."""
        if self.unit == 1 or stride == self.cell == self.unit:
            return values
        top, left = (0 if stride == self.cell else start // stride for start in self.before)
        rows, columns = (_up(side, stride) // stride for side in self.sides)
        return values.narrow(-2, top, rows).narrow(-1, left, columns)

    def paste(self, values: Tensor, part: Tensor, stride: int) -> Tensor:
        """A copy of a map with another part for the image's."""
        copied = values.clone()
        self.crop(copied, stride).copy_(part)
        return copied


class Pass(threading.local):
    """The forward pass whose stages are kept; each thread has its own. `grad_from` is that of `Backbone.stages`."""

    frame: Frame | None = None  # of its images; None while no pass is kept
    grad_from: int | None = None
    records = False  # whether gradients are wanted behind `grad_from`

    def __init__(self) -> None:
        self.maps: dict[int, Tensor] = {}  # by index of the stage

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pass":
        return memo.setdefault(id(self), Pass())

    def begin(self, frame: Frame | None, grad_from: int | None = None) -> None:
        """Keep the stages of the next pass; without a frame, keep nothing any more."""
        self.frame, self.grad_from, self.records, self.maps = frame, grad_from, torch.is_grad_enabled(), {}

    def keep(self, index: int, stage: Stage, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """The hook behind the module of a stage: keeps its map; what it returns replaces the output, None does not."""
        if self.frame is None:
            return None
        values = stage.to_map(output, self.frame.grid(stage.stride))
        part = self.maps[index] = self.frame.crop(values, stage.stride)
        if self.grad_from is None or index < self.grad_from:
            return None
        if index == self.grad_from:
            torch.set_grad_enabled(self.records)
        # A stage beside the first one, not behind it, has no graph yet.
        if index == self.grad_from or not part.requires_grad:
            part = self.maps[index] = part.detach().requires_grad_()
            values, output = values.detach(), output.detach()
        if part is output or not torch.is_grad_enabled():
            return None
        return stage.from_map(self.frame.paste(values, part, stage.stride), output)
