"""Stage `seeds`: the method's maps for every image of the seed list, as files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import Seed, read_seed, seed_size, write_seed
from data.dataset import Index, WholeImages
from data.transforms import normalise
from models.ibb import IterativeBackgroundBlur
from stages.files import CLASSIFIER, SEEDS
from stages.lists import list_complete, seed_index, without_file
from stages.networks import Network, load_classifier
from stages.space import require_image_space
from utils.config import Config
from utils.engine import Compute, choose_compute
from utils.reading import read_once
from utils.run import Run

Method = TypeVar("Method", bound=IterativeBackgroundBlur)


def make_seeds(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `seeds/ID.npz` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    compute = choose_compute(cfg)
    classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
    compute.network(classifier)
    method = build_method(cfg)
    folder = run.fresh_folder(SEEDS)
    missing = without_file(index, folder, ".npz")
    require_image_space(folder, index, missing, seeds=1)
    for item in whole_images(index, missing, cfg.workers, "seeds"):
        classes = item["labels"].nonzero().flatten().tolist()
        image = prepare(item["image"], classifier, compute, cfg.seeds.max_side)
        with compute.autocast():
            maps = method(classifier, image, classes)
        write_seed(folder / f"{item['name']}.npz", to_seed(maps, classes, item["image"].shape[-2:]), index.class_names)
    return {"images": len(index), "written": len(missing)}


def seeds_complete(cfg: Config, run: Run) -> bool:
    """Whether every image of the list has its file."""
    return list_complete(cfg, run.path(SEEDS), ".npz")


def change_seeds(
    cfg: Config,
    index: Index,
    source: Path,
    target: Path,
    network: Network,
    compute: Compute,
    max_side: int,
    title: str,
    change: Callable[[Seed, Tensor], Seed],
) -> int:
    """Write `change(seed, image)` of every seed of `source` into `target`.

    Args:
        network: whose images these are, normalised and at most `max_side` long.
        title: of the progress bar.

    Returns:
        How many were written; those that are there already are not.
    """
    missing = without_file(index, target, ".npz")
    require_image_space(target, index, missing, seeds=1)
    for item in whole_images(index, missing, cfg.workers, title):
        name = f"{item['name']}.npz"
        image = prepare(item["image"], network, compute, max_side)
        write_seed(target / name, change(read_seed(source / name, index.class_names), image), index.class_names)
    return len(missing)


@overload
def build_method(cfg: Config) -> IterativeBackgroundBlur: ...


@overload
def build_method(cfg: Config, kind: type[Method]) -> Method: ...


def build_method(cfg: Config, kind: type[IterativeBackgroundBlur] = IterativeBackgroundBlur) -> IterativeBackgroundBlur:
    """The method, or a `kind` of it, with the settings of the sections `cam`, `gfm`, `prm`, `ibb` and `context`."""
    return kind(
        cfg.cam.scales,
        cfg.cam.flip,
        gfm=cfg.gfm.enabled,
        gfm_min_stride=cfg.gfm.min_stride,
        prm=cfg.prm.enabled,
        prm_strides=cfg.prm.strides,
        prm_hi=cfg.prm.hi,
        prm_lo=cfg.prm.lo,
        prm_rounds=cfg.prm.rounds,
        iterations=cfg.ibb.iterations if cfg.ibb.enabled else 0,
        tau=cfg.ibb.tau,
        sigma=cfg.ibb.sigma,
        blur_scales=cfg.ibb.scales,
        context=cfg.context.enabled,
    )


def whole_images(index: Index, positions: Sequence[int], workers: int, title: str) -> Iterator[dict[str, Any]]:
    """Items of `WholeImages` at those positions, each in one process (`utils.reading.read_once`)."""
    return read_once(WholeImages(index), positions, workers, title, pin_memory=torch.cuda.is_available())


def prepare(image: Tensor, network: Network, compute: Compute, max_side: int) -> Tensor:
    """(3, H, W) uint8 -> normalised float on the device, made smaller if its long side is above `max_side` (0: never)."""
    backbone = network.backbone
    image = normalise(image.to(compute.device, non_blocking=True), backbone.mean, backbone.std)
    longest = max(image.shape[-2:])
    if max_side and longest > max_side:
        size = [max(1, round(side * max_side / longest)) for side in image.shape[-2:]]
        image = interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
    return image


def to_seed(maps: Tensor, classes: Sequence[int] | np.ndarray, size: Sequence[int]) -> Seed:
    """Maps (K, h, w) of an image of `size` (H, W) as what a seed file holds."""
    height, width = size
    target = seed_size(height, width)
    resized = (
        interpolate(maps[None], target, mode="bilinear", align_corners=False)[0]
        if len(maps)
        else maps.new_zeros((0, *target))
    )
    return Seed(torch.as_tensor(classes, dtype=torch.int64).numpy(), resized.cpu().numpy(), (int(height), int(width)))


def predicted_classes(logits: Tensor, threshold: float) -> list[int]:
    """Classes whose probability is above the threshold, and always the most likely one."""
    probabilities = logits.sigmoid()
    return sorted({int(probabilities.argmax()), *(probabilities > threshold).nonzero().flatten().tolist()})
