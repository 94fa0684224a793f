"""The method: Grad Fusion (GFM), Partial Reactivation (PRM), Iterative Background Blur (IBB) and context, docs/method.md 1-4.

    method = IterativeBackgroundBlur(scales=(1.0, 0.5, 1.5), iterations=3)
    maps = method(classifier, image, classes)          # (K, h, w) in 0..1
    rounds = method.trace(classifier, image, classes)  # the same with every step on the way

Against *under-activation*: GFM adds what the gradients of earlier stages still see of the body, PRM what looks like the sure
object. Against *over-activation*: PRM takes away what looks like the confident background, and IBB reads the image again with
its background blurred, so that context which only co-occurs is gone. Where the classifier has been told its classes'
context (models/context.py), cells that look like that lose what is left.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from models.cam import Evidence, gather_evidence, normalise_maps
from models.chain import require_strides
from models.classifier import Classifier
from models.context import context_stage

BACKGROUND_SHARE = 0.05  # of the cells, at least, make the background prototype
LEAST_SIMILARITY = 1e-4  # a smaller difference of cosines is rounding, which n would blow up


@dataclass(frozen=True)
class Trace:
    """Every step for one image; all maps (K, h, w) in 0..1.

    Attributes:
        cam: C, of the image itself.
        gfm: G of the image itself; equals `cam` where GFM is off.
        prm: A of the image itself; equals `gfm` where PRM is off.
        ibb: after all rounds; equals `prm` where IBB is off.
        context: the result; equals `ibb` where the classifier knows no context.
        rounds: A^s of each round, the first is that of the image itself.
        blurred: x_1 .. x_T, the (3, H, W) images that the rounds after the first have read.
        logits: (C,) the classifier's, of the image itself.
    """

    cam: Tensor
    gfm: Tensor
    prm: Tensor
    ibb: Tensor
    context: Tensor
    rounds: list[Tensor]
    blurred: list[Tensor]
    logits: Tensor


class IterativeBackgroundBlur:
    """Maps of the classes that an image is known to contain.

    Args:
        scales, flip: what the image itself is read at.
        gfm: fuse gradients of earlier stages.
        gfm_min_stride: the stages fused are the first of each stride from this on, but not the last stage.
        prm: reactivate by similarity to prototypes.
        prm_strides: the stages whose maps are compared are the first of each of these strides.
        prm_hi, prm_lo: confident object above `hi`, confident background below `lo`.
        prm_rounds: how often the maps so far choose new prototypes.
        iterations: T, rounds with a blurred background; 0 is the plain pass.
        tau: the map value from which a pixel is kept fully sharp.
        sigma: the blur's standard deviation, as a share of the image's long side.
        blur_scales: what the blurred images are read at; fewer than `scales`, since they only correct.
        context: take the classes' context out, where the classifier knows it.
    """

    def __init__(
        self,
        scales: Sequence[float] = (1.0,),
        flip: bool = True,
        *,
        gfm: bool = True,
        gfm_min_stride: int = 8,
        prm: bool = True,
        prm_strides: Sequence[int] = (16,),
        prm_hi: float = 0.5,
        prm_lo: float = 0.2,
        prm_rounds: int = 1,
        iterations: int = 3,
        tau: float = 0.3,
        sigma: float = 1 / 30,
        blur_scales: Sequence[float] = (1.0,),
        context: bool = True,
    ):
        self.scales, self.flip = tuple(scales), flip
        self.gfm, self.gfm_min_stride = gfm, gfm_min_stride
        self.prm, self.prm_strides, self.prm_hi, self.prm_lo, self.prm_rounds = (
            prm,
            tuple(prm_strides),
            prm_hi,
            prm_lo,
            prm_rounds,
        )
        self.iterations, self.tau, self.sigma, self.blur_scales = iterations, tau, sigma, tuple(blur_scales)
        self.context = context

    def __call__(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Tensor:
        """Maps A of one image.

        Args:
            classifier: in evaluation mode.
            image: (3, H, W) float, normalised, on the classifier's device.
            classes: the K classes that it contains.

        Returns:
            (K, h, w) float32 in 0..1 on the grid of `models.cam.map_size`.
        """
        return self.trace(classifier, image, classes).context

    def trace(self, classifier: Classifier, image: Tensor, classes: Sequence[int]) -> Trace:
        """As calling it, with every step on the way."""
        evidence = self._read(classifier, image, classes, self.scales)
        cam = normalise_maps(evidence.cam)
        fused = self._fuse(evidence)
        rounds = [self._reactivate(fused, evidence.features)]
        blurred: list[Tensor] = []
        fusions = [fused]
        for _ in range(self.iterations if classes else 0):
            blurred.append(blur_background(image, torch.stack(rounds).mean(dim=0), self.tau, self.sigma))
            again = self._read(classifier, blurred[-1], classes, self.blur_scales)
            fusions.append(self._fuse(again))
            rounds.append(self._reactivate(fusions[-1], again.features))
        result = rounds[0]
        if blurred:
            # The rounds agree on what is object; similarity is judged on the sharp image's features.
            result = self._reactivate(normalise_maps(torch.stack(rounds).mean(dim=0)), evidence.features)
        parted = part_from_context(classifier, image, result, classes) if self.context else result
        return Trace(cam, fused, rounds[0], result, parted, rounds, blurred, evidence.logits)

    def _read(self, classifier: Classifier, image: Tensor, classes: Sequence[int], scales: Sequence[float]) -> Evidence:
        strides = classifier.backbone.strides
        fused = [n for n in first_stages(strides) if strides[n] >= self.gfm_min_stride and n < len(strides) - 1]
        compared = stages_of_strides(strides, self.prm_strides, "prm.strides") if self.prm else []
        return gather_evidence(
            classifier,
            image,
            classes,
            scales=scales,
            flip=self.flip,
            gradient_stages=fused if self.gfm else (),
            feature_stages=compared,
        )

    def _fuse(self, evidence: Evidence) -> Tensor:
        cam = normalise_maps(evidence.cam)
        return fuse_gradients(cam, evidence.gradients) if len(evidence.gradients) else cam

    def _reactivate(self, maps: Tensor, features: list[Tensor]) -> Tensor:
        if not features or not len(maps):
            return maps
        unit = unit_features(features)
        reactivated = maps
        for _ in range(self.prm_rounds):
            reactivated = normalise_maps(reactivated + reactivate(reactivated, unit, self.prm_hi, self.prm_lo))
        return reactivated


def part_from_context(classifier: Classifier, image: Tensor, maps: Tensor, classes: Sequence[int]) -> Tensor:
    """n(A_k L_k), where the classifier has a discriminant of its classes' context; else the maps as they are.

    Args:
        image: x0, (3, H, W), read once more at its own size.
        maps: A, (K, h, w) in 0..1 on the grid of `models.cam.map_size`.
        classes: the K classes.
    """
    if classifier.context is None or not len(classes):
        return maps
    return normalise_maps(maps * classifier.context(context_features(classifier, image), classes))


def context_features(classifier: Classifier, image: Tensor) -> Tensor:
    """The unit features f, (D, h, w), that context is told by: of the image itself, at one scale."""
    stage = context_stage(classifier.backbone)
    return unit_features(gather_evidence(classifier, image, [], flip=False, feature_stages=[stage]).features)


def first_stages(strides: Sequence[int]) -> list[int]:
    """The number of the first stage of each stride: where a resolution begins, features are least bound to the classes."""
    return [number for number, stride in enumerate(strides) if stride not in strides[:number]]


def stages_of_strides(strides: Sequence[int], wanted: Sequence[int], setting: str) -> list[int]:
    """The number of the first stage of each wanted stride.

    Raises:
        UserError: the backbone has none of that stride; the message names `setting`.
    """
    require_strides(strides, wanted, setting)
    return [number for number in first_stages(strides) if strides[number] in wanted]


def fuse_gradients(cam: Tensor, gradients: Tensor) -> Tensor:
    """GFM: G_k = n(C_k + mean_l S_l,k) with S_l,k = n(sum over channels of ReLU(d y_k / d F_l)).

    Args:
        cam: C, (K, h, w) in 0..1.
        gradients: (S, K, h, w), the sums over channels, not normalised; S at least 1.
    """
    return normalise_maps(cam + normalise_maps(gradients).mean(dim=0))


def unit_features(features: Sequence[Tensor]) -> Tensor:
    """f: stage maps [(D_l, h, w)], each of unit length per cell, side by side and together of unit length.

    They are not centred over the image: what all its cells share takes no side between object and background, and a
    mean that the object itself dominates would.
    """
    return torch.cat([normalize(stage, dim=0) for stage in features]) / len(features) ** 0.5


def reactivate(maps: Tensor, unit: Tensor, hi: float, lo: float) -> Tensor:
    """PRM: R_k = n(ReLU(cos(f, p_k) - cos(f, p_bg))).

    Prototypes: p_k is the mean of f over cells where class k wins and G_k > hi, weighted by G_k; p_bg the mean of f over
    cells where max_k G_k < lo, or over the lowest `BACKGROUND_SHARE` where those are fewer.

    Args:
        maps: G, (K, h, w) in 0..1.
        unit: f, (D, h, w), as `unit_features` gives it.

    Returns:
        (K, h, w) in 0..1; 0 for a class that wins nowhere.
    """
    best, winner = maps.max(dim=0)
    wins = winner == torch.arange(len(maps), device=maps.device)[:, None, None]
    weights = maps * (wins & (maps > hi))
    lowest = torch.quantile(best.flatten(), BACKGROUND_SHARE)
    background = (best < lo) | (best <= lowest)
    cells = unit.flatten(1)
    objects = normalize(weights.flatten(1) @ cells.T, dim=1)
    ground = normalize(background.flatten().float() @ cells.T, dim=0)
    similarity = (objects - ground) @ cells
    found = weights.flatten(1).sum(dim=1, keepdim=True) > 0
    return normalise_maps((similarity.relu() * (found & (similarity > LEAST_SIMILARITY))).unflatten(1, maps.shape[1:]))


def blur_background(image: Tensor, maps: Tensor, tau: float, sigma: float) -> Tensor:
    """IBB: x_{t+1} = M_t * x0 + (1 - M_t) * blur_sigma(x0) with M_t = clip(max_k maps_k / tau, 0, 1).

    Args:
        image: x0, (3, H, W).
        maps: (K, h, w) in 0..1, the mean over the rounds so far; K at least 1.
        tau: map value from which a pixel is kept.
        sigma: standard deviation of the blur as a share of the long side.
    """
    keep = (maps.amax(dim=0) / tau).clamp(0, 1)
    keep = interpolate(keep[None, None], image.shape[-2:], mode="bilinear", align_corners=False)[0]
    return keep * image + (1 - keep) * gaussian_blur(image, sigma * max(image.shape[-2:]))


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """A (C, H, W) image blurred by a Gaussian of `sigma` pixels cut off at 3 sigma; edges are repeated outwards."""
    radius = max(1, round(3 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    channels = image[:, None]
    channels = torch.nn.functional.pad(channels, (radius, radius, radius, radius), mode="replicate")
    channels = torch.nn.functional.conv2d(channels, kernel.view(1, 1, 1, -1))
    return torch.nn.functional.conv2d(channels, kernel.view(1, 1, -1, 1))[:, 0]
