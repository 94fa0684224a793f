"""Stage `walk`: seeds -> seeds after a random walk, over learned or over the classifier's own affinities (`affinity.kind`)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import Seed
from data.dataset import Index
from models.affinity import AffinityNet, boundary
from models.cam import gather_evidence, normalise_maps
from models.classifier import Classifier
from models.ibb import stages_of_strides, unit_features
from models.random_walk import feature_walk, random_walk
from stages.files import AFFINITY, CLASSIFIER, WALKED, last_seeds
from stages.lists import list_complete, seed_index
from stages.networks import load_affinity, load_classifier
from stages.seeds import change_seeds, to_seed
from utils.config import AffinityConfig, Config
from utils.engine import Compute, choose_compute
from utils.run import Run

Walk = Callable[[Tensor, Tensor], Tensor]  # (3, H, W) image, (K, ceil(H / 4), ceil(W / 4)) maps -> such maps


@dataclass(frozen=True)
class WalkKind:
    """A value of the setting `affinity.kind`.

    Attributes:
        open: a run's network, and the walk over its affinities.
        reads: the settings of the walk, for its fingerprint.
    """

    open: Callable[[Config, Run], tuple[AffinityNet | Classifier, Walk]]
    reads: tuple[str, ...]


def walk_seed_list(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `walked/ID.npz`, files like seeds, for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    written = walk_seeds(cfg, run, index, run.path(last_seeds(cfg)), run.fresh_folder(WALKED))
    return {"images": len(index), "written": written}


def walk_complete(cfg: Config, run: Run) -> bool:
    """Whether every image of the list has its file."""
    return list_complete(cfg, run.path(WALKED), ".npz")


def walk_seeds(cfg: Config, run: Run, index: Index, source: Path, target: Path) -> int:
    """Walk the seeds of `source` into `target`.

    Returns:
        How many were written; those that are there already are not.
    """
    compute = choose_compute(cfg)
    network, walk = WALKS[cfg.affinity.kind].open(cfg, run)
    compute.network(network)
    change = partial(walked_seed, walk=walk, compute=compute)
    return change_seeds(cfg, index, source, target, network, compute, cfg.affinity.max_side, "walk", change)


def walked_seed(seed: Seed, image: Tensor, walk: Walk, compute: Compute) -> Seed:
    """A seed after `walk(image, maps)`, which takes and gives maps at stride 4 of `image`."""
    if not len(seed.classes):
        return seed
    maps = torch.from_numpy(seed.maps).to(compute.device)
    cells = [-(-side // 4) for side in image.shape[-2:]]
    if list(maps.shape[1:]) != cells:
        maps = interpolate(maps[None], cells, mode="bilinear", align_corners=False, antialias=True)[0]
    with compute.autocast():
        walked = walk(image, maps)
    return to_seed(walked, seed.classes, seed.size)


@torch.no_grad()
def walk_over_boundaries(network: AffinityNet, image: Tensor, maps: Tensor, settings: AffinityConfig) -> Tensor:
    """IRN's walk; the result is divided by its maximum over all classes, so that they keep their order.

    With `walk_background` above 0 the background walks too, as a map that has this value everywhere: each cell's scores are
    shares that sum to 1, before the walk and after it. So what flows out of an object has to win against what flows in.
    """
    # Padded to the size of training's crops, as published: group norm's statistics cover the padding.
    edge = boundary(network, image, least_side=settings.crop_size)
    ground = settings.walk_background
    if ground:
        maps = torch.cat([torch.full_like(maps[:1], ground), maps])
        maps = maps / maps.sum(dim=0)
    walked = random_walk(maps, edge, radius=settings.walk_radius, beta=settings.beta, exp_times=settings.exp_times)
    least = torch.finfo(walked.dtype).tiny
    if ground:
        return (walked / walked.sum(dim=0).clamp_min(least))[1:]
    return walked / walked.amax().clamp_min(least)


@torch.no_grad()
def walk_over_features(
    network: Classifier, image: Tensor, maps: Tensor, settings: AffinityConfig, scales: tuple[float, ...], flip: bool
) -> Tensor:
    """The walk over similarity of features; each map divided by its maximum."""
    return walk_along(walk_features(network, image, settings, scales, flip), maps, settings)


def walk_features(
    network: Classifier, image: Tensor, settings: AffinityConfig, scales: tuple[float, ...], flip: bool
) -> Tensor:
    """(D, h, w) unit features whose similarity says where to walk, on the grid of `models.cam.map_size`."""
    stages = stages_of_strides(network.backbone.strides, settings.feature_strides, "affinity.feature_strides")
    return unit_features(gather_evidence(network, image, [], scales=scales, flip=flip, feature_stages=stages).features)


def walk_along(unit: Tensor, maps: Tensor, settings: AffinityConfig) -> Tensor:
    """Maps (K, *, *) after the walk over the similarity of these features, each divided by its maximum."""
    start = interpolate(maps[None].float(), unit.shape[1:], mode="area")[0]
    walked = feature_walk(
        start, unit, power=settings.feature_power, steps=settings.feature_steps, keep=settings.feature_keep
    )
    return normalise_maps(interpolate(walked[None], maps.shape[1:], mode="bilinear", align_corners=False)[0])


def _open_learned(cfg: Config, run: Run) -> tuple[AffinityNet, Walk]:
    network = load_affinity(run.path(AFFINITY))
    return network, partial(walk_over_boundaries, network, settings=cfg.affinity)


def _open_features(cfg: Config, run: Run) -> tuple[Classifier, Walk]:
    network = load_classifier(run.path(CLASSIFIER))
    return network, partial(
        walk_over_features, network, settings=cfg.affinity, scales=cfg.cam.scales, flip=cfg.cam.flip
    )


WALKS = {
    "learned": WalkKind(
        _open_learned,
        (
            "affinity.max_side",
            "affinity.crop_size",
            "affinity.walk_radius",
            "affinity.beta",
            "affinity.exp_times",
            "affinity.walk_background",
        ),
    ),
    "features": WalkKind(
        _open_features,
        (
            "affinity.max_side",
            "cam.scales",
            "cam.flip",
            "affinity.feature_strides",
            "affinity.feature_power",
            "affinity.feature_steps",
            "affinity.feature_keep",
        ),
    ),
}


def walk_reads(cfg: Config) -> tuple[str, ...]:
    """The settings that the stage depends on: which walk, and that walk's own."""
    return ("affinity.kind", *WALKS[cfg.affinity.kind].reads)
