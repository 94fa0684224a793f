"""The classifier whose maps everything starts from: backbone -> global average -> linear head w_k, logit y_k."""

from collections.abc import Sequence

import torchvision
from torch import Tensor, nn

from models.backbone import COMPACT, build_backbone, open_weights
from models.chain import Backbone
from models.context import ContextDiscriminant
from models.efficientnet_lite import lite_imagenet_state
from models.weights import Weights


class Classifier(nn.Module):
    """A backbone with a 1x1 linear head on its last stage (Zhou et al., CVPR 2016; IRN's `resnet50_cam`).

    Attributes:
        context: tells the classes from their context; None until stage `context` has found it.
    """

    def __init__(self, backbone: Backbone, num_classes: int, bias: bool = False):
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Conv2d(backbone.channels[-1], num_classes, 1, bias=bias)
        self.context: ContextDiscriminant | None = None

    @property
    def num_classes(self) -> int:
        """C, foreground classes."""
        return self.classifier.out_channels

    def fast_part(self) -> nn.Module:
        """The head."""
        return self.classifier

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> logits y (B, C)."""
        return self.logits(self.backbone(x))

    def cams(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (B, C, h, w) class activation maps, ReLU(w_k . F_L), not normalised."""
        return self.activation(self.backbone(x))

    def logits(self, last: Tensor) -> Tensor:
        """The last stage F_L (B, D, h, w) -> logits (B, C)."""
        return self.classifier(last.mean(dim=(2, 3), keepdim=True)).flatten(1)

    def activation(self, last: Tensor) -> Tensor:
        """The last stage F_L (B, D, h, w) -> (B, C, h, w); a head's bias is no evidence of a place and is left out."""
        return nn.functional.conv2d(last, self.classifier.weight).relu()


def build_classifier(
    backbone: str, num_classes: int, weights: str | Weights = "imagenet", class_names: Sequence[str] | None = None
) -> Classifier:
    """A classifier with a fresh head, or with that of its weight file.

    A file's head is taken where it is a classifier's of as many classes; where both the file and `class_names` say which
    classes these are, they must be the same. So IRN's published file is good for VOC as it is, and a network for another
    number of classes takes its backbone alone.

    Args:
        backbone: a name that `models.backbone.build_backbone` knows.
        num_classes: C, foreground classes.
        weights: of the backbone: `imagenet`, `none` or a path.
        class_names: the C classes, in the order of the logits.
    """
    loaded = open_weights(weights)
    classifier = Classifier(build_backbone(backbone, loaded), num_classes)
    if isinstance(loaded, Weights):
        head = loaded.part("classifier.")
        fits = {name: tensor.shape for name, tensor in head.items()} == {"weight": classifier.classifier.weight.shape}
        if fits and (class_names is None or loaded.class_names in (None, tuple(class_names))):
            classifier.classifier.load_state_dict(head)
    return classifier.eval()


def build_imagenet_classifier() -> tuple[Classifier, tuple[str, ...]]:
    """The packaged EfficientNet-Lite0 with its 1,000 ImageNet classes and their names: maps without any training."""
    state = lite_imagenet_state(0)
    classifier = Classifier(build_backbone(COMPACT, "imagenet"), state["classifier.bias"].numel(), bias=True)
    classifier.classifier.weight.data.copy_(state["classifier.weight"][:, :, None, None])
    assert classifier.classifier.bias is not None
    classifier.classifier.bias.data.copy_(state["classifier.bias"])
    names = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    return classifier.eval(), tuple(names)
