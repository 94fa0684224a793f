"""Any timm network as a backbone, at any image size: `timm/NAME`.

Convolutional networks are cut into timm's `features_only` stages. All others run whole, and hooks read their blocks
(models/timm_cut.py): they keep the outputs as maps (B, C, h, w). Where gradients are wanted, the map goes back into the
network in the module's own layout. A network that cannot work is refused when it is made.
"""

import difflib
import re
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor, nn
from torch.nn.functional import pad

from models.chain import OUTPUT_STRIDE, Backbone, stage_levels
from models.timm_cut import ODD, UNFIT, Cut, Stage, Unfit, cut_features, cut_whole, features_of, reason_of
from utils.errors import UserError

NAMES_OF_TIMM = re.compile(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)?")  # such as vit_tiny_patch16_224.augreg_in21k
OF_WINDOWS = ("window_size", "partition_size", "ws")  # what the modules of timm call the sides of a window
NOISE = (4, 3, 160, 160)  # with less of it, the statistics of some networks are those of the border
THAT_WORK = "timm/vit_small_patch14_dinov2, timm/convnext_tiny or timm/resnet18"


class TimmBackbone(Backbone):
    """A timm network with hooks behind the modules of its stages.

    Images are laid into a frame of zeros, so that whole patches and windows fill it, and maps are cut out of the frame
    again: a stage of stride s has a cell for each s pixels begun. Class and register tokens are in no map. A name may
    have the tag of its weights.
    """

    def __init__(self, name: str, pretrained: bool = False):
        super().__init__()
        self.current = Pass()
        make = partial(create, name, pretrained)
        reason = ""
        # Networks that take images of any size on demand are transformers, and the first way is theirs.
        ways: list[Callable[..., Cut]] = [partial(cut_whole, dynamic_img_size=True), cut_features, cut_whole]
        for way in ways:
            try:
                self._take(way(make))
                if not pretrained:
                    self._settle()
                break
            except Unfit as unfit:
                reason = str(unfit) or reason
        else:
            what = f"{reason}. A backbone must give maps of images of any size"
            raise UserError(f"model.backbone timm/{name} cannot be used: {what}; choose another, such as {THAT_WORK}")
        about: Any = self.net.pretrained_cfg
        self.mean, self.std = tuple(about["mean"]), tuple(about["std"])

    def _take(self, cut: Cut) -> None:
        """Take a network, put the hooks into it, and raise `Unfit` if it does not do what a backbone promises."""
        self.net, self.cut = cut.net, cut
        self.strides = tuple(stage.stride for stage in cut.stages)
        self.channels = tuple(stage.channels for stage in cut.stages)
        self.has_windows = any(getattr(module, name, None) for module in cut.net.modules() for name in OF_WINDOWS)
        if OUTPUT_STRIDE not in stage_levels(self.strides):
            raise Unfit(f"it has stages of strides {', '.join(map(str, self.strides))}, none of stride {OUTPUT_STRIDE}")
        for index, stage in enumerate(cut.stages[:-1]):
            self.net.get_submodule(stage.name).register_forward_hook(partial(self.current.keep, index, stage))
        try:
            with torch.enable_grad():
                maps = self.stages(torch.zeros(1, 3, *ODD), grad_from=0)
            found = torch.autograd.grad(maps[-1].sum(), maps, allow_unused=True)
        except UNFIT as error:
            raise Unfit(reason_of(error, ODD)) from error
        for map_, gradient, stage in zip(maps, found, cut.stages, strict=True):
            if map_.shape[1:] != (stage.channels, *(-(-side // stage.stride) for side in ODD)):
                raise Unfit(f"its stage of stride {stage.stride} gives no map of that stride")
            if gradient is None:
                raise Unfit(f"its last stage does not depend on that of stride {stage.stride}")

    def _settle(self) -> None:
        """Give the batch norm of random weights, which keeps its running statistics in training, those of noise.

        With 0 and 1, which norm nothing, the features of some networks would be too large to learn from.
        """
        norms = [module for module in self.net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.train().momentum = None  # the mean of all batches, of which there is one
        with torch.no_grad():
            self(torch.randn(*NOISE, generator=torch.Generator().manual_seed(0)))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.eval().momentum = momentum

    def stages(self, x: Tensor, grad_from: int | None = None, last: int | None = None) -> list[Tensor]:
        """As of `Backbone.stages`: all maps, whatever `last` is; gradients can be had behind `grad_from` alone."""
        stage = self.cut.stages[-1]
        frame = Frame((x.shape[-2], x.shape[-1]), stage.stride, self.cut.unit)
        self.current.begin(frame, grad_from)
        try:
            with torch.set_grad_enabled(grad_from is None and torch.is_grad_enabled()):
                output = features_of(self.net, frame.wrap(x))
                deepest = frame.crop(stage.to_map(output, frame.grid(stage.stride)), stage.stride)
            if grad_from == len(self.strides) - 1:
                deepest = deepest.detach().requires_grad_()
            return [*(self.current.maps[index] for index in range(len(self.strides) - 1)), deepest]
        finally:
            self.current.begin(None)

    def freeze(self, stride: int, depth: float = 0.0) -> None:
        """As of `Backbone.freeze`: the stages up to that stride, and that part of the blocks."""
        ends, everything = self.cut.block_ends, depth == 1
        end = ends[int(depth * len(ends)) - 1] if depth * len(ends) >= 1 else -1
        if len(set(self.strides)) > 1:
            reached = [when for when, of_stage in zip(self.cut.ends, self.strides, strict=True) if of_stage <= stride]
            end = max([end, *reached])
            everything = everything or stride >= self.strides[-1]
        for name, parameter in self.net.named_parameters():
            if everything or self.cut.begins[name] < end:
                parameter.requires_grad_(False)

    def blocks_behind(self) -> dict[str, int]:
        """As of `Backbone.blocks_behind`; what comes before the first block counts as a part of it."""
        ends = self.cut.block_ends
        return {f"net.{name}": max(0, sum(end > begin for end in ends) - 1) for name, begin in self.cut.begins.items()}


def require_name(name: str) -> None:
    """Refuse what is no name of timm with a `UserError` that says the nearest."""
    # timm would fetch what hf-hub:, local-dir: and the like name, and run what it says.
    near: list[str] = []
    if NAMES_OF_TIMM.fullmatch(name):
        if timm.is_model(name):
            return
        stem = name.partition(".")[0]
        near = timm.list_models(f"*{stem}*")[:3] or difflib.get_close_matches(stem, timm.list_models(), 3)
    nearest = f" (near it: {', '.join(f'timm/{one}' for one in near)})" if near else ""
    what = f"model.backbone timm/{name[:80]}: timm has no such network{nearest}"
    raise UserError(f"{what}; expected a name from timm.list_models(), such as {THAT_WORK}")


def create(name: str, has_weights: bool, **options: Any) -> nn.Module:
    """A network of timm with its published weights, or with random ones."""
    try:
        return timm.create_model(name, pretrained=has_weights, **options)
    except (OSError, ConnectionError) as error:
        raise UserError(_missing(name, f"could not be had ({type(error).__name__})")) from error
    except RuntimeError as error:
        if has_weights and "pretrained weights" in str(error):
            raise UserError(_missing(name, "are not published for this name")) from error
        raise


def _missing(name: str, what: str) -> str:
    config = timm.get_pretrained_cfg(name)
    other = "use model.backbone=efficientnet_lite0, whose weights come with pip"
    ways = f"set model.weights to none or to a file, or {other}"
    message = f"the ImageNet weights of timm/{name} {what}; "
    if config is None or not config.has_weights:
        return message + ways
    hub = config.hf_hub_id and (config.hf_hub_id if "/" in config.hf_hub_id.rstrip("/") else "")
    if not hub:
        return f"{message}the file is {config.url or config.hf_hub_id}; {ways}"
    folder = Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    return (
        f"{message}the file is model.safetensors of https://huggingface.co/{hub}. Where there is a network, run "
        f"'hf download {hub}' and copy the folder it writes to {folder}, or download the file and set model.weights to "
        f"its path; otherwise {ways}"
    )


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
