"""Any timm network with `features_only` stages as a backbone: `timm/NAME`."""

import re
import warnings
from typing import Any

import timm
from torch import Tensor, nn

from models.chain import IMAGENET_MEAN, IMAGENET_STD, OUTPUT_STRIDE, Backbone
from utils.errors import UserError

NAMES_OF_TIMM = re.compile(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)?")  # such as vit_tiny_patch16_224.augreg_in21k


class TimmBackbone(Backbone):
    """Any timm network that offers `features_only` stages, at output stride 16 where it can be had.

    timm runs such a network as one piece, so a stage cannot be stopped at: `grad_from` is honoured by value, not by cost.
    """

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        # timm would fetch what hf-hub:, local-dir: and the like name, and run what it says.
        if not NAMES_OF_TIMM.fullmatch(name):
            raise UserError(f"model.backbone timm/{name[:80]}: expected a name from timm.list_models()")
        try:
            self.net = _create_features(name, pretrained)
        except RuntimeError as error:
            raise UserError(f"model.backbone timm/{name}: {error}; expected a name from timm.list_models()") from error
        about: Any = self.net  # what timm puts on its networks beside modules
        self.channels = tuple(about.feature_info.channels())
        self.strides = tuple(about.feature_info.reduction())
        description: dict[str, Any] = about.pretrained_cfg or {}
        self.mean = tuple(description.get("mean", IMAGENET_MEAN))
        self.std = tuple(description.get("std", IMAGENET_STD))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised image -> the last stage F_L."""
        return self.net(x)[-1]

    def stages(self, x: Tensor, grad_from: int | None = None) -> list[Tensor]:
        """All stages' maps; `grad_from` costs a graph from the input on."""
        # A graph is recorded only if something in it requires grad; frozen weights leave the input as the place to begin.
        return self.net(x.detach().requires_grad_() if grad_from is not None else x)

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        """None: the stages are not separate modules, which is said."""
        if stride:
            warnings.warn(
                "frozen_stride has no effect on timm/ backbones, whose stages are not separate modules", stacklevel=2
            )
        return []


def _create_features(name: str, pretrained: bool) -> nn.Module:
    def create(**options: Any) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, features_only=True, **options)
        except (OSError, ConnectionError) as error:
            raise UserError(
                f"the ImageNet weights of timm/{name} could not be had ({type(error).__name__}); put them into the Hugging Face "
                f"cache where there is a network, set model.weights to none or to a file, or use model.backbone=efficientnet_lite0"
            ) from error

    try:
        return create(output_stride=OUTPUT_STRIDE)
    except (TypeError, NotImplementedError, AssertionError, KeyError):  # a network whose stride is fixed
        return create()
