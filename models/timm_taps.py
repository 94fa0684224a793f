"""Where the stages of a timm network are: found by a tiny image, and read by a hook behind each of them.

    stage = describe("blocks.2", output, 16, (48, 80))             # from the output for an image of 48 x 80 pixels
    module.register_forward_hook(Tap(current, index, stage))       # leaves its map in `current`

A module may give (B, C, h, w), (B, h, w, C) or tokens (B, P + h * w, C), whose first P are class and register tokens.
A tap makes a map
(B, C, h, w) of it, and gives the map back to the network in the module's own layout, so that gradients go through it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

MOST_PREFIX = 64  # class and register tokens


@dataclass(frozen=True)
class Stage:
    """A module whose output is a stage.

    Attributes:
        name: of the module; empty for what the whole network gives.
        stride: of its map.
        channels: of its map.
        layout: `nchw`, `nhwc` or `tokens`.
        prefix: tokens before the map's; 0 in other layouts.
    """

    name: str
    stride: int
    channels: int
    layout: str
    prefix: int = 0

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
    """The next multiple of the unit."""
    return (side + unit - 1) // unit * unit


@dataclass(frozen=True)
class Frame:
    """An image in the middle of zeros, so that its sides are whole cells and whole windows.

    Attributes:
        sides: (H, W) of the image.
        before: zeros above and on the left, less than a cell of the last stage.
        after: zeros below and on the right.
        cell: stride of the last stage.
        unit: the sides of the frame are multiples of it; 1: there is no frame.
    """

    sides: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    cell: int
    unit: int

    @classmethod
    def around(cls, sides: tuple[int, int], cell: int, unit: int) -> "Frame":
        """The frame that makes both sides multiples of `unit`.

        The image lies in the middle of its cells of `cell` pixels, so an image and its mirror image are cut alike.
        """
        # Sides may be symbols of an export, whose remainders of negative numbers are others.
        before = tuple((_up(side, cell) - side) // 2 if unit > 1 else 0 for side in sides)
        after = tuple(_up(side, unit) - side - start for side, start in zip(sides, before, strict=True))
        return cls(sides, (before[0], before[1]), (after[0], after[1]), cell, unit)

    def wrap(self, x: Tensor) -> Tensor:
        """The image (B, C, H, W) in its frame."""
        if self.unit == 1:
            return x
        return pad(x, (self.before[1], self.after[1], self.before[0], self.after[0]))

    def grid(self, stride: int) -> tuple[int, int]:
        """Rows and columns of a map of the framed image."""
        sides = [sum(parts) for parts in zip(self.sides, self.before, self.after, strict=True)]
        return sides[0] // stride, sides[1] // stride

    def crop(self, values: Tensor, stride: int) -> Tensor:
        """The part of a map (B, C, h, w) that is the image's, a cell for each `stride` pixels begun."""
        if self._is_whole(stride):
            return values
        (top, left), (rows, columns) = self._part(stride)
        return values.narrow(-2, top, rows).narrow(-1, left, columns)

    def paste(self, values: Tensor, part: Tensor, stride: int) -> Tensor:
        """A map with another part for the image's."""
        if self._is_whole(stride):
            return part
        (top, left), (rows, columns) = self._part(stride)
        middle = values[..., top : top + rows, :]
        middle = torch.cat([middle[..., :left], part, middle[..., left + columns :]], dim=-1)
        return torch.cat([values[..., :top, :], middle, values[..., top + rows :, :]], dim=-2)

    def _is_whole(self, stride: int) -> bool:
        """Whether a map of the framed image has no cell beside the image."""
        return self.unit == 1 or stride == self.cell == self.unit

    def _part(self, stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Where the image's part of a map begins, and its rows and columns."""
        top, left = (0 if stride == self.cell else start // stride for start in self.before)
        rows, columns = (_up(side, stride) // stride for side in self.sides)
        return (top, left), (rows, columns)


@dataclass
class Pass(threading.local):
    """A forward pass whose stages are kept; each thread has its own.

    Attributes:
        frame: of its images; None while none is kept.
        grad_from: as of `Backbone.stages`.
        records: whether gradients are wanted behind `grad_from`.
        maps: what the stages have left, by index.
    """

    frame: Frame | None = None
    grad_from: int | None = None
    records: bool = False
    maps: dict[int, Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Pass":
        return memo.setdefault(id(self), Pass())

    def begin(self, frame: Frame, grad_from: int | None, records: bool) -> None:
        """Keep the stages of the next pass."""
        self.frame, self.grad_from, self.records, self.maps = frame, grad_from, records, {}

    def end(self) -> None:
        """Keep nothing any more."""
        self.frame, self.maps = None, {}

    def leave(self, index: int, stage: Stage, output: Tensor) -> Tensor | None:
        """Keep the map of a stage; what the network goes on with instead of the output, None: the output itself."""
        assert self.frame is not None
        values = stage.to_map(output, self.frame.grid(stage.stride))
        part = self.frame.crop(values, stage.stride)
        behind = self.grad_from is not None and index >= self.grad_from
        if index == self.grad_from:
            torch.set_grad_enabled(self.records)
        # A stage beside the first one, not behind it, has no graph yet.
        if behind and (index == self.grad_from or not part.requires_grad):
            part = part.detach().requires_grad_()
            values = values.detach()
        self.maps[index] = part
        if part is output or not (torch.is_grad_enabled() and part.requires_grad):
            return None
        # A clone, because the next module may work in place.
        pasted = self.frame.paste(values, part.clone(), stage.stride)
        return stage.from_map(pasted, output.detach() if part.is_leaf else output)


class Tap:
    """The hook behind the module of a stage."""

    def __init__(self, current: Pass, index: int, stage: Stage):
        self.current, self.index, self.stage = current, index, stage

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor | None:
        """Keep the map, where one is wanted."""
        return None if self.current.frame is None else self.current.leave(self.index, self.stage, output)


Seen = dict[
    str, tuple[int, int, Any]
]  # name of each module -> when it first began, when it last ended, its output; None: it made none


@contextmanager
def watched(net: nn.Module) -> Iterator[Seen]:
    """What the modules do in one forward pass."""
    seen: Seen = {}
    begun: dict[str, int] = {}
    clock = iter(range(10**9))
    hooks = []

    def begin(name: str, *_: Any) -> None:
        begun.setdefault(name, next(clock))

    def end(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        # A dropout that does nothing gives back what another module made; it may be on a branch.
        passed_on = any(value is output for value in inputs) and not getattr(module, "inplace", False)
        seen[name] = (begun[name], next(clock), None if passed_on else output)

    for name, module in net.named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(partial(begin, name)))
            hooks.append(module.register_forward_hook(partial(end, name)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def order_of_parameters(net: nn.Module, seen: Seen) -> dict[str, int]:
    """Name of each parameter -> when the module that holds it began; 0 where the network itself holds it."""
    found = {}
    for name, _ in net.named_parameters():
        owner = name
        while owner := owner.rpartition(".")[0]:
            if owner in seen:
                break
        found[name] = seen[owner][0] if owner else 0
    return found
