"""Stages `ibb` and `fuse`: a network learns the seeds with their background blurred, and corrects them; docs/method.md 5."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.artifacts import Seed
from data.dataset import Index
from data.transforms import BackgroundBlur
from models.segmenter import Segmenter, class_probabilities, restrict_to
from stages.files import FUSED, IBB, IBB_MASKS, parted_seeds
from stages.lists import list_complete, seed_index
from stages.networks import load_segmenter
from stages.pseudo import write_pseudo_masks
from stages.seeds import change_seeds, to_seed
from stages.segment import train_on_masks
from utils.config import Config
from utils.engine import choose_compute
from utils.run import Run


def no_blur_training(cfg: Config) -> str | None:
    """Why no network is trained on blurred images, or None if one is."""
    if not cfg.ibb.enabled:
        return "ibb.enabled is false"
    return None if cfg.ibb.epochs else "ibb.epochs is 0"


def train_on_blurred(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `ibb_masks/ID.png`, the seeds cut at `ibb.threshold`, train on them and on blurred backgrounds, write `ibb.pth`."""
    settings = cfg.ibb
    cut = dataclasses.replace(
        cfg.pseudo,
        background="threshold",
        threshold=settings.threshold,
        ignore_band=settings.ignore_band,
        refine="none",
    )
    masks = run.fresh_folder(IBB_MASKS)
    write_pseudo_masks(dataclasses.replace(cfg, pseudo=cut), seed_index(cfg), run.path(parted_seeds(cfg)), masks)
    blur = BackgroundBlur(settings.blurred_share, settings.blurred_sigma)
    return train_on_masks(cfg, run, "ibb", IBB_MASKS, IBB, epochs=settings.epochs, blur=blur)


def fuse_seed_list(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `fused/ID.npz`, the seeds with what the network says, for the seed list; files that are there are kept."""
    index = seed_index(cfg)
    written = fuse_seeds(cfg, run, index, run.path(parted_seeds(cfg)), run.fresh_folder(FUSED))
    return {"images": len(index), "written": written}


def fused_complete(cfg: Config, run: Run) -> bool:
    """Whether every image of the list has its file."""
    return list_complete(cfg, run.path(FUSED), ".npz")


def fuse_seeds(cfg: Config, run: Run, index: Index, source: Path, target: Path) -> int:
    """Fuse the seeds of `source` with what the network of stage `ibb` says of their images, into `target`.

    Returns:
        How many were written; those that are there already are not.
    """
    compute = choose_compute(cfg)
    segmenter = load_segmenter(run.path(IBB), index.class_names)
    compute.network(segmenter)

    def fuse(seed: Seed, image: Tensor) -> Seed:
        with compute.autocast():
            return fused_seed(cfg, segmenter, image, seed)

    return change_seeds(cfg, index, source, target, segmenter, compute, cfg.segment.max_side, "fuse", fuse)


def fused_seed(cfg: Config, segmenter: Segmenter, image: Tensor, seed: Seed) -> Seed:
    """(1 - w) A_k + w p_k."""
    if not len(seed.classes):
        return seed
    maps = torch.from_numpy(seed.maps).to(image.device)
    shares = class_shares(cfg, segmenter, image, seed.classes.tolist(), (int(maps.shape[1]), int(maps.shape[2])))
    return to_seed(torch.lerp(maps, shares.to(maps), cfg.ibb.weight), seed.classes, seed.size)


def class_shares(
    cfg: Config, segmenter: Segmenter, image: Tensor, classes: Sequence[int], size: tuple[int, int]
) -> Tensor:
    """p, (K, *size): the network's probabilities of these classes, where there is nothing else but them and the background."""
    likely = restrict_to(class_probabilities(segmenter, image, cfg.ibb.scales, cfg.cam.flip, size), classes)
    return likely[[index + 1 for index in classes]] / likely.sum(dim=0).clamp_min(torch.finfo(likely.dtype).tiny)
