"""Stage `segment`: train DeepLabV3 on the pseudo masks."""

from typing import Any

import torch
from torch import Tensor, nn

from data.dataset import TrainingPictures, TrainingSampler
from data.transforms import RandomCrop
from models.batch_norm import share_statistics
from models.segmenter import build_segmenter, segmentation_loss
from stages.files import CLASSIFIER, PSEUDO, SEGMENTER
from stages.lists import seed_index
from stages.networks import load_classifier, save_network
from stages.space import require_network_space
from utils.config import Config
from utils.engine import Schedule, choose_compute, train_network
from utils.run import Run


def train_segmenter(cfg: Config, run: Run) -> dict[str, Any]:
    """Train on the pseudo masks of the seed list, write `segmenter.pth`, return the last epoch's losses."""
    index = seed_index(cfg)
    settings = cfg.segment
    compute = choose_compute(cfg)
    torch.manual_seed(cfg.seed)
    segmenter = build_segmenter(cfg.model.backbone, len(index.class_names) + 1, cfg.model.weights, settings.stage)
    if settings.from_classifier:
        segmenter.backbone.load_state_dict(load_classifier(run.path(CLASSIFIER)).backbone.state_dict())
    segmenter.backbone.freeze(settings.frozen_stride)
    share_statistics(segmenter.head)  # the backbone's are frozen
    compute.network(segmenter)
    require_network_space(run.folder, segmenter)
    crop = RandomCrop(
        settings.crop_size,
        segmenter.backbone.mean,
        segmenter.backbone.std,
        scale_range=settings.scale_range,
        color_jitter=settings.color_jitter,
        max_side=settings.max_side,
    )
    schedule = Schedule(
        settings.epochs,
        settings.lr,
        settings.lr * settings.lr_head_factor,
        settings.momentum,
        settings.weight_decay,
        settings.poly_power,
    )
    sampler = TrainingSampler(len(index), settings.batch_size, cfg.seed)
    figures = train_network(
        run,
        "segment",
        segmenter,
        segmenter.head,
        mask_losses,
        TrainingPictures(index, crop, run.path(PSEUDO)),
        sampler,
        schedule,
        compute,
        cfg.workers,
        cfg.seed,
    )
    run.replace_output()
    save_network(run.path(SEGMENTER), "segmenter", segmenter, index.class_names, cfg, figures)
    return {"pictures": len(index), **figures}


def mask_losses(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Cross-entropy against the pseudo masks."""
    return {"segmentation": segmentation_loss(network(batch["image"]), batch["mask"])}
