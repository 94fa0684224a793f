"""Stage `segment`: train DeepLabV3 on the pseudo masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.dataset import TrainingImages
from data.transforms import BackgroundBlur, RandomCrop
from models.batch_norm import share_statistics
from models.segmenter import build_segmenter, segmentation_loss
from stages.config import Config
from stages.files import CLASSIFIER, IBB, PSEUDO, SEGMENTER, trains_on_blurred
from stages.lists import seed_index
from stages.networks import load_classifier, load_segmenter, save_network
from stages.training import plan_of, train_on_crops
from utils.run import Run


@dataclass(frozen=True)
class SegmenterPlan:
    """What differs between the trainings of segmentation networks, beside the settings that they share.

    Attributes:
        stage: whose progress it is.
        epochs: passes over the images.
        masks: the folder of the run with a mask for each image of the seed list; made by a stage, never the truth.
        checkpoint: the file of the run to write.
        blur: of the crops' background.
        start: the network to begin with; without it a new one, as the settings say.
    """

    stage: str
    epochs: int
    masks: str
    checkpoint: str
    blur: BackgroundBlur | None = None
    start: Path | None = None


def train_segmenter(cfg: Config, run: Run) -> dict[str, Any]:
    """Train on the pseudo masks of the seed list, write `segmenter.pth`, return the last epoch's losses."""
    start = run.path(IBB) if cfg.segment.from_ibb and trains_on_blurred(cfg) else None
    return train_on_masks(cfg, run, SegmenterPlan("segment", cfg.segment.epochs, PSEUDO, SEGMENTER, start=start))


def train_on_masks(cfg: Config, run: Run, what: SegmenterPlan) -> dict[str, Any]:
    """Train a segmentation network, as the section `segment` says, and write it.

    Returns:
        The number of images, and the last epoch's losses.
    """
    index = seed_index(cfg)
    settings = cfg.segmenter
    torch.manual_seed(cfg.seed)
    segmenter = build_segmenter(
        cfg.model.backbone, len(index.class_names) + 1, cfg.model.weights, settings.stage, settings.decoder_strides
    )
    if what.start is not None:
        segmenter.load_state_dict(load_segmenter(what.start).state_dict())
    elif settings.from_classifier:
        segmenter.backbone.load_state_dict(load_classifier(run.path(CLASSIFIER)).backbone.state_dict())
    segmenter.backbone.freeze(settings.frozen_stride, settings.frozen_depth)
    share_statistics(segmenter.head)  # the backbone's are frozen
    crop = RandomCrop(
        settings.crop_size,
        segmenter.backbone.mean,
        segmenter.backbone.std,
        scale_range=settings.scale_range,
        color_jitter=settings.color_jitter,
        max_side=settings.max_side,
        blur=what.blur,
    )
    plan = plan_of(cfg, what.stage, "segment", what.epochs, settings)
    items = TrainingImages(index, crop, run.path(what.masks))
    figures = train_on_crops(run, plan, segmenter, items, mask_losses)
    run.replace_output()
    save_network(run.path(what.checkpoint), "segmenter", segmenter, index.class_names, cfg, figures)
    return {"images": len(index), **figures}


def mask_losses(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Cross-entropy against the masks."""
    return {"segmentation": segmentation_loss(network(batch["image"]), batch["mask"])}
