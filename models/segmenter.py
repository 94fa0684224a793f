"""The segmentation network: DeepLabV3's head on a stage of any backbone (Chen et al., 2017), and a decoder."""

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.segmentation.deeplabv3 import DeepLabHead

from models.backbone import build_backbone
from models.chain import Backbone, stage_index, stages_of_strides
from models.pseudo import upsample
from models.reading import views_of
from models.weights import Weights
from utils.distributed import total, world_size
from utils.ignore import IGNORE

ATROUS_RATES = (6, 12, 18)  # of the paper for output stride 16
DECODER_CHANNELS, SIDE_CHANNELS = 64, 32  # DeepLabV3+ has 256 and 48, too much for a CPU
Forward = Callable[[Tensor], Tensor]  # (B, 3, H, W) normalised images -> logits: a network, or models/runtime.py
LOGIT_STRIDE = 4  # at which the loss is taken: a sixteenth of the work, and pseudo masks are no finer
LEAST_TO_WIN = 0.24  # of the largest value of a cell; a quarter, less what rounding can be


class DecoderHead(nn.Module):
    """DeepLabV3+'s decoder (Chen et al., 2018, section 3.2): a deep stage on the grids of earlier ones."""

    def __init__(self, channels: int, side_channels: Sequence[int], num_classes: int):
        super().__init__()
        deep = _deeplab_head(channels, DECODER_CHANNELS)
        self.deep = nn.Sequential(deep, nn.BatchNorm2d(DECODER_CHANNELS), nn.ReLU())
        self.sides = nn.ModuleList(_normed(nn.Conv2d(side, SIDE_CHANNELS, 1, bias=False)) for side in side_channels)
        joined = DECODER_CHANNELS + SIDE_CHANNELS * len(side_channels)
        self.join = _normed(nn.Conv2d(joined, DECODER_CHANNELS, 3, padding=1, bias=False))
        self.logits = nn.Conv2d(DECODER_CHANNELS, num_classes, 1)

    def forward(self, deep: Tensor, sides: Sequence[Tensor]) -> Tensor:
        """(B, channels, h, w) and side maps (B, *, *, *) -> logits on the grid of the first side map."""
        parts = [self.deep(deep), *(layer(side) for layer, side in zip(self.sides, sides, strict=True))]
        size = sides[0].shape[-2:]
        parts = [interpolate(part, size, mode="bilinear", align_corners=False) for part in parts]
        return self.logits(self.join(torch.cat(parts, dim=1)))


