"""Whole images read by a network, the maps of an image as a seed, and what a step over the data set does to seeds."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import Seed, read_seed, seed_size, write_seed
from data.dataset import Index, WholeImages
from data.hints import NO_HINTS, Hints
from data.transforms import Sides, normalise
from models.classifier import Classifier
from models.hints import ImageHints
from models.method import Method
from models.pseudo import upsample
from models.steps import ClassActivationMap
from stages.files import without_file
from stages.hints import image_hints_of
from stages.networks import Network
from stages.settings import Config
from utils.compute import Compute
from utils.reading import read_once
from utils.run import Run
from utils.settings import Part

# Images whose maps change together, where a step can do that; a CPU shares images among its cores instead.
TOGETHER = {"cpu": 1, "cuda": 32}


def build_method(cfg: Config, fast: bool = False) -> Method:
    """The method with the settings of its steps; `fast` reads an image once, at its own size."""
    if not fast:
        return Method(cfg.steps)
    cam = dataclasses.replace(cfg.step(ClassActivationMap.name), scales=(1.0,))
    return Method([cam, *(step for step in cfg.steps[1:] if not step.reads_other_images)])


def whole_images(index: Index, positions: Sequence[int], workers: int, title: str) -> Iterator[dict[str, Any]]:
    """Items of `WholeImages`, each in one process (`utils.reading.read_once`)."""
    return read_once(WholeImages(index), positions, workers, title, pinned=torch.cuda.is_available())


def prepare(image: Tensor, network: Network, compute: Compute, sides: Sides) -> Tensor:
    """(3, H, W) uint8 -> normalised float on the device, its long side within the limits."""
    backbone = network.backbone
    image = normalise(image.to(compute.device, non_blocking=True), backbone.mean, backbone.std)
    size = sides.size(image.shape[-2], image.shape[-1])
    if size != image.shape[-2:]:
        image = interpolate(image[None], size, mode="bilinear", align_corners=False, antialias=True)[0]
    return image


def to_seed_grid(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps (K, h, w) of an image of `size` (H, W) on the grid of seeds, (K, ceil(H / 4), ceil(W / 4))."""
    return upsample(maps, seed_size(size[0], size[1]))


def to_seed(maps: Tensor, classes: Sequence[int] | np.ndarray, size: Sequence[int]) -> Seed:
    """Maps (K, h, w) of an image of `size` (H, W) as what a seed file holds."""
    resized = to_seed_grid(maps, size).cpu().numpy()
    return Seed(torch.as_tensor(classes, dtype=torch.int64).numpy(), resized, (int(size[0]), int(size[1])))


def predicted_classes(logits: Tensor, threshold: float) -> list[int]:
    """Classes whose probability is above the threshold, and always the most likely one."""
    probabilities = logits.sigmoid()
    return sorted({int(probabilities.argmax()), *(probabilities > threshold).nonzero().flatten().tolist()})


@dataclass(frozen=True)
class Change:
    """What a step over the data set does to the maps of an image, once its networks are open."""

    network: Network  # whose images it sees
    sides: Sides  # the limits of their long side
    # Image (3, H, W), normalised, classes, and the size of the seed's grid -> what the network gives for them.
    see: Callable[[Tensor, Sequence[int], tuple[int, int]], Any]
    # Maps (K, h, w) on the seed's grid, what `see` has given, and the `ImageHints` or None -> maps (K, *, *).
    change: Callable[..., Tensor]
    # `change` of several images without hints at a time, where a GPU gains by that.
    change_all: Callable[[Sequence[Tensor], Sequence[Any]], list[Tensor]] | None = None

    def apply(self, seed: Seed, pixels: Tensor, compute: Compute, hints: ImageHints | None = None) -> Seed:
        """The seed after the step; `pixels` is its image, (3, H, W) uint8."""
        if not len(seed.classes):
            return seed
        maps = torch.from_numpy(seed.maps)
        if hints is not None:
            maps = hints.hold(maps)
        maps = self.apply_to_maps(maps, seed.classes.tolist(), pixels, compute, hints)
        if hints is not None:
            maps = hints.hold(to_seed_grid(maps.float(), seed.size))
        return to_seed(maps, seed.classes, seed.size)

    @torch.no_grad()
    def apply_to_maps(
        self, maps: Tensor, classes: Sequence[int], pixels: Tensor, compute: Compute, hints: ImageHints | None = None
    ) -> Tensor:
        """Maps (K, h, w) on the seed's grid -> maps (K, *, *) after the step, on the device."""
        with compute.autocast():
            return self.change(maps.to(compute.device), self._see(maps, classes, pixels, compute), hints)

    def apply_all(
        self, seeds: Sequence[Seed], images: Sequence[Tensor], compute: Compute, hints: Sequence[ImageHints | None]
    ) -> list[Seed]:
        """`apply` to several images; those with classes and without hints change together if they can."""
        changed: dict[int, Seed] = {}
        if self.change_all is not None:
            joint = [index for index, seed in enumerate(seeds) if len(seed.classes) and hints[index] is None]
            maps = [torch.from_numpy(seeds[index].maps) for index in joint]
            with compute.autocast(), torch.no_grad():
                pairs = zip(joint, maps, strict=True)
                seen = [self._see(own, seeds[index].classes.tolist(), images[index], compute) for index, own in pairs]
                found = self.change_all([own.to(compute.device) for own in maps], seen)
            for index, own in zip(joint, found, strict=True):
                changed[index] = to_seed(own, seeds[index].classes, seeds[index].size)
        for index in set(range(len(seeds))) - changed.keys():
            changed[index] = self.apply(seeds[index], images[index], compute, hints[index])
        return [changed[index] for index in range(len(seeds))]

    def _see(self, maps: Tensor, classes: Sequence[int], pixels: Tensor, compute: Compute) -> Any:
        image = prepare(pixels, self.network, compute, self.sides)
        return self.see(image, classes, (maps.shape[1], maps.shape[2]))


