"""Stage `segment`: train DeepLabV3 on the pseudo masks."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.dataset import TrainingImages, TrainingSampler
from data.transforms import BackgroundBlur, RandomCrop
from models.batch_norm import share_statistics
from models.segmenter import build_segmenter, segmentation_loss
from stages.files import CLASSIFIER, IBB, PSEUDO, SEGMENTER, trains_on_blurred
from stages.lists import seed_index
from stages.networks import load_classifier, load_segmenter, save_network
from stages.space import require_network_space
from utils.config import Config
from utils.engine import Schedule, choose_compute, train_network
from utils.run import Run


def train_segmenter(cfg: Config, run: Run) -> dict[str, Any]:
    """Train on the pseudo masks of the seed list, write `segmenter.pth`, return the last epoch's losses."""
    start = run.path(IBB) if cfg.segment.from_ibb and trains_on_blurred(cfg) else None
    return train_on_masks(cfg, run, "segment", PSEUDO, SEGMENTER, start=start)


def train_on_masks(
    cfg: Config,
    run: Run,
    stage: str,
    masks: str,
    checkpoint: str,
    *,
    epochs: int | None = None,
    blur: BackgroundBlur | None = None,
    start: Path | None = None,
) -> dict[str, Any]:
    """Train a segmentation network, as the section `segment` says, and write it.

    Args:
        stage: whose progress it is.
        masks: the folder of the run with a mask for each image of the seed list; made by a stage, never the truth.
        checkpoint: the file of the run to write.
        epochs: in place of the section's.
        blur: of the crops' background.
        start: the network to begin with; a new one, as the section says, without it.

    Returns:
        The number of images, and the last epoch's losses.
    """
    index = seed_index(cfg)
    settings = cfg.segment
    compute = choose_compute(cfg)
    torch.manual_seed(cfg.seed)
    segmenter = build_segmenter(
        cfg.model.backbone, len(index.class_names) + 1, cfg.model.weights, settings.stage, settings.decoder_strides
    )
    if start is not None:
        segmenter.load_state_dict(load_segmenter(start, index.class_names).state_dict())
    elif settings.from_classifier:
        classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
        segmenter.backbone.load_state_dict(classifier.backbone.state_dict())
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
        blur=blur,
    )
    schedule = Schedule(
        settings.epochs if epochs is None else epochs,
        settings.lr,
        settings.lr * settings.lr_head_factor,
        settings.momentum,
        settings.weight_decay,
        settings.poly_power,
        section="segment",
    )
    figures = train_network(
        run,
        stage,
        segmenter,
        segmenter.head,
        mask_losses,
        TrainingImages(index, crop, run.path(masks)),
        crop.unpack,
        TrainingSampler(len(index), settings.batch_size, cfg.seed),
        schedule,
        compute,
        cfg.workers,
        cfg.seed,
    )
    run.replace_output()
    save_network(run.path(checkpoint), "segmenter", segmenter, index.class_names, cfg, figures)
    return {"images": len(index), **figures}


def mask_losses(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Cross-entropy against the masks."""
    return {"segmentation": segmentation_loss(network(batch["image"]), batch["mask"])}