class Segmenter(nn.Module):
    """A backbone with DeepLabV3's head, or with DeepLabV3+'s head and decoder where `decoder_strides` are given.

    `num_classes` counts the background. The head reads the backbone stage at position `stage`, a Python index. The
    decoder joins the last stage of each of `decoder_strides`.
    """

    def __init__(self, backbone: Backbone, num_classes: int, stage: int = -1, decoder_strides: Sequence[int] = ()):
        super().__init__()
        self.backbone, self.stage = backbone, stage_index(backbone, stage, "segment.stage")
        self.num_classes = num_classes
        self.side_stages = stages_of_strides(backbone.strides, decoder_strides, "segment.decoder_strides", last=True)
        channels, sides = backbone.channels[self.stage], [backbone.channels[index] for index in self.side_stages]
        self.head: nn.Module = (
            DecoderHead(channels, sides, num_classes) if sides else _deeplab_head(channels, num_classes)
        )

    def fast_part(self) -> nn.Module:
        """The head, which trains at `lr_head_factor` times the learning rate."""
        return self.head

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) normalised images -> logits (B, num_classes, ceil(H / s), ceil(W / s)), s the least stride."""
        features = self.backbone.stages(x)
        sides = [features[index] for index in self.side_stages]
        return self.head(features[self.stage], sides) if sides else self.head(features[self.stage])


def _deeplab_head(channels: int, outputs: int) -> nn.Sequential:
    head = DeepLabHead(channels, outputs, ATROUS_RATES)
    # The pooled branch is 1x1: its batch norm has no variance in a batch of one, and little to say in small ones.
    head[0].convs[-1][2] = nn.Identity()
    return head


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels), nn.ReLU())


def build_segmenter(
    backbone: str, num_classes: int, weights: str = "imagenet", stage: int = -1, decoder_strides: Sequence[int] = ()
) -> Segmenter:
    """A segmentation network with a fresh head, in evaluation mode; `num_classes` counts the background."""
    return Segmenter(build_backbone(backbone, weights), num_classes, stage, decoder_strides).eval()


def fill_head(segmenter: Segmenter, weights: Weights, class_names: Sequence[str]) -> int:
    """Begin with what fits of another network's head, in place: all but the last layer, if its classes differ.

    Returns how many entries fit; 0 where the file has no head of a segmentation network.
    """
    own, found = segmenter.head.state_dict(), weights.part("head.")
    fits = {name: tensor for name, tensor in found.items() if name in own and tensor.shape == own[name].shape}
    if weights.class_names != tuple(class_names):
        fits = {name: tensor for name, tensor in fits.items() if tensor.shape[:1] != (segmenter.num_classes,)}
    segmenter.head.load_state_dict(own | fits)
    return len(fits)


def segmentation_loss(logits: Tensor, mask: Tensor, object_weight: float = 1.0) -> Tensor:
    """Cross-entropy of logits (B, C, h, w) and masks (B, H, W) int64 at `LOGIT_STRIDE`.

    A cell of an object counts as `object_weight` of the background. The mean over the cells whose mask is not ignored;
    0 where all are. With several processes the mean is over the cells of all of them, and a process gives its own part.
    """
    logits, target = _at_logit_stride(logits, mask)
    weights = logits.new_full((logits.shape[1],), object_weight)
    weights[0] = 1.0
    summed = nn.functional.cross_entropy(logits, target, weights, ignore_index=IGNORE, reduction="sum")
    counted = (target != IGNORE).float() * torch.where(target > 0, object_weight, 1.0)
    return summed / total(counted.sum()).clamp_min(1)


def dice_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """1 - Dice = 1 - 2 |P and T| / (|P| + |T|) at `LOGIT_STRIDE`, the mean over the classes that are in the masks.

    The background does not count, so an object of a few cells weighs as a large one (Milletari et al., 3DV 2016). 0
    where the masks have no object. With several processes counts are those of all, and a process gives its part.
    Arguments as of `segmentation_loss`.
    """
    logits, target = _at_logit_stride(logits, mask)
    valid = (target != IGNORE)[:, None]
    truth = nn.functional.one_hot(target.clamp(max=logits.shape[1] - 1), logits.shape[1]).movedim(-1, 1)[:, 1:] * valid
    probabilities = logits.softmax(dim=1)[:, 1:] * valid
    intersection = _sum_of_all(probabilities * truth)  # |P and T| of each class, (C - 1,)
    predicted = _sum_of_all(probabilities)  # |P|
    labelled = _sum_of_all(truth.to(logits.dtype))  # |T|
    present = labelled > 0
    dice = (2 * intersection / (predicted + labelled).clamp_min(1))[present]
    loss = (1 - dice).sum() / present.sum().clamp_min(1)
    # Losses are summed over processes, and each has the whole: it gives its part of the value, with its own gradient.
    return loss - loss.detach() * (1 - 1 / world_size())


def _sum_of_all(values: Tensor) -> Tensor:
    """Values (B, C, h, w) summed by class over all processes, (C,); the gradient is that of the own images alone."""
    own = values.sum(dim=(0, 2, 3))
    return own + (total(own.detach()) - own.detach())


def _at_logit_stride(logits: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C, *, *) as float and the mask (B, H, W), both on the grid of `LOGIT_STRIDE`."""
    target = mask[:, LOGIT_STRIDE // 2 :: LOGIT_STRIDE, LOGIT_STRIDE // 2 :: LOGIT_STRIDE]
    return interpolate(logits.float(), target.shape[-2:], mode="bilinear", align_corners=False), target


@torch.no_grad()
def class_probabilities(
    segmenter: Forward, image: Tensor, scales: Sequence[float], flip: bool, size: tuple[int, int]
) -> Tensor:
    """Softmax of an image (3, H, W), averaged over scales and mirror image: (num_classes, *size) float32."""
    return upsample(cell_probabilities(segmenter, image[None], scales, flip, size)[0], size)


@torch.no_grad()
def cell_probabilities(
    segmenter: Forward, images: Tensor, scales: Sequence[float], flip: bool, size: tuple[int, int]
) -> Tensor:
    """`class_probabilities` of images (B, 3, H, W), not enlarged: (B, num_classes, h, w), a quarter of `size`."""
    cells = [-(-side // LOGIT_STRIDE) for side in size]
    count = len(images)
    found = []
    for scale in scales:
        logits = segmenter(views_of(images, scale, flip)).float()
        logits = torch.cat([logits[:count], logits[count:].flip(-1)])  # mirror images back, if there are any
        probabilities = interpolate(logits, cells, mode="bilinear", align_corners=False).softmax(dim=1)
        found.append(probabilities.unflatten(0, (-1, count)).mean(dim=0))  # over image and mirror image
    return reduce(torch.add, found) / len(scales)


def may_win(cells: Tensor) -> Tensor:
    """The values that can be the largest of (C, h, w) somewhere at another size, (K,) int64, in their order, K > 0.

    A pixel is a mean of four cells, of which one weighs a quarter or more. So a value that is smaller than a quarter of
    the largest one in every cell cannot win. NaN is kept.
    """
    can_win = ~(cells < LEAST_TO_WIN * cells.amax(dim=0))
    return can_win.flatten(1).any(dim=1).nonzero().flatten()


def most_likely(cells: Tensor, size: tuple[int, int]) -> Tensor:
    """The mask (*size) of probabilities (C, h, w): `upsample(cells, size).argmax(dim=0)`, without what cannot win."""
    values = may_win(cells)
    return values[upsample(cells[values], size).argmax(dim=0)]


def restrict_to(probabilities: Tensor, classes: Sequence[int]) -> Tensor:
    """Probabilities (C + 1, H, W) with every class but the background and the given ones set to 0."""
    allowed = torch.zeros(len(probabilities), dtype=torch.bool, device=probabilities.device)
    allowed[[0, *(index + 1 for index in classes)]] = True
    return probabilities * allowed[:, None, None]
