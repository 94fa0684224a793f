"""Stages that read and write many files, against their own work on what lies in memory: python -m benchmarks.masks

    walk       ours: read image and seed, boundaries, random walk, write    limit: boundaries and random walk
    pseudo     ours: read image and seed, PAR, write                        limit: PAR, in as many loader processes
    evaluate   ours: decode masks and truth, count, figures                   limit: decode masks and truth

On generated images of 448 pixels with preset voc12_compact, by turns in one process. Targets: walk and pseudo at least
0.85 of their limit's rate, evaluate 0.8.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from benchmarks.common import CONFIG, compare, no_options, scratch_folder
from data.artifacts import Seed, read_mask, read_seed, seed_size, write_seed
from data.dataset import Index, WholeImages
from data.index import open_index
from evaluation.scores import evaluate_masks
from models.affinity import build_affinity_net
from models.classifier import build_classifier
from models.pseudo import upsample
from stages.config import Config, load_config
from stages.files import AFFINITY
from stages.networks import save_network
from stages.pseudo import write_pseudo_masks
from stages.reading import Change, SeedFolders, change_seeds, prepare
from stages.refinement import mask_of
from stages.walk import open_boundary_walk
from utils.compute import Compute, choose_compute
from utils.run import Run

IMAGES, PAIRS = 24, 3
SETTINGS = ("affinity.kind=learned", "data.kind=shapes", "data.shapes_size=448", f"data.shapes_train={IMAGES}")
EVALUATIONS = 10  # of each mask, so that the timing is of seconds


def main() -> None:
    """The command."""
    no_options(__doc__)
    with scratch_folder() as name:
        folder = Path(name)
        places = [f"run={folder / 'run'}", f"data.root={folder / 'shapes'}"]
        cfg = load_config(CONFIG, "voc12_compact", [*SETTINGS, *places])
        run, index = Run(cfg), open_index(cfg.data, "train", masks=True)
        network = build_affinity_net(cfg.model.backbone, cfg.model.weights, displacement=False)
        save_network(run.path(AFFINITY), "affinity", network, index.class_names, cfg, {})
        source, masks = folder / "seeds", folder / "masks"
        write_random_seeds(index, source)
        compute = choose_compute(cfg)
        walk = open_boundary_walk(cfg, run.folder, build_classifier(cfg.model.backbone, len(index.class_names), "none"))

        targets = iter(folder / f"target{count}" for count in range(100))  # a new one each time: nothing is there yet
        report(
            "walk",
            lambda: change_seeds(cfg, SeedFolders(index, source, next(targets)), walk, compute, "walk"),
            prepared_walk(index, source, walk, compute),
        )
        items = InMemory(cfg, index, source)
        report("pseudo", lambda: write_pseudo_masks(cfg, index, source, next(targets)), lambda: read_all(items, cfg))
        write_pseudo_masks(cfg, index, source, masks)
        again = dataclasses.replace(index, records=index.records * EVALUATIONS)
        report("evaluate", lambda: evaluate_masks(again, masks, cfg.workers), lambda: decode(again, masks))


def report(name: str, ours: Callable[[], Any], limit: Callable[[], Any]) -> None:
    """Time the two by turns, and print a line."""
    seconds, least, ratio = compare(ours, limit, PAIRS)
    print(f"{name:10} {seconds:6.2f} s, its limit {least:6.2f} s: {1 / ratio:.2f} of the limit's rate", flush=True)


def write_random_seeds(index: Index, folder: Path) -> None:
    """Smooth random maps of each image's classes."""
    generator = torch.Generator().manual_seed(0)
    for record in index.records:
        height, width = np.asarray(record.read_image()).shape[:2]
        coarse = torch.rand(1, len(record.labels), 6, 6, generator=generator)
        maps = interpolate(coarse, seed_size(height, width), mode="bilinear", align_corners=False)[0].numpy()
        write_seed(folder / f"{record.name}.npz", Seed(np.array(record.labels, np.int64), maps, (height, width)))


def prepared_walk(index: Index, source: Path, walk: Change, compute: Compute) -> Callable[[], None]:
    """The walk over all images and seeds, which are read here and now."""
    compute.network(walk.network)
    pairs = []
    for item in WholeImages(index):
        image = prepare(item["image"], walk.network, compute, walk.sides)
        pairs.append((image, torch.from_numpy(read_seed(source / f"{item['name']}.npz").maps).to(compute.device)))

    @torch.no_grad()
    def over_all() -> None:
        for image, maps in pairs:
            with compute.autocast():
                walk.change(maps, walk.see(image, [], (maps.shape[1], maps.shape[2])))

    return over_all


class InMemory(torch.utils.data.Dataset):
    """The work of stage `pseudo` on images and seeds that are read already."""

    def __init__(self, cfg: Config, index: Index, source: Path):
        self.settings = cfg.pseudo
        self.inputs = [
            (read_seed(source / f"{record.name}.npz"), np.array(record.read_image())) for record in index.records
        ]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, position: int) -> Tensor:
        seed, image = self.inputs[position]
        maps, classes = upsample(torch.from_numpy(seed.maps), seed.size), torch.from_numpy(seed.classes)
        return mask_of(maps, classes, self.settings, lambda: image)


def read_all(items: InMemory, cfg: Config) -> None:
    """Every item, by as many loader processes as the stage has."""
    for _ in DataLoader(items, batch_size=None, num_workers=cfg.workers):
        pass


def decode(index: Index, masks: Path) -> None:
    """Decode every mask and its truth."""
    for record in index.records:
        assert record.mask is not None
        read_mask(record.mask), read_mask(masks / f"{record.name}.png")


if __name__ == "__main__":
    main()
