"""Stage `walk`: the maps walk over learned affinities, or over similarities of features; docs/method.md 6."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.affinity import boundary
from models.classifier import Classifier
from models.random_walk import feature_walk, random_walk
from models.reading import Views, normalise_maps, read_features, stages_of_strides, unit_features
from stages.affinity import train_affinity
from stages.config import Config
from stages.dataset_step import Apply, DatasetStep, Fit
from stages.files import AFFINITY
from stages.networks import load_affinity
from stages.reading import Change
from stages.settings import BoundaryWalk, FeatureWalk


@dataclass(frozen=True)
class WalkKind:
    """A value of the setting `affinity.kind`.

    Attributes:
        open: (configuration, folder of the networks, classifier) -> what the walk does to an image.
        reads: the parts of the configuration that the walk reads.
        files: the networks that it needs, beside the classifier.
    """

    open: Callable[[Config, Path, Classifier], Change]
    reads: tuple[str, ...]
    files: tuple[str, ...] = ()


def open_boundary_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """IRN's walk over the boundaries of the affinity network."""
    network = load_affinity(folder / AFFINITY)

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> Tensor:
        # Padded to the crop size of training, as published: the statistics of group norm include the padding.
        return boundary(network, image, least_side=cfg.affinity_training.crop_size)

    def change(maps: Tensor, edge: Tensor) -> Tensor:
        return walk_over_boundaries(_on_grid(maps, tuple(edge.shape[-2:])), edge, cfg.boundary_walk)

    return Change(network, cfg.affinity.max_side, see, change)


def walk_over_boundaries(maps: Tensor, edge: Tensor, settings: BoundaryWalk) -> Tensor:
    """IRN's walk; the result is divided by its maximum over all classes, so that they keep their order.

    With `walk_background` above 0 the background walks too, as a map that has this value everywhere. Then the scores of
    a cell are divided by their sum, before the walk and after it, so that classes and background compete.

    Args:
        maps: (K, h, w) in 0..1, h x w the grid of the boundary.
        edge: B, the boundary map.
    """
    background = settings.walk_background
    if background:
        maps = torch.cat([torch.full_like(maps[:1], background), maps])
        maps = maps / maps.sum(dim=0)
    walked = random_walk(maps, edge, radius=settings.walk_radius, beta=settings.beta, exp_times=settings.exp_times)
    least = torch.finfo(walked.dtype).tiny
    if background:
        return (walked / walked.sum(dim=0).clamp_min(least))[1:]
    return walked / walked.amax().clamp_min(least)


def open_feature_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """The walk over the similarity of the classifier's features."""
    settings, cam = cfg.feature_walk, cfg.step("cam")
    stages = stages_of_strides(classifier.backbone.strides, settings.feature_strides, "affinity.feature_strides")

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        features = read_features(classifier, image, stages, Views(cam.scales, cam.flip))
        cells = (-(-image.shape[-2] // 4), -(-image.shape[-1] // 4))
        return unit_features(features), cells

    def change(maps: Tensor, seen: tuple[Tensor, tuple[int, int]]) -> Tensor:
        unit, cells = seen
        return walk_over_features(_on_grid(maps, cells), unit, settings)

    return Change(classifier, cfg.affinity.max_side, see, change)


def walk_over_features(maps: Tensor, unit: Tensor, settings: FeatureWalk) -> Tensor:
    """Maps (K, *, *) after the walk over the similarity of unit features (D, h, w), each divided by its maximum.

    Maps of small objects (`feature_least`) stay as they are: on the coarse grid of the features they run into the rest.
    """
    maps = maps.float()
    start = interpolate(maps[None], unit.shape[1:], mode="area")[0]
    walked = feature_walk(
        start, unit, power=settings.feature_power, steps=settings.feature_steps, keep=settings.feature_keep
    )
    walked = normalise_maps(interpolate(walked[None], maps.shape[1:], mode="bilinear", align_corners=False)[0])
    is_small = (maps > 0.5).float().mean(dim=(1, 2), keepdim=True) < settings.feature_least
    return torch.where(is_small, maps, walked)


def _on_grid(maps: Tensor, cells: tuple[int, ...]) -> Tensor:
    """Maps at stride 4 of the image that the walk sees, which may be smaller than the image of the seed."""
    if tuple(maps.shape[1:]) == cells:
        return maps
    return interpolate(maps[None], cells, mode="bilinear", align_corners=False, antialias=True)[0]


WALKS = {
    "learned": WalkKind(open_boundary_walk, ("affinity", "boundary_walk"), (AFFINITY,)),
    "features": WalkKind(open_feature_walk, ("affinity", "feature_walk")),
}


def open_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """The walk that `affinity.kind` names."""
    return WALKS[cfg.affinity.kind].open(cfg, folder, classifier)


def no_walk(cfg: Config) -> str | None:
    """Why there is no walk, or None if there is one."""
    return "affinity.kind is none" if cfg.affinity.kind == "none" else None


WALK_STEP = DatasetStep(
    name="walk",
    title="random walk",
    skip=no_walk,
    apply=Apply(
        stage="walk",
        title="walk the seeds over pixel affinities",
        reads=lambda cfg: WALKS[cfg.affinity.kind].reads,
        open=open_walk,
        files=lambda cfg, classifier: WALKS[cfg.affinity.kind].files,
    ),
    fit=Fit(
        stage="affinity",
        title="train the affinity network on confident seeds",
        run=train_affinity,
        reads=("seed", "precision", "model", "affinity", "affinity_training"),
        writes=AFFINITY,
        publishes=False,
        skip=lambda cfg: None if cfg.affinity.kind == "learned" else f"affinity.kind is {cfg.affinity.kind}",
    ),
)
