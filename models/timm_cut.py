"""Cuts a timm network into stages; a forward pass of a tiny image shows where.

`cut_features` takes timm's own stages, of convolutional networks; `cut_whole` the whole network, with hooks behind its
blocks. Both raise `Unfit` with the reason where a network cannot be cut in this way.

A module may give (B, C, h, w), (B, h, w, C) or tokens (B, P + h * w, C), whose first P are class and register tokens.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, cast

import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE

MOST_PREFIX = 64  # class and register tokens
MOST_STAGES = 4  # of a network whose blocks all have one stride
STRIDES = (2, 4, 8, 16, 32)
WINDOWS = (1, 7, 8, 12, 16)  # cells of the coarsest stage that sides may have to be multiples of
LARGEST_UNIT = 512  # pixels
ODD = (65, 97)  # sides that no stride divides
# What networks raise on an image, or an argument, that they are not made for.
UNFIT = (TypeError, NotImplementedError, AssertionError, LookupError, RuntimeError, ValueError, AttributeError)

Create = Callable[..., nn.Module]  # makes a network; takes timm's options
# Name of a module -> when it first began, when it last ended, its output; None: it made none.
Seen = dict[str, tuple[int, int, Any]]


class Unfit(Exception):
    """Why a network cannot be cut; empty where another way is the right one."""


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


@dataclass(frozen=True)
class Cut:
    """A network and its stages."""

    net: nn.Module
    stages: tuple[Stage, ...]  # the last one is what the network gives; the others are outputs of modules
    unit: int  # sides of images must be multiples of it; 1: any will do
    begins: dict[str, int]  # name of each parameter -> when the module that holds it begins
    ends: tuple[int, ...]  # when each stage ends
    block_ends: tuple[int, ...]  # when each block ends


def features_of(net: nn.Module, x: Tensor) -> Tensor:
    """The last stage, as the network gives it."""
    return cast(Any, net).forward_features(x) if hasattr(net, "forward_features") else net(x)[-1]


def cut_features(create: Create) -> Cut:
    """timm's own stages, at output stride 16 where that can be had."""
    try:
        net = create(features_only=True, output_stride=OUTPUT_STRIDE)
    except UNFIT:  # a network whose stride is fixed
        try:
            net = create(features_only=True)
        except UNFIT as error:
            raise Unfit("") from error
    if isinstance(net, FeatureGetterNet) or hasattr(net, "forward_features"):
        raise Unfit("")
    strides, failure = cast(Any, net).feature_info.reduction(), ""
    for unit in (1, max(strides), 2 * max(strides)):
        sides = ODD if unit == 1 else (2 * unit, 3 * unit)
        try:
            outputs, seen = watch(net, net, torch.zeros(1, 3, *sides))
        except UNFIT as error:
            failure = reason_of(error, sides)
            continue
        names = [_module_of(output, seen) for output in outputs]
        expected = [tuple(-(-side // stride) for side in sides) for stride in strides]
        if all(names) and [tuple(output.shape[2:]) for output in outputs] == expected:
            found = zip(names, strides, outputs, strict=True)
            stages = tuple(Stage(name, stride, output.shape[1], "nchw") for name, stride, output in found)
            ends = tuple(seen[name][1] for name in names)
            return Cut(net, stages, unit, order_of_parameters(net, seen), ends, ends)
        failure = f"its stages are no maps of strides {', '.join(map(str, strides))}"
    raise Unfit(failure)


def cut_whole(create: Create, **options: Any) -> Cut:
    """The whole network without its head: a stage is a block or a group of blocks, the last one what the network gives.

    `options` are timm's; `Unfit` has no reason where the network knows none such.
    """
    try:
        net: Any = create(num_classes=0, **options)
    except UNFIT as error:
        raise Unfit("" if options else reason_of(error)) from error
    if not hasattr(net, "forward_features"):
        raise Unfit("it has no forward_features")
    info = [(entry["module"], entry["reduction"]) for entry in getattr(net, "feature_info", None) or []]
    coarsest = max((stride for _, stride in info), default=max(STRIDES))
    failure = ""
    for unit in (coarsest * window for window in WINDOWS if coarsest * window <= LARGEST_UNIT):
        sides = (3 * unit, 5 * unit) if unit == coarsest else (unit, 2 * unit)
        try:
            output, seen = watch(net, net.forward_features, torch.zeros(1, 3, *sides))
        except UNFIT as error:
            failure = failure or reason_of(error, sides)
            continue
        last = next((found for s in (coarsest, *STRIDES) if (found := describe("", output, s, sides))), None)
        if last is None:
            raise Unfit("what it gives is no map")
        return _cut(net, _blocks(info, seen, sides) or _ends_of_strides(seen, sides), last, unit, seen)
    raise Unfit(failure)


def _cut(net: nn.Module, blocks: list[Stage], last: Stage, unit: int, seen: Seen) -> Cut:
    """The last block, which a norm may follow, gives way to what the network gives."""
    ends = tuple(seen[block.name][1] for block in blocks)
    stages = [block for block in blocks if block.stride < last.stride or block is not blocks[-1]] + [last]
    if len({stage.stride for stage in stages}) == 1 and len(stages) > MOST_STAGES:
        stages = [stages[-(-len(stages) * part // MOST_STAGES) - 1] for part in range(1, MOST_STAGES + 1)]
    stage_ends = tuple(seen[stage.name][1] if stage.name else len(seen) * 2 for stage in stages)
    return Cut(net, tuple(stages), unit, order_of_parameters(net, seen), stage_ends, ends)


def _module_of(output: Tensor, seen: Seen) -> str:
    """The module that gave this very tensor, the outermost of several; empty if there is none."""
    found = [name for name, (_, _, given) in seen.items() if given is output]
    return max(found, key=lambda name: seen[name][1], default="")


def _blocks(info: Sequence[tuple[str, int]], seen: Seen, sides: tuple[int, int]) -> list[Stage]:
    """The modules that timm names as features, if there are several of them and all of them give maps."""
    found = [describe(name, seen[name][2], stride, sides) for name, stride in info if name in seen]
    stages = [stage for stage in found if stage is not None]
    return stages if 1 < len(stages) == len(info) else []


def _ends_of_strides(seen: Seen, sides: tuple[int, int]) -> list[Stage]:
    """The last module of each stride that gives a map; modules deep in others may be on a branch."""
    last: dict[int, Stage] = {}
    for name, (_, _, output) in sorted(seen.items(), key=lambda entry: entry[1][1]):
        for stride in STRIDES if name.count(".") < 2 else ():
            stage = describe(name, output, stride, sides)
            if stage and not stage.prefix:
                last[stride] = stage
    return [last[stride] for stride in sorted(last)]


def watch(net: nn.Module, run: Callable[[Tensor], Any], x: Tensor) -> tuple[Any, Seen]:
    """What a run of the network, in evaluation mode, gives for an image, and what each of its modules does."""
    seen: Seen = {}
    begun: dict[str, int] = {}
    clock = count()

    def begin(name: str, *_: Any) -> None:
        begun.setdefault(name, next(clock))

    def end(name: str, module: nn.Module, inputs: Any, output: Any) -> None:
        # A dropout that does nothing gives back what another module made; it may be on a branch.
        passed_on = any(value is output for value in inputs) and not getattr(module, "inplace", False)
        seen[name] = (begun[name], next(clock), None if passed_on else output)

    hooks = []
    for name, module in net.eval().named_modules():
        if name:
            hooks.append(module.register_forward_pre_hook(partial(begin, name)))
            hooks.append(module.register_forward_hook(partial(end, name)))
    try:
        with torch.no_grad():
            return run(x), seen
    finally:
        for hook in hooks:
            hook.remove()


def order_of_parameters(net: nn.Module, seen: Seen) -> dict[str, int]:
    """Name of each parameter -> when the module that holds it began; 0 where the network itself holds it."""
    found = {}
    for name, _ in net.named_parameters():
        owner = name
        while owner and owner not in seen:
            owner = owner.rpartition(".")[0]
        found[name] = seen[owner][0] if owner else 0
    return found


def reason_of(error: BaseException, sides: tuple[int, int] | None = None) -> str:
    """A failure in one line."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0][:160].rstrip(".")
    return f"an image of {sides[0]} x {sides[1]} pixels ends in: {text}" if sides else text
