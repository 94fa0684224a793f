"""Any timm network as a backbone, at any image size: `timm/NAME`.

Convolutional networks are cut into timm's `features_only` stages. All others run whole, and hooks read their blocks
(models/timm_cut.py, models/timm_taps.py). One that cannot work is refused when it is made.
"""

import difflib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import timm
import torch
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE, Backbone, stage_levels
from models.timm_cut import ODD, UNFIT, Cut, Unfit, cut_features, cut_whole, features_of, reason_of
from models.timm_taps import Frame, Pass
from models.timm_weights import create
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
