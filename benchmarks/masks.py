"""Stages that read and write many files, against their own work on what lies in memory: python -m benchmarks.masks

    walk       ours: read image and seed, boundaries, random walk, write    limit: boundaries and random walk
    pseudo     ours: read image and seed, PAR, write                        limit: PAR, in as many loader processes
    evaluate   ours: decode masks and truth, count, figures                   limit: decode masks and truth

On generated images of 448 pixels with preset voc12_compact, by turns in one process, so that other work on the
machine slows both.
Targets: walk and pseudo at least 0.85 of their limit's rate, evaluate 0.8.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from benchmarks.common import compare, no_options, scratch_folder
from data.artifacts import Seed, read_mask, read_seed, seed_size, write_seed
from data.dataset import Index, WholeImages
from data.images import read_image
from data.index import open_index
from evaluation.scores import evaluate_masks
from models.affinity import build_affinity_net
from models.pseudo import pseudo_mask, upsample
from stages.config import Config, load_config
from stages.files import AFFINITY
from stages.networks import save_network
from stages.pseudo import write_pseudo_masks
from stages.reading import prepare
from stages.refinement import refiner
from stages.walk import walk_over_boundaries, walk_seeds
from utils.compute import choose_compute
from utils.run import Run

IMAGES, PAIRS = 24, 3
TIMES_MEASURED = 10  # how often each mask is measured, so that the timing is of seconds


def main() -> None:
    no_options(__doc__)
    with scratch_folder() as name:
        folder = Path(name)
        settings = [
            f"run={folder / 'run'}",
            f"data.root={folder / 'shapes'}",
            "affinity.kind=learned",
            "data.kind=shapes",
            "data.shapes_size=448",
            f"data.shapes_train={IMAGES}",
        ]
        cfg = load_config(Path(__file__).parent.parent / "config.yaml", "voc12_compact", settings)
        run, index = Run(cfg), open_index(cfg.data, "train", masks=True)
        network = build_affinity_net(cfg.model.backbone, cfg.model.weights, displacement=False)
        save_network(run.path(AFFINITY), "affinity", network, index.class_names, cfg, {})
        source, masks = folder / "seeds", folder / "masks"
        write_random_seeds(index, source)

        targets = iter(folder / f"target{number}" for number in range(100))  # a new one each time: nothing is there yet
        bare_walk = prepared_walk(cfg, index, source)
        report("walk", lambda: walk_seeds(cfg, run, index, source, next(targets)), bare_walk)
        items = InMemory(cfg, index, source)
        report("pseudo", lambda: write_pseudo_masks(cfg, index, source, next(targets)), lambda: read_all(items, cfg))
        write_pseudo_masks(cfg, index, source, masks)
        again = dataclasses.replace(index, records=index.records * TIMES_MEASURED)
        report("evaluate", lambda: evaluate_masks(again, masks, cfg.workers), lambda: decode(again, masks))


def report(name: str, ours: Callable[[], Any], limit: Callable[[], Any]) -> None:
    """Time the two by turns, and print a line."""
    seconds, least, ratio = compare(ours, limit, PAIRS)
    print(f"{name:10} {seconds:6.2f} s, its limit {least:6.2f} s: {1 / ratio:.2f} of the limit's rate", flush=True)


def write_random_seeds(index: Index, folder: Path) -> None:
    """Smooth random maps of each image's classes."""
    generator = torch.Generator().manual_seed(0)
    for record in index.records:
        height, width = np.asarray(read_image(record.image)).shape[:2]
        coarse = torch.rand(1, len(record.labels), 6, 6, generator=generator)
        maps = interpolate(coarse, seed_size(height, width), mode="bilinear", align_corners=False)[0].numpy()
        write_seed(folder / f"{record.name}.npz", Seed(np.array(record.labels, np.int64), maps, (height, width)))


def prepared_walk(cfg: Config, index: Index, source: Path) -> Callable[[], None]:
    """The walk over all images and seeds, which are read here and now."""
    compute = choose_compute(cfg)
    network = compute.network(build_affinity_net(cfg.model.backbone, cfg.model.weights, displacement=False)).eval()
    pairs: list[tuple[Tensor, Tensor]] = []
    for item in WholeImages(index):
        image = prepare(item["image"], network, compute, cfg.affinity.max_side)
        maps = torch.from_numpy(read_seed(source / f"{item['name']}.npz").maps).to(compute.device)
        cells = [-(-side // 4) for side in image.shape[-2:]]
        pairs.append((image, interpolate(maps[None], cells, mode="bilinear", align_corners=False, antialias=True)[0]))

    def walk() -> None:
        for image, maps in pairs:
            walk_over_boundaries(network, image, maps, cfg.affinity)

    return walk


class InMemory(torch.utils.data.Dataset):
    """The work of stage `pseudo` on images and seeds that are read already."""

    def __init__(self, cfg: Config, index: Index, source: Path):
        self.settings = cfg.pseudo
        self.inputs = [
            (read_seed(source / f"{record.name}.npz"), np.array(read_image(record.image))) for record in index.records
        ]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, number: int) -> Tensor:
        (seed, image), settings = self.inputs[number], self.settings
        return pseudo_mask(
            upsample(torch.from_numpy(seed.maps), seed.size),
            torch.from_numpy(seed.classes),
            background=settings.background,
            threshold=settings.threshold,
            power=settings.power,
            ignore_band=settings.ignore_band,
            refiner=refiner(settings.refine, settings, image),
        )


def read_all(items: InMemory, cfg: Config) -> None:
    """Every item, by as many loader processes as the stage has."""
    for _ in DataLoader(items, batch_size=None, num_workers=cfg.workers):
        pass


def decode(index: Index, masks: Path) -> None:
    """Decode every mask and its truth."""
    for truth, mask in paths(index, masks):
        read_mask(truth), read_mask(mask)


def paths(index: Index, masks: Path) -> Iterator[tuple[Path, Path]]:
    for record in index.records:
        assert record.mask is not None
        yield record.mask, masks / f"{record.name}.png"


if __name__ == "__main__":
    main()
