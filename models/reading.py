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
    gradients: dict[int, Tensor]  # gradient stage -> (K, h, w), sum_channels ReLU(d y_k / d F_l)
    features: dict[int, Tensor]  # feature stage -> (D_l, h, w), D_l its channels
    logits: Tensor  # (C,), of all C classes
    weighted: dict[int, Tensor]  # LayerCAM: gradient stage -> (K, h, w), ReLU(sum_channels ReLU(d y_k / d F_l) F_l)
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
    gradients = image.new_zeros((2, len(gradient_stages), len(classes), *size), dtype=torch.float32)  # plain, weighted
    features: list[Tensor] = []
    logits = image.new_zeros(classifier.num_classes, dtype=torch.float32)
    for scale in views.scales:
        batch = views_of(image[None], scale, views.flip)
        with torch.set_grad_enabled(grad_from is not None):
            stages = classifier.backbone.stages(batch, grad_from)
            batch_logits = classifier.logits(stages)
        with torch.no_grad():
            if classes:
                cam += to_grid(classifier.activation(stages)[:, list(classes)], size)
            logits += batch_logits.mean(dim=0) / len(views.scales)
            features = _add_features(features, [stages[index] for index in feature_stages], size, views)
        if grad_from is not None:
            _add_gradients(gradients, batch_logits, [stages[index] for index in gradient_stages], classes)
    plain = dict(zip(gradient_stages, gradients[0], strict=True))
    weighted = dict(zip(gradient_stages, gradients[1], strict=True))
    by_stage = dict(zip(feature_stages, features, strict=True))
    about = classifier, image, tuple(classes)  # the first fields
    return Reading(*about, cam, plain, by_stage, logits.detach(), weighted)


@torch.no_grad()
def read_features(classifier: Classifier, image: Tensor, stages: Sequence[int], views: Views = Views()) -> list[Tensor]:
    """The features of these stages as `read` gives them; the network is computed no further than the last of them."""
    size = map_size(image.shape[-2], image.shape[-1], views.stride)
    features: list[Tensor] = []
    for scale in views.scales:
        found = classifier.backbone.stages(views_of(image[None], scale, views.flip), last=max(stages))
        features = _add_features(features, [found[index] for index in stages], size, views)
    return features


def _add_features(
    features: list[Tensor], stages: Sequence[Tensor], size: tuple[int, int], views: Views
) -> list[Tensor]:
    """`features`, the sums so far (empty at the first scale), plus the part of one scale in the mean."""
    count = len(views.scales) * (2 if views.flip else 1)
    parts = [to_grid(stage, size) / count for stage in stages]
    return [total + part for total, part in zip(features, parts, strict=True)] if features else parts


def _add_gradients(total: Tensor, logits: Tensor, stages: list[Tensor], classes: Sequence[int]) -> None:
    """Add to `total` (2, S, K, h, w): sum_channels ReLU(d y_k / d F_l), and ReLU(sum_channels ReLU(d y_k / d F_l) F_l).

    One backward pass for each class gives all S stages.
    """
    size = (total.shape[-2], total.shape[-1])
    for k, class_index in enumerate(classes):
        with torch.enable_grad():
            logit = logits[:, class_index].sum()
        found = torch.autograd.grad(logit, stages, retain_graph=k < len(classes) - 1)
        for s, gradient in enumerate(found):
            positive = gradient.relu()
            weighted = (positive * stages[s].detach()).sum(dim=1, keepdim=True).relu()
            total[0, s, k] += to_grid(positive.sum(dim=1, keepdim=True), size)[0]
            total[1, s, k] += to_grid(weighted, size)[0]


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
