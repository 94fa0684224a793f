"""One reading of an image by a classifier: activation maps, gradients and features (docs/method.md 0, 1).

    reading = read(classifier, image, classes=[0, 14], gradient_stages=[1, 2], feature_stages=[2])
    cam = normalise_maps(reading.cam)                    # C, (2, h, w) in 0..1
    gradients = normalise_maps(reading.gradients[1])     # S_1, (2, h, w) in 0..1
    unit = unit_features([reading.features[2]])          # f, (D, h, w)

Letters: x0 the image, F_l the stages, w_k the head, y_k the logits, n(.) division by a map's own maximum. All maps of
an image are on one grid; scales and flips are summed on it before n.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from models.classifier import Classifier

MAP_STRIDE = 8  # half the backbones' output stride, so that what scales above 1 add is not lost
SMALLEST_SIDE = 32  # pixels; an image that is scaled to less than this has no useful stage maps


@dataclass(frozen=True)
class Views:
    """How an image is read: at `scales` of its size, mirrored too (`flip`), with a map cell for `stride` pixels."""

    scales: Sequence[float] = (1.0,)
    flip: bool = True
    stride: int = MAP_STRIDE


@dataclass(frozen=True)
class Reading:
    """One image as a classifier reads it, before any step; h x w is the grid of `map_size`.

    `cam`, `gradients` and `weighted` are sums over scales and flips, not normalised; `features` and `logits` are means.
    """

    classifier: Classifier
    image: Tensor  # x0, (3, H, W)
    classes: tuple[int, ...]  # the K classes that were read
    cam: Tensor  # (K, h, w), ReLU(w_k . F_L)
    logits: Tensor  # (C,), of all C classes
    gradients: dict[int, Tensor]  # gradient stage -> (K, h, w), sum_channels ReLU(d y_k / d F_l)
    weighted: dict[int, Tensor]  # LayerCAM: gradient stage -> (K, h, w), ReLU(sum_channels ReLU(d y_k / d F_l) F_l)
    features: dict[int, Tensor] = field(default_factory=dict)  # feature stage -> (D_l, h, w), D_l its channels
    shown: dict[str, list[Tensor]] = field(default_factory=dict)  # step -> images (3, H, W) made on the way


def normalise_maps(maps: Tensor) -> Tensor:
    """n(.): each (h, w) map of (..., h, w) divided by its own maximum; a map that is 0 everywhere stays 0."""
    return maps / maps.amax(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(maps.dtype).tiny)


def map_size(height: int, width: int, stride: int = MAP_STRIDE) -> tuple[int, int]:
    """The grid (h, w) of an image's maps: one cell for each `stride` pixels, rounded up."""
    return math.ceil(height / stride), math.ceil(width / stride)


def read(
    classifier: Classifier,
    image: Tensor,
    classes: Sequence[int],
    views: Views = Views(),
    gradient_stages: Sequence[int] = (),
    feature_stages: Sequence[int] = (),
) -> Reading:
    """One reading of an image (3, H, W), normalised, at all scales; image and mirror image are one batch.

    The classifier is in evaluation mode. Gradients are of the stages `gradient_stages` (GFM), maps of `feature_stages`
    (PRM). The graph for d y_k / d F_l begins at the earliest gradient stage, so what lies before it costs a forward
    pass only, and without gradient stages nothing is recorded at all.
    """
    size = map_size(image.shape[-2], image.shape[-1], views.stride)
    grad_from = min(gradient_stages) if gradient_stages and classes else None
    cam = image.new_zeros((len(classes), *size), dtype=torch.float32)
    logits = image.new_zeros(classifier.num_classes, dtype=torch.float32)
    gradients, weighted = ({stage: torch.zeros_like(cam) for stage in gradient_stages} for _ in range(2))
    reading = Reading(classifier, image, tuple(classes), cam, logits, gradients, weighted)
    for scale in views.scales:
        batch = views_of(image[None], scale, views.flip)
        with torch.set_grad_enabled(grad_from is not None):
            stages = classifier.backbone.stages(batch, grad_from)
            batch_logits = classifier.logits(stages)
        with torch.no_grad():
            if classes:
                cam += to_grid(classifier.activation(stages)[:, list(classes)], size)
            logits += batch_logits.mean(dim=0) / len(views.scales)
            _add_features(reading.features, stages, feature_stages, size, views)
        if grad_from is not None:
            _add_gradients(reading, batch_logits, stages)
    return reading


@torch.no_grad()
def read_features(classifier: Classifier, image: Tensor, stages: Sequence[int], views: Views = Views()) -> list[Tensor]:
    """The features of these stages as `read` gives them; the network is computed no further than the last of them."""
    size = map_size(image.shape[-2], image.shape[-1], views.stride)
    features: dict[int, Tensor] = {}
    for scale in views.scales:
        found = classifier.backbone.stages(views_of(image[None], scale, views.flip), last=max(stages))
        _add_features(features, found, stages, size, views)
    return [features[stage] for stage in stages]


def _add_features(
    total: dict[int, Tensor], stages: list[Tensor], wanted: Sequence[int], size: tuple[int, int], views: Views
) -> None:
    """Add the part of one scale in the mean of each of the wanted stages."""
    for stage in wanted:
        part = to_grid(stages[stage], size) / (len(views.scales) * (2 if views.flip else 1))
        total[stage] = total[stage] + part if stage in total else part


def _add_gradients(reading: Reading, logits: Tensor, stages: list[Tensor]) -> None:
    """Add one scale to `gradients` and `weighted`. One backward pass for each class gives all their stages."""
    wanted, size = list(reading.gradients), (reading.cam.shape[-2], reading.cam.shape[-1])
    for k, class_index in enumerate(reading.classes):
        with torch.enable_grad():
            logit = logits[:, class_index].sum()
        is_last = k == len(reading.classes) - 1
        found = torch.autograd.grad(logit, [stages[stage] for stage in wanted], retain_graph=not is_last)
        for stage, gradient in zip(wanted, found, strict=True):
            positive = gradient.relu()
            weighted = (positive * stages[stage].detach()).sum(dim=1, keepdim=True).relu()
            reading.gradients[stage][k] += to_grid(positive.sum(dim=1, keepdim=True), size)[0]
            reading.weighted[stage][k] += to_grid(weighted, size)[0]


def unit_features(features: Sequence[Tensor]) -> Tensor:
    """f: stage maps [(D_l, h, w)], each of unit length per cell, side by side and together of unit length.

    They are not centred over the image. The mean of an image that is mostly object would be the object itself.
    """
    return torch.cat([normalize(stage, dim=0) for stage in features]) / len(features) ** 0.5


def views_of(images: Tensor, scale: float, flip: bool) -> Tensor:
    """Images (B, 3, H, W) at a scale, and behind them, with `flip`, their mirror images: (B or 2 * B, 3, h, w)."""
    if scale != 1:
        size = [max(SMALLEST_SIDE, round(side * scale)) for side in images.shape[-2:]]
        images = interpolate(images, size, mode="bilinear", align_corners=False, antialias=scale < 1)
    if flip:
        images = torch.cat([images, images.flip(-1)])
    return images.contiguous(memory_format=torch.channels_last)


def to_grid(views: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (1 or 2, C, h, w) of an image and its mirror image -> their sum on the grid (C, *size)."""
    total = views[0] + views[1].flip(-1) if len(views) == 2 else views[0]
    return interpolate(total[None].float(), size, mode="bilinear", align_corners=False)[0]
