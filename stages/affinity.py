"""Stage `affinity`: confident labels from seeds, and the boundary network that learns from them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from data.artifacts import count_pixels, read_mask, read_seed, write_mask
from data.dataset import Index, TrainingImages
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
from stages.affinity_sheet import AffinityView, draw_affinity
from stages.config import Config
from stages.files import AFFINITY, AFFINITY_SHEET, CONFIDENT
from stages.lists import other_masks, seed_index, without_file
from stages.networks import save_network
from stages.reading import prepare, whole_images
from stages.refinement import refiner
from stages.settings import AffinityTraining, PseudoSettings
from stages.space import require_image_space
from stages.training import plan_of, train_on_crops
from utils.compute import Compute
from utils.distributed import gather, is_main, total
from utils.ignore import IGNORE
from utils.reading import read_once
from utils.run import Run

TEN_ITERATIONS = PseudoSettings(par_iterations=10, crf_iterations=10)  # as published, whatever the pseudo masks take
MOST_SHIFT_IMAGES = 500  # whose mean displacement is taken off; a mean of two numbers needs no more


def train_affinity(cfg: Config, run: Run, seeds: Path) -> dict[str, Any]:
    """Write `confident/ID.png` for the seed list, train on them, write `affinity.pth` and the sheet `affinity.jpg`."""
    index = seed_index(cfg)
    settings, max_side = cfg.affinity_training, cfg.affinity.max_side
    confident = make_confident_labels(cfg, run, index, seeds)
    torch.manual_seed(cfg.seed)
    network = build_affinity_net(cfg.model.backbone, cfg.model.weights, settings.displacement)
    crop = RandomCrop(
        settings.crop_size,
        network.backbone.mean,
        network.backbone.std,
        scale_range=settings.scale_range,
        max_side=max_side,
    )
    plan = plan_of(cfg, "affinity", "affinity", settings.epochs, settings)
    items = TrainingImages(index, crop, run.path(CONFIDENT))
    figures = train_on_crops(run, plan, network, items, partial(pair_losses, radius=settings.radius))
    if settings.displacement:
        _shift(network, index, cfg, plan.compute)
    run.replace_output()
    save_network(run.path(AFFINITY), "affinity", network, index.class_names, cfg, figures)
    if is_main():
        view = AffinityView(network, plan.compute, max_side, settings.crop_size)
        draw_affinity(run.path(AFFINITY_SHEET), view, index, run.path(CONFIDENT))
    return {"images": len(index), **confident, **figures}


def pair_losses(network: nn.Module, batch: dict[str, Any], radius: int) -> dict[str, Tensor]:
    """IRN's losses, weighted, against the confident labels at stride 4, of which a cell has that of its middle pixel."""
    maps = network(batch["image"])
    mask = batch["mask"]
    mask = nn.functional.pad(mask, (0, -mask.shape[-1] % STRIDE, 0, -mask.shape[-2] % STRIDE), value=IGNORE)
    labels = mask[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return weighted_losses(affinity_losses(maps.edge, maps.displacement, labels, radius))


def make_confident_labels(cfg: Config, run: Run, index: Index, seeds: Path) -> dict[str, Any]:
    """Write `confident/ID.png`; files that are there already are kept. Returns which parts are not confident and background."""
    folder = run.fresh_folder(CONFIDENT)
    missing = without_file(index, folder, ".png")
    labels = _ConfidentLabels(index, seeds, cfg.affinity_training)
    require_image_space(folder, index, missing, masks=1)
    counts = count_pixels(read_mask(path, index.class_names) for path in other_masks(index, missing, folder))
    for name, mask in read_once(labels, missing, cfg.workers, "confident labels"):
        write_mask(folder / f"{name}.png", mask.numpy(), class_names=index.class_names)
        counts += count_pixels([mask.numpy()])
    background, ignored, pixels = total(torch.from_numpy(counts)).tolist()
    return {"not_confident_share": ignored / pixels, "background_share": background / pixels} if pixels else {}


class _ConfidentLabels(Dataset):
    """Work items `(name, mask)`, so that loader processes share the work; refinement is the costly part."""

    def __init__(self, index: Index, seeds: Path, settings: AffinityTraining):
        self.index, self.seeds, self.settings = index, seeds, settings

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[str, Tensor]:
        record = self.index.records[position]
        seed = read_seed(self.seeds / f"{record.name}.npz", self.index.class_names)
        settings = self.settings
        refinement = None
        if len(seed.classes):
            refinement = refiner(settings.refine, TEN_ITERATIONS, np.array(record.read_image()))
        return record.name, confident_labels(
            upsample(torch.from_numpy(seed.maps), seed.size),
            torch.from_numpy(seed.classes),
            fg_threshold=settings.fg_threshold,
            bg_threshold=settings.bg_threshold,
            refiner=refinement,
        )


def _shift(network: AffinityNet, index: Index, cfg: Config, compute: Compute) -> None:
    """Take the mean displacement over the training images off, as published."""
    positions = np.unique(np.linspace(0, len(index) - 1, min(len(index), MOST_SHIFT_IMAGES)).round().astype(int))
    means = {}
    for item in whole_images(index, positions.tolist(), cfg.workers, "mean displacement"):
        with compute.autocast():
            image = prepare(item["image"], network, compute, cfg.affinity.max_side)
            field = displacement(network, image, cfg.affinity_training.crop_size)
        means[item["name"]] = field.mean(dim=(1, 2), keepdim=True).cpu()
    of_all = {name: mean for part in gather(means) for name, mean in part.items()}
    # In the list's order, whoever has read them: sums of floats depend on it.
    in_order = [of_all[record.name] for record in index.records if record.name in of_all]
    network.mean_shift.running_mean.copy_(mean_displacement(in_order))
