"""Stage `walk`: the maps walk over learned affinities, or over similarities of features; docs/method.md 6."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.transforms import Sides
from models.affinity import boundary, cells
from models.chain import stages_of_strides
from models.classifier import Classifier
from models.hints import ImageHints
from models.pseudo import upsample
from models.random_walk import feature_walk, random_walk
from models.reading import Views, normalise_maps, read_features, unit_features
from stages.affinity import AffinityTraining, train_affinity
from stages.files import AFFINITY
from stages.networks import load_affinity
from stages.reading import Apply, Change, DatasetStep, Fit
from stages.settings import Config
from utils.settings import Part, setting


@dataclass(frozen=True)
class AffinitySettings(Sides):
    """Stages `affinity` and `walk`; images have the same size in both."""

    kind: str = setting("none", help="none, learned (train a network), features (walk over the classifier's features)")


@dataclass(frozen=True)
class BoundaryWalk:
    """Stage `walk` with `affinity.kind: learned`."""

    walk_radius: int = setting(5, low=2, high=50, help="for kind: learned; of the random walk (IRN: 5)")
    beta: float = setting(10.0, low=0, high=1000, help="affinities to this power (IRN: 10)")
    exp_times: int = setting(8, low=0, high=20, help="2^8 steps (IRN: 8)")
    walk_background: float = setting(
        0.0, low=0, high=10, help="the background walks too, as a map of this value; 0: not (IRN)"
    )


@dataclass(frozen=True)
class FeatureWalk:
    """Stage `walk` with `affinity.kind: features`."""

    feature_strides: tuple[int, ...] = setting((8, 16), help="for kind: features; the first stage of each stride")
    feature_power: float = setting(8.0, low=0, high=1000, help="cosines to this power")
    feature_steps: int = setting(4, low=0, high=1000, help="of the walk")
    feature_keep: float = setting(0.8, low=0, high=1, help="what of a map walks at each step")


# Of a cell with a hint in the walk over features: what comes before it has spread the hints already (docs/log.md).
MOST_WEIGHT = 8.0
HOLDS = 3  # the walk over boundaries of an image with hints is made in 2^3 parts, and the hints are held after each


@dataclass(frozen=True)
class WalkKind:
    """A value of the setting `affinity.kind`."""

    open: Callable[[Config, Path, Classifier], Change]  # with the folder of the networks
    reads: tuple[str, ...]  # the parts of the configuration
    files: tuple[str, ...] = ()  # the networks that it needs, beside the classifier


def open_boundary_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """IRN's walk over the boundaries of the affinity network."""
    network = load_affinity(folder / AFFINITY)

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> Tensor:
        # Padded to the crop size of training, as published: the statistics of group norm include the padding.
        return boundary(network, image, least_side=cfg.part("affinity_training").crop_size)

    def change_all(maps: Sequence[Tensor], edges: Sequence[Tensor]) -> list[Tensor]:
        on_grid = [_on_grid(own, tuple(edge.shape[-2:])) for own, edge in zip(maps, edges, strict=True)]
        return walk_over_boundaries(on_grid, edges, cfg.part("boundary_walk"))

    def change(maps: Tensor, edge: Tensor, hints: ImageHints | None = None) -> Tensor:
        if hints is None:
            return change_all([maps], [edge])[0]
        whole = cfg.part("boundary_walk")
        doublings = min(whole.exp_times, HOLDS)  # a shorter walk is held after each step
        part = replace(whole, exp_times=whole.exp_times - doublings)
        maps = hints.hold(_on_grid(maps, tuple(edge.shape[-2:])))
        for _ in range(2**doublings):
            maps = hints.hold(walk_over_boundaries([maps], [edge], part)[0])
        return maps

    return Change(network, cfg.part("affinity"), see, change, change_all)


