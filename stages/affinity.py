"""Stage `affinity`: confident labels from seeds, and the boundary network that learns from them."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from data.artifacts import IGNORE, read_seed, write_mask
from data.dataset import Index, TrainingPictures, TrainingSampler
from data.images import read_image
from data.index import class_palette
from data.transforms import RandomCrop
from models.affinity import (
    STRIDE,
    AffinityNet,
    affinity_losses,
    build_affinity_net,
    displacement,
    mean_displacement,
    weighted_losses,
)
from models.pseudo import confident_labels, upsample
from models.refine import has_dense_crf
from stages.affinity_sheet import draw_affinity
from stages.lists import seed_index
from stages.networks import save_network
from stages.refinement import refiner
from stages.seeds import FOLDER as SEEDS
from stages.seeds import prepare, whole_pictures
from utils.config import Config, PseudoConfig
from utils.engine import Compute, Schedule, choose_compute, progress, train_network
from utils.files import is_whole
from utils.run import Run

FILE, SHEET, FOLDER = "affinity.pth", "affinity.jpg", "confident"
TEN_ITERATIONS = PseudoConfig(par_iterations=10, crf_iterations=10)  # as published, whatever the pseudo masks take
MOST_SHIFT_PICTURES = 500  # whose mean displacement is taken off; a mean of two numbers needs no more


def train_affinity(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `confident/ID.png` for the seed list, train on them, write `affinity.pth` and the sheet `affinity.jpg`."""
    index = seed_index(cfg)
    settings = cfg.affinity
    sure = make_confident_labels(cfg, run, index)
    compute = choose_compute(cfg)
    torch.manual_seed(cfg.seed)
    network = build_affinity_net(cfg.model.backbone, cfg.model.weights, settings.displacement)
    compute.network(network)
    crop = RandomCrop(
        settings.crop_size, network.backbone.mean, network.backbone.std,
        scale_range=settings.scale_range, max_side=settings.max_side,
    )  # fmt: skip
    schedule = Schedule(
        settings.epochs, settings.lr, settings.lr * settings.lr_displacement_factor,
        settings.momentum, settings.weight_decay, settings.poly_power,
    )  # fmt: skip
    figures = train_network(
        run, "affinity", network, network.displacement_branch, partial(pair_losses, radius=settings.radius),
        TrainingPictures(index, crop, run.path(FOLDER)), TrainingSampler(len(index), settings.batch_size, cfg.seed),
        schedule, compute, cfg.workers, cfg.seed,
    )  # fmt: skip
    if settings.displacement:
        _shift(network, index, cfg, compute)
    run.replace_output()
    save_network(run.path(FILE), "affinity", network, index.class_names, cfg, figures)
    draw_affinity(run.path(SHEET), network, index, run.path(FOLDER), compute, settings.max_side, settings.crop_size)
    return {"pictures": len(index), **sure, **figures}


def pair_losses(network: nn.Module, batch: dict[str, Any], radius: int) -> dict[str, Tensor]:
    """IRN's losses, weighted, against the confident labels at stride 4, of which a cell has that of its middle pixel."""
    maps = network(batch["image"])
    mask = batch["mask"]
    mask = nn.functional.pad(mask, (0, -mask.shape[-1] % STRIDE, 0, -mask.shape[-2] % STRIDE), value=IGNORE)
    labels = mask[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return weighted_losses(affinity_losses(maps.edge, maps.displacement, labels, radius))


def make_confident_labels(cfg: Config, run: Run, index: Index) -> dict[str, Any]:
    """Write `confident/ID.png`; files that are there already are kept. Returns the shares of what is sure and not."""
    folder = run.fresh_folder(FOLDER)
    kind = confident_refinement(cfg, run)
    missing = [number for number, record in enumerate(index.records) if not is_whole(folder / f"{record.name}.png")]
    labels = _ConfidentLabels(index, missing, run.path(SEEDS), cfg, kind)
    loader = DataLoader(labels, batch_size=None, num_workers=min(cfg.workers, len(missing)))
    palette = class_palette(cfg.data, index.class_names)
    unsure = ground = pixels = 0
    for name, mask in progress(loader, len(missing), "confident labels"):
        write_mask(folder / f"{name}.png", mask.numpy(), palette)
        unsure += int((mask == IGNORE).sum())
        ground += int((mask == 0).sum())
        pixels += mask.numel()
    return {"unsure_share": unsure / pixels, "background_share": ground / pixels} if pixels else {}


def confident_refinement(cfg: Config, run: Run) -> str:
    """`affinity.refine` with `auto` decided; said once where it is not the published one."""
    if cfg.affinity.refine != "auto":
        return cfg.affinity.refine
    if has_dense_crf():
        return "crf"
    run.log(
        "affinity  confident labels are refined by PAR; for the dense CRF, as published: pip install -r requirements-extras.txt"
    )
    return "par"


class _ConfidentLabels(Dataset):
    """Work items `(name, mask)`, so that loader processes share the work; refinement is the costly part."""

    def __init__(self, index: Index, positions: list[int], seeds: Any, cfg: Config, kind: str):
        self.index, self.positions, self.seeds, self.cfg, self.kind = index, positions, seeds, cfg, kind

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> tuple[str, Tensor]:
        record = self.index.records[self.positions[number]]
        seed = read_seed(self.seeds / f"{record.name}.npz")
        settings = self.cfg.affinity
        refinement = None
        if len(seed.classes):
            refinement = refiner(self.kind, TEN_ITERATIONS, np.array(read_image(record.image)))
        return record.name, confident_labels(
            upsample(torch.from_numpy(seed.maps), seed.size), torch.from_numpy(seed.classes),
            fg_threshold=settings.fg_threshold, bg_threshold=settings.bg_threshold, refiner=refinement,
        )  # fmt: skip


def _shift(network: AffinityNet, index: Index, cfg: Config, compute: Compute) -> None:
    """Take the mean displacement over the training pictures off, as published."""
    positions = np.unique(np.linspace(0, len(index) - 1, min(len(index), MOST_SHIFT_PICTURES)).round().astype(int))
    pictures = whole_pictures(index, positions.tolist(), cfg.workers, "mean displacement")

    def displacements() -> Any:
        for item in pictures:
            with compute.autocast():
                image = prepare(item["image"], network, compute, cfg.affinity.max_side)
                yield displacement(network, image, cfg.affinity.crop_size)

    network.mean_shift.running_mean.copy_(mean_displacement(displacements()))