@dataclass(frozen=True)
class SeedFolders:
    """Images whose seeds are changed, the folders of their seed files before and after, and their hints."""

    index: Index
    source: Path
    target: Path
    hints: Hints = NO_HINTS


def change_seeds(cfg: Config, folders: SeedFolders, change: Change, compute: Compute, title: str) -> int:
    """Write every seed of `source`, changed, into `target`; how many, as those that are there already are not."""
    index, target = folders.index, folders.target
    compute.network(change.network)
    missing = without_file(index, target, ".npz")

    def apply(items: Sequence[dict[str, Any]]) -> None:
        files = [f"{item['name']}.npz" for item in items]
        seeds = [read_seed(folders.source / name, index.class_names) for name in files]
        hints = [image_hints_of(folders.hints, item["name"], seed) for item, seed in zip(items, seeds, strict=True)]
        changed = change.apply_all(seeds, [item["image"] for item in items], compute, hints)
        for name, seed in zip(files, changed, strict=True):
            write_seed(target / name, seed, index.class_names)

    count = TOGETHER.get(compute.device.type, 1) if change.change_all is not None else 1
    items = whole_images(index, missing, cfg.workers, title)
    batches = iter(lambda: list(islice(items, count)), [])  # the next `count` items, until there are none
    compute.do_each(apply, batches)
    return len(missing)


@dataclass(frozen=True)
class Fit:
    """The stage in which a step learns."""

    stage: str  # its name
    title: str  # what it does, for people
    run: Callable[[Config, Run, Path], dict[str, Any]]  # configuration, run, folder of the seeds before -> figures
    reads: tuple[str, ...]  # the parts of the configuration
    writes: str  # the file of the network that it trains
    publishes: bool = True  # whether that network gives masks; it is then copied to where infer.py finds it
    reads_with_hints: tuple[str, ...] = ()  # what it reads, too, where there are hints
    skip: Callable[[Config], str | None] = lambda cfg: None  # why there is nothing to learn, or None


@dataclass(frozen=True)
class Apply:
    """The stage in which a step changes the seeds; `reads` is what it reads beside `Fit.reads`."""

    stage: str
    title: str
    reads: Callable[[Config], tuple[str, ...]]
    open: Callable[[Config, Path, Classifier], Change]  # with the folder of the networks
    files: Callable[[Config, Classifier], tuple[str, ...]]  # networks that it needs in that folder, beside a classifier


@dataclass(frozen=True)
class DatasetStep:
    """A step over the data set: it learns from all seeds, and changes the maps of one image."""

    name: str  # its key in the ablation; its seeds are in the folder `seeds_NAME`
    title: str  # what tables call it
    skip: Callable[[Config], str | None]  # why it is left out under these settings, or None
    apply: Apply
    fit: Fit
    settings: tuple[Part, ...]

    @property
    def folder(self) -> str:
        """The folder of its seeds in a run."""
        return f"seeds_{self.name}"