def walk_over_boundaries(maps: Sequence[Tensor], edges: Sequence[Tensor], settings: BoundaryWalk) -> list[Tensor]:
    """IRN's walk; the result is divided by its maximum over all classes, so that they keep their order.

    Of each image: maps (K, h, w) in 0..1 and its boundary map (h, w). With `walk_background` above 0 the background
    walks too, as a map that has this value everywhere. Then the scores of a cell are divided by their sum, before the
    walk and after it, so that classes and background compete.
    """
    background = settings.walk_background
    if background:
        with_background = [torch.cat([torch.full_like(own[:1], background), own]) for own in maps]
        maps = [own / own.sum(dim=0) for own in with_background]
    walked = random_walk(maps, edges, radius=settings.walk_radius, beta=settings.beta, exp_times=settings.exp_times)
    least = torch.finfo(torch.float32).tiny
    if background:
        return [(own / own.sum(dim=0).clamp_min(least))[1:] for own in walked]
    return [own / own.amax().clamp_min(least) for own in walked]


def open_feature_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """The walk over the similarity of the classifier's unit features; each map is then divided by its maximum."""
    settings, cam = cfg.part("feature_walk"), cfg.step("cam")
    stages = stages_of_strides(classifier.backbone.strides, settings.feature_strides, "affinity.feature_strides")

    def see(image: Tensor, classes: Sequence[int], size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        features = read_features(classifier, image, stages, Views(cam.scales, cam.flip))
        return unit_features(features), cells(image)

    def change(maps: Tensor, seen: tuple[Tensor, tuple[int, int]], hints: ImageHints | None = None) -> Tensor:
        unit, size = seen
        start = interpolate(_on_grid(maps, size).float()[None], unit.shape[1:], mode="area")[0]
        walk = partial(feature_walk, unit=unit, power=settings.feature_power, keep=settings.feature_keep)
        if hints is not None:
            walk = partial(walk, hold=hints.hold, weights=hints.cell_weights(start, MOST_WEIGHT))
        return normalise_maps(upsample(walk(start, steps=settings.feature_steps), size))

    return Change(classifier, cfg.part("affinity"), see, change)


def _on_grid(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Maps at stride 4 of the image that the walk sees, which may be smaller than the image of the seed."""
    if tuple(maps.shape[1:]) == size:
        return maps
    return interpolate(maps[None], size, mode="bilinear", align_corners=False, antialias=True)[0]


WALKS = {
    "learned": WalkKind(open_boundary_walk, ("affinity", "boundary_walk"), (AFFINITY,)),
    "features": WalkKind(open_feature_walk, ("affinity", "feature_walk")),
}


def _kind(cfg: Config) -> str:
    return cfg.part("affinity").kind


def open_walk(cfg: Config, folder: Path, classifier: Classifier) -> Change:
    """The walk that `affinity.kind` names."""
    return WALKS[_kind(cfg)].open(cfg, folder, classifier)


WALK_STEP = DatasetStep(
    name="walk",
    title="random walk",
    settings=(
        Part("affinity", "affinity", AffinitySettings),
        Part("affinity_training", "affinity", AffinityTraining),
        Part("boundary_walk", "affinity", BoundaryWalk),
        Part("feature_walk", "affinity", FeatureWalk),
    ),
    skip=lambda cfg: "affinity.kind is none" if _kind(cfg) == "none" else None,
    apply=Apply(
        stage="walk",
        title="walk the seeds over pixel affinities",
        reads=lambda cfg: WALKS[_kind(cfg)].reads,
        open=open_walk,
        files=lambda cfg, classifier: WALKS[_kind(cfg)].files,
    ),
    fit=Fit(
        stage="affinity",
        title="train the affinity network on confident seeds",
        run=train_affinity,
        reads=("seed", "precision", "model", "affinity", "affinity_training"),
        writes=AFFINITY,
        publishes=False,
        skip=lambda cfg: None if _kind(cfg) == "learned" else f"affinity.kind is {_kind(cfg)}",
    ),
)
