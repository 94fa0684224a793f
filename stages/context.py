"""Stages `context` and `part`: learn from all seeds what comes along with each class, and take it out of them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from data.artifacts import Seed, read_seed
from data.dataset import Index
from models.cam import map_size
from models.classifier import Classifier
from models.context import ContextDiscriminant, ContextStatistics, context_stage
from models.ibb import context_features, part_from_context
from stages.files import CLASSIFIER, CONTEXT, PARTED, SEEDS
from stages.lists import list_complete, seed_index
from stages.networks import load_classifier, save_network
from stages.seeds import change_seeds, prepare, to_seed, whole_images
from stages.space import require_network_space
from utils.config import Config
from utils.distributed import total
from utils.engine import choose_compute
from utils.run import Run


def no_context(cfg: Config) -> str | None:
    """Why there is no context to learn, or None if there is."""
    return None if cfg.context.enabled else "context.enabled is false"


def learn_context(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `context.pth`, the classifier with the discriminant of its classes' context, from the seeds of the seed list."""
    index = seed_index(cfg)
    classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
    require_network_space(run.folder, classifier)
    classifier.context = find_discriminant(cfg, classifier, index, run.path(SEEDS))
    run.replace_output()
    save_network(run.path(CONTEXT), "classifier", classifier, index.class_names, cfg, {})
    return {"images": len(index), "classes": classifier.context.known_classes}


def find_discriminant(cfg: Config, classifier: Classifier, index: Index, seeds: Path) -> ContextDiscriminant:
    """What the seeds of a list say of its classes' context; the same in all processes."""
    compute = choose_compute(cfg)
    compute.network(classifier)
    statistics = ContextStatistics(
        classifier.num_classes, classifier.backbone.channels[context_stage(classifier.backbone)]
    )
    for item in whole_images(index, range(len(index)), cfg.workers, "context"):
        seed = read_seed(seeds / f"{item['name']}.npz", index.class_names)
        if not len(seed.classes):
            continue
        image = prepare(item["image"], classifier, compute, cfg.seeds.max_side)
        with compute.autocast():
            unit = context_features(classifier, image)
        maps = torch.from_numpy(seed.maps).to(unit.device)
        maps = interpolate(maps[None], unit.shape[1:], mode="area")[0]
        statistics.add(unit, maps, seed.classes.tolist(), cfg.context.hi, cfg.context.lo)
    for tensor in statistics.tensors():
        tensor.copy_(total(tensor))
    return statistics.solve(cfg.context.shrinkage, cfg.context.least_others)


def part_seeds(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `parted/ID.npz`, the seeds without their classes' context, for the seed list; files that are there are kept."""
    index = seed_index(cfg)
    compute = choose_compute(cfg)
    classifier = load_classifier(run.path(CONTEXT), index.class_names)
    compute.network(classifier)

    def part(seed: Seed, image: Tensor) -> Seed:
        maps = torch.from_numpy(seed.maps).to(image.device)
        maps = interpolate(maps[None], map_size(*image.shape[-2:]), mode="area")[0] if len(maps) else maps
        with compute.autocast():
            parted = part_from_context(classifier, image, maps, seed.classes.tolist())
        return to_seed(parted, seed.classes, seed.size)

    written = change_seeds(
        cfg,
        index,
        run.path(SEEDS),
        run.fresh_folder(PARTED),
        classifier,
        compute,
        cfg.seeds.max_side,
        "part",
        part,
    )
    return {"images": len(index), "written": written}


def parted_complete(cfg: Config, run: Run) -> bool:
    """Whether every image of the list has its file."""
    return list_complete(cfg, run.path(PARTED), ".npz")
