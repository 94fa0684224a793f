"""torchvision's ResNet-50 and -101 as chains of stages; published weights of the field fit them as they are."""

from pathlib import Path

import torch
import torchvision
from torch import Tensor

from models.chain import Backbone
from utils.errors import UserError


class ResNet(Backbone):
    """torchvision's ResNet-50 or -101, random or IMAGENET1K_V1, its last stage at stride 1 without dilation."""

    parts = (("conv1", "bn1", "relu", "maxpool"), ("layer1",), ("layer2",), ("layer3",), ("layer4",))
    strides = (4, 4, 8, 16, 16)
    channels = (64, 256, 512, 1024, 2048)

    def __init__(self, depth: int, imagenet: bool):
        super().__init__()
        net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        net.layer4[0].conv2.stride = (1, 1)
        net.layer4[0].downsample[0].stride = (1, 1)
        for name in (name for names in self.parts for name in names):
            self.add_module(name, getattr(net, name))
        if imagenet:
            state = _imagenet_state(depth)
            self.load_state_dict({name: state[name] for name in state if not name.startswith("fc.")})


def _imagenet_state(depth: int) -> dict[str, Tensor]:
    weights = torchvision.models.get_weight(f"ResNet{depth}_Weights.IMAGENET1K_V1")
    file = Path(weights.url).name
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, an unwritable cache, a hash that does not match
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise UserError(
            f"the ImageNet weights of resnet{depth} could not be loaded ({error}); download {weights.url}, and put "
            f"{file} into {cache} or set model.weights to it, or use a backbone with weights from pip: --set "
            "model.backbone=efficientnet_lite0"
        ) from error
