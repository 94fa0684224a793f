"""Stage `affinity`: confident labels from seeds, and the boundary network that learns from them."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.dataset import Index, Record, TrainingImages
from data.hints import open_hints
from data.inspection import spread
from data.transforms import RandomCrop
from models.affinity import STRIDE, AffinityNet, build_affinity_net, displacement
from models.hints import ImageHints
from models.pairs import affinity_losses
from models.pseudo import confident_labels
from stages.affinity_sheet import draw_affinity
from stages.files import AFFINITY, CONFIDENT, seed_index
from stages.networks import plan_of, save_network, train_on_crops
from stages.pseudo import SeedMasks, refiner, write_masks
from stages.reading import prepare, whole_images
from stages.settings import Config, PseudoSettings
from utils.compute import Compute
from utils.distributed import gather, is_main
from utils.ignore import IGNORE
from utils.optimisation import Optimisation
from utils.run import Run
from utils.settings import Problem, check_order, setting

TEN_ITERATIONS = PseudoSettings(par_iterations=10, crf_iterations=10)  # as published, whatever the pseudo masks take
MOST_SHIFT_IMAGES = 500  # whose mean displacement is subtracted


@dataclass(frozen=True)
class AffinityTraining(Optimisation):
    """Stage `affinity`: IRN's confident labels and boundary network."""

    epochs: int = setting(3, low=1, help="IRN: 3")
    batch_size: int = setting(32, low=1, help="IRN: 32")
    fg_threshold: float = setting(0.30, low=0, high=1, help="confident foreground of a seed (IRN: 0.30)")
    bg_threshold: float = setting(0.05, low=0, high=1, help="confident background (IRN: 0.05)")
    refine: str = setting("auto", help="crf, par, none; auto: crf where pydensecrf2 is installed, else par")
    displacement: bool = setting(False, help="also train the branch for instances, at lr times lr_head_factor")
    crop_size: int = setting(512, low=32, help="IRN: 512")
    scale_range: tuple[float, float] = setting(
        (0.5, 1.5), low=0.1, high=8, help="random size factor before the crop, as IRN's"
    )
    radius: int = setting(10, low=2, high=50, help="of the pairs that are learned from, in cells of 4 pixels (IRN: 10)")

    def check(self) -> Problem | None:
        """The confident background must not be above the confident foreground."""
        return check_order(("affinity.bg_threshold", self.bg_threshold), ("affinity.fg_threshold", self.fg_threshold))


def train_affinity(cfg: Config, run: Run, seeds: Path) -> dict[str, Any]:
    """Write `confident/ID.png` for the seed list, train on them, write `affinity.pth` and the sheet `affinity.jpg`."""
    index = seed_index(cfg)
    settings, sides = cfg.part("affinity_training"), cfg.part("affinity")
    masks = SeedMasks(index, seeds, partial(_confident_labels, settings), open_hints(cfg.data, index))
    write_masks(masks, run.fresh_folder(CONFIDENT), cfg.workers, "confident labels")
    torch.manual_seed(cfg.seed)
    network = build_affinity_net(cfg.model.backbone, cfg.model.weights, settings.displacement)
    size, backbone = settings.crop_size, network.backbone
    crop = RandomCrop(size, backbone.mean, backbone.std, scale_range=settings.scale_range, sides=sides)
    plan = plan_of(cfg, "affinity", "affinity", settings.epochs, settings)
    items = TrainingImages(index, crop, run.path(CONFIDENT))
    figures = train_on_crops(run, plan, network, items, partial(pair_losses, radius=settings.radius))
    if settings.displacement:
        _shift(network, index, cfg, plan.compute)
    run.replace_output()
    save_network(run.path(AFFINITY), "affinity", network, index.class_names, cfg, figures)
    if is_main():
        draw_affinity(cfg, network, plan.compute, index, run)
    return {"images": len(index), **figures}


def pair_losses(network: nn.Module, batch: dict[str, Any], radius: int) -> dict[str, Tensor]:
    """IRN's losses, weighted, against the confident labels at stride 4; a cell has the label of its middle pixel."""
    maps = network(batch["image"])
    mask = batch["mask"]
    mask = nn.functional.pad(mask, (0, -mask.shape[-1] % STRIDE, 0, -mask.shape[-2] % STRIDE), value=IGNORE)
    labels = mask[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    return affinity_losses(maps.edge, maps.displacement, labels, radius)


def _confident_labels(
    settings: AffinityTraining, record: Record, maps: Tensor, classes: Tensor, hints: ImageHints | None
) -> Tensor:
    refinement = None
    if hints is not None:
        maps = hints.hold(maps)
    if len(classes):
        refinement = refiner(settings.refine, TEN_ITERATIONS, np.array(record.read_image()))
    thresholds = {name: getattr(settings, name) for name in ("fg_threshold", "bg_threshold")}
    labels = confident_labels(maps, classes, refiner=refinement, **thresholds)
    return labels if hints is None else hints.write_into(labels)


def _shift(network: AffinityNet, index: Index, cfg: Config, compute: Compute) -> None:
    """Subtract the mean displacement over the training images from now on, as published; each image counts alike."""
    means = {}
    for item in whole_images(index, spread(range(len(index)), MOST_SHIFT_IMAGES), cfg.workers, "mean displacement"):
        with compute.autocast():
            image = prepare(item["image"], network, compute, cfg.part("affinity"))
            field = displacement(network, image, cfg.part("affinity_training").crop_size)
        means[item["name"]] = field.mean(dim=(1, 2)).cpu()
    of_all = {name: mean for part in gather(means) for name, mean in part.items()}
    # In the list's order, whichever process has read them: sums of floats depend on it.
    in_order = [of_all[record.name] for record in index.records if record.name in of_all]
    network.mean_shift.get_buffer("running_mean").copy_(torch.stack(in_order).mean(dim=0))
