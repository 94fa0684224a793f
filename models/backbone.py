"""Backbones by name; another one is a subclass of `models.chain.Backbone` in a file of its own, and a line here."""

from collections.abc import Callable
from functools import partial

from models.chain import Backbone
from models.depthwise import speed_up_depthwise
from models.efficientnet_lite import EfficientNetLite
from models.resnet import ResNet
from models.timm_chain import TimmBackbone, require_name
from models.timm_weights import load_published
from models.weights import Weights, fitting, read_weights
from utils.choices import pick
from utils.errors import UserError

COMPACT = "efficientnet_lite0"
TIMM = "timm/"

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
            if not (isinstance(backbone, TimmBackbone) and load_published(backbone.net, own_name, state)):
                raise
    speed_up_depthwise(backbone)
    return backbone.eval()
