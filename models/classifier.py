"""The classifier whose maps everything starts from: backbone -> linear head w_k on each cell -> pooling, logit y_k."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import interpolate

from models.backbone import COMPACT, build_backbone, lite_imagenet_state, open_weights
from models.chain import Backbone, stage_index
from models.context import ContextDiscriminant
from models.weights import Weights
from utils.errors import UserError
from utils.settings import setting


@dataclass(frozen=True)
class HeadSettings:
    """What the classifier's head reads, and how the evidence of an image's cells becomes a logit (docs/method.md 0)."""

    head_stages: tuple[int, ...] = setting((-1,), help="positions of the backbone stages that the head reads together")
    pooling: Literal["mean", "logsumexp", "top"] = setting(
        "mean", help="mean of all cells, logsumexp (few strong cells decide), top (mean of the best cells)"
    )
    top_share: float = setting(0.01, low=0, high=1, help="for pooling: top; the part of the cells that is the best")


class Classifier(nn.Module):
    """A backbone with a 1x1 linear head on its last stage (Zhou et al., CVPR 2016, as IRN's), or on several."""

    class_names: tuple[str, ...] = ()  # where it is that of a checkpoint

    def __init__(self, backbone: Backbone, num_classes: int, bias: bool = False, head: HeadSettings | None = None):
        super().__init__()
        self.backbone, self.head = backbone, head or HeadSettings()
        if not self.head.head_stages:
            raise UserError("cam.head_stages is empty; give at least one position, such as -1 for the last stage")
        self.read_stages = sorted({stage_index(backbone, at, "cam.head_stages") for at in self.head.head_stages})
        *earlier, deepest = [backbone.channels[index] for index in self.read_stages]
        self.classifier = nn.Conv2d(deepest, num_classes, 1, bias=bias)
        self.sides = nn.ModuleList(nn.Conv2d(channels, num_classes, 1, bias=False) for channels in earlier)
        # Stages differ in scale; a stage that is read alone is read as it is.
        joined = [*earlier, deepest] if earlier else []
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels, affine=False) for channels in joined)
        self.stage_biases = nn.ParameterList(nn.Parameter(torch.zeros(num_classes)) for _ in joined)
        self.context: ContextDiscriminant | None = None  # found by stage `context`

    @property
    def num_classes(self) -> int:
        """C, foreground classes."""
        return self.classifier.out_channels

    def fast_part(self) -> nn.Module:
        """The head."""
        return nn.ModuleList([self.classifier, *self.sides, self.stage_biases]) if len(self.sides) else self.classifier

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> logits y (B, C)."""
        return self.logits(self.backbone.stages(x))

    def logits(self, stages: Sequence[Tensor]) -> Tensor:
        """The stages F_1..F_L (B, D_l, *, *) -> logits (B, C)."""
        if self.head.pooling == "mean" and not len(self.sides):  # the same, and cheaper
            return self.classifier(stages[self.read_stages[0]].mean(dim=(2, 3), keepdim=True)).flatten(1)
        evidence = self.evidence(stages).flatten(2)
        if self.classifier.bias is not None:
            evidence = evidence + self.classifier.bias[:, None]
        return pool(evidence.float(), self.head)

    def activation(self, stages: Sequence[Tensor]) -> Tensor:
        """The stages F_1..F_L (B, D_l, *, *) -> (B, C, h, w); a bias is the same in every cell and is left out."""
        return self.evidence(stages).relu()

    def evidence(self, stages: Sequence[Tensor]) -> Tensor:
        """w_k . F in each cell of the finest stage that is read, (B, C, h, w): the sum over those that are read."""
        each = self.stage_evidence(stages)
        return torch.stack(each).sum(dim=0) if len(each) > 1 else each[0]

    def stage_evidence(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """What each stage that is read says, all (B, C, h, w) on the finest grid."""
        read = [stages[index] for index in self.read_stages]
        if not len(self.sides):
            return [nn.functional.conv2d(read[0], self.classifier.weight)]
        *earlier, deepest = [norm(stage) for norm, stage in zip(self.norms, read, strict=True)]
        maps = [side(stage) for side, stage in zip(self.sides, earlier, strict=True)]
        maps.append(nn.functional.conv2d(deepest, self.classifier.weight))
        return [interpolate(one, maps[0].shape[-2:], mode="bilinear", align_corners=False) for one in maps]


class StageLogits(nn.Module):
    """Trains a classifier whose stages each have to know the classes alone, or the coarsest does all the work."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier = classifier

    def fast_part(self) -> nn.Module:
        """The head."""
        return self.classifier.fast_part()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> (1 + S, B, C): the logits, and those of each of the S stages alone."""
        stages = self.classifier.backbone.stages(x)
        alone = [
            pool((evidence.flatten(2) + bias[:, None]).float(), self.classifier.head)
            for evidence, bias in zip(self.classifier.stage_evidence(stages), self.classifier.stage_biases, strict=True)
        ]
        return torch.stack([self.classifier.logits(stages), *alone])


def pool(evidence: Tensor, head: HeadSettings) -> Tensor:
    """Evidence (B, C, N) of N cells -> logits (B, C), so that what the evidence says does not depend on N."""
    cells = evidence.shape[-1]
    if head.pooling == "logsumexp":
        return evidence.logsumexp(dim=-1) - torch.tensor(float(cells)).log()
    if head.pooling == "top":
        return evidence.topk(max(1, round(head.top_share * cells)), dim=-1).values.mean(dim=-1)
    return evidence.mean(dim=-1)


def build_classifier(
    backbone: str,
    num_classes: int,
    weights: str | Weights = "imagenet",
    class_names: Sequence[str] | None = None,
    head: HeadSettings | None = None,
) -> Classifier:
    """A classifier with a fresh head, or with that of its weight file.

    A file's head is taken where it is a classifier's of as many classes; where both the file and `class_names` say
    which classes these are, they must be the same. Backbone and weights as of `build_backbone`.
    """
    loaded = open_weights(weights)
    # A head of several stages has a bias: few classes are in most images, and a maximum is above 0 nearly everywhere.
    joined = head is not None and head != HeadSettings()
    classifier = Classifier(build_backbone(backbone, loaded), num_classes, bias=joined, head=head)
    if isinstance(loaded, Weights):
        state = loaded.part("classifier.")
        fits = {name: tensor.shape for name, tensor in state.items()} == {"weight": classifier.classifier.weight.shape}
        if fits and (class_names is None or loaded.class_names in (None, tuple(class_names))):
            classifier.classifier.load_state_dict(state)
    return classifier.eval()


def build_imagenet_classifier() -> tuple[Classifier, tuple[str, ...]]:
    """The packaged EfficientNet-Lite0 with its 1,000 ImageNet classes and their names: maps without any training."""
    state = lite_imagenet_state(0)
    names = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.meta["categories"]
    classifier = Classifier(build_backbone(COMPACT, "imagenet"), len(names), bias=True)
    head = {"weight": state["classifier.weight"][:, :, None, None], "bias": state["classifier.bias"]}
    classifier.classifier.load_state_dict(head)
    return classifier.eval(), tuple(names)
