"""What a backbone is: a chain of stages, each a feature map coarser or deeper than the one before.

The method speaks of stages by level and position only (`stage_levels`), so any chain will do.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from utils.errors import UserError

OUTPUT_STRIDE = 16  # of most; a network whose stride is fixed keeps its own
DEPTH_LEVELS = (4, 8, 16, 16)  # what the quarters of a chain of one stride stand for
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """A chain of stages; a subclass names the modules of each and describes their maps.

    Batch norm always uses its running statistics (as in IRN): crops and small batches would spoil them, and an image's
    maps must not depend on what else is in its batch. Its scale and shift are trained.
    """

    parts: tuple[tuple[str, ...], ...]  # names of each stage's modules, which are called one after the other
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN  # of RGB in 0..1, as it was trained with
    std: tuple[float, float, float] = IMAGENET_STD
    has_windows = False  # cells are grouped into windows; how many there are has to be known when a graph is exported

    def modules_of(self, stage: int) -> list[nn.Module]:
        """The modules of a stage, in their order."""
        return [self.get_submodule(name) for name in self.parts[stage]]

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> the last stage F_L, (B, channels[-1], h, w)."""
        return self.stages(x)[-1]

    def stages(self, x: Tensor, grad_from: int | None = None, last: int | None = None) -> list[Tensor]:
        """All stages' maps F_1..F_L, (B, channels[l], ~H / strides[l], ~W / strides[l]), of images (B, 3, H, W).

        Args:
            x: normalised.
            grad_from: stages before this one are computed without a graph, and this one's map is a leaf that requires
                grad: gradients with respect to it and later ones cost the part behind it alone.
            last: the stage after which nothing is computed; None: all are.
        """
        features = []
        for number in range(len(self.parts) if last is None else last + 1):
            is_recorded = torch.is_grad_enabled() and (grad_from is None or number > grad_from)
            with torch.set_grad_enabled(is_recorded):
                for module in self.modules_of(number):
                    x = module(x)
            if number == grad_from:
                x = x.detach().requires_grad_()
            features.append(x)
        return features

    def train(self, mode: bool = True) -> "Backbone":
        """Training or evaluation mode; batch norm stays in evaluation mode."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def freeze(self, stride: int, depth: float = 0.0) -> None:
        """Stages up to that stride get no gradient (IRN: 8); 0 trains all. Vision transformers (one stride) ignore it.

        Of timm/ backbones the part `depth` of the blocks, the shallowest first, gets no gradient either.
        """
        if depth:
            remedy = f"set it to 0, frozen_stride to one of {', '.join(map(str, self.strides))}"
            raise UserError(f"frozen_depth: {depth:g} is for timm/ backbones; {remedy}")
        for number, reached in enumerate(self.strides):
            for module in self.modules_of(number) if reached <= stride else []:
                module.requires_grad_(False)

    def blocks_behind(self) -> dict[str, int]:
        """The name of each parameter of the backbone -> how many blocks come after its own; of timm/ backbones."""
        raise UserError("lr_decay is for timm/ backbones; set lr_decay=1, the same learning rate for all of it")


def stage_levels(strides: Sequence[int]) -> tuple[int, ...]:
    """The level of each stage, by which the method chooses: its stride, or its depth where all strides are equal.

    The quarters of a vision transformer have the levels that the stages of a ResNet have as strides: 4, 8, 16, 16.
    """
    if len(set(strides)) > 1:
        return tuple(strides)
    count = len(strides)
    return tuple(DEPTH_LEVELS[-(-(index + 1) * len(DEPTH_LEVELS) // count) - 1] for index in range(count))


def stage_index(backbone: Backbone, position: int, setting: str) -> int:
    """The index 0..L-1 of a stage whose position may be negative, as Python counts; `UserError` where there is none."""
    count = len(backbone.strides)
    if not -count <= position < count:
        has = f"the backbone has {count}, of strides {', '.join(map(str, backbone.strides))}"
        raise UserError(f"{setting}: there is no stage {position}; {has}, so give {-count}..{count - 1}")
    return position % count


def stages_of_strides(strides: Sequence[int], wanted: Sequence[int], setting: str, *, last: bool = False) -> list[int]:
    """The index of the first stage, or of the last one, of each wanted stride (by its level), ascending.

    `UserError` that names `setting` where the backbone has no such stage.
    """
    levels = stage_levels(strides)
    if missing := set(wanted) - set(levels):
        what, known = f"the backbone has no stage of stride {min(missing)}", ", ".join(map(str, sorted(set(levels))))
        raise UserError(f"{setting} {list(wanted)}: {what}; choose from {known}")
    numbered = list(enumerate(levels))
    found = {level: index for index, level in (numbered if last else reversed(numbered))}
    return sorted(found[stride] for stride in set(wanted))
