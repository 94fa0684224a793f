"""Stage `segment`: train DeepLabV3 on the pseudo masks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data.artifacts import count_pixels, read_mask
from data.dataset import Index, TrainingImages
from data.hints import open_hints
from data.inspection import spread
from data.transforms import BackgroundBlur, RandomCrop
from models.backbone import open_weights
from models.hints import hint_loss
from models.layers import share_statistics
from models.segmenter import Segmenter, build_segmenter, dice_loss, fill_head, segmentation_loss
from models.weights import Weights
from stages.files import CLASSIFIER, IBB, PSEUDO, SEGMENTER, seed_index, trains_on_blurred
from stages.learned import MOST, loss_warnings, mask_warnings, tell
from stages.networks import load_classifier, load_segmenter, plan_of, save_network, train_on_crops
from stages.settings import Config
from utils.compute import choose_compute
from utils.distributed import barrier, from_main
from utils.engine import Watch
from utils.run import Run

Score = Callable[[Segmenter], float]
MOST_OBJECT_WEIGHT = 10.0


@dataclass(frozen=True)
class SegmenterPlan:
    """What differs between the trainings of segmentation networks, beside the settings that they share."""

    stage: str  # whose progress it is
    epochs: int
    masks: str  # the folder of the run with a mask for each image of the seed list; made by a stage, never the truth
    checkpoint: str  # the file of the run to write
    blur: BackgroundBlur | None = None  # of the crops' background
    start: Path | None = None  # the network to begin with; without it a new one, as the settings say
    watch: Watch | None = None


def train_segmenter(validation: Callable[[Config], Score], cfg: Config, run: Run) -> dict[str, Any]:
    """Train on the pseudo masks of the seed list, write `segmenter.pth`, return the last epoch's losses.

    `validation` opens the validation list and its masks where `segment.validate_every` asks for it.
    """
    start = run.path(IBB) if cfg.segment.from_ibb and trains_on_blurred(cfg) else None
    watch: Watch | None = None
    if every := cfg.segment_watch.validate_every:
        watch = Watch("miou", validation(cfg), every, keep_best=cfg.segment_watch.keep == "best")
    plan = SegmenterPlan("segment", cfg.segment.epochs, PSEUDO, SEGMENTER, start=start, watch=watch)
    figures = train_on_masks(cfg, run, plan)
    if watch is not None and watch.keep_best:
        chosen = (
            f"the network of epoch {watch.best_epoch} is kept, with mIoU {100 * watch.best:.1f} on list "
            f"'{cfg.data.val_list}': this list has been used to choose, so figures on it are too high (segment.keep)"
        )
        figures |= {"kept_epoch": watch.best_epoch, "chosen": [chosen]}
        run.log(f"segment   {chosen}")
    barrier()  # the main process has written it
    segmenter, compute = load_segmenter(run.path(SEGMENTER)), choose_compute(cfg)
    compute.network(segmenter)
    warnings = figures.pop("warnings") + mask_warnings(cfg, seed_index(cfg), segmenter, compute)
    return figures | tell(run, "segment", warnings)


def train_on_masks(cfg: Config, run: Run, what: SegmenterPlan) -> dict[str, Any]:
    """Train a network as the section `segment` says, and write it; returns the last epoch's losses, and `warnings`."""
    index = seed_index(cfg)
    settings = cfg.segmenter
    torch.manual_seed(cfg.seed)
    segmenter = build_segmenter(
        cfg.model.backbone, len(index.class_names) + 1, cfg.model.weights, settings.stage, settings.decoder_strides
    )
    if what.start is not None:
        segmenter.load_state_dict(load_segmenter(what.start, index.class_names).state_dict())
    elif settings.from_classifier:
        classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
        segmenter.backbone.load_state_dict(classifier.backbone.state_dict())
    if what.start is None and isinstance(weights := open_weights(cfg.model.weights), Weights):
        count = fill_head(segmenter, weights, index.class_names)
        entries = len(segmenter.head.state_dict())
        run.log(f"{what.stage:9} the head begins with {count} of its {entries} entries in {weights.path}")
    segmenter.backbone.freeze(settings.frozen_stride, settings.frozen_depth)
    share_statistics(segmenter.head)  # the backbone's are frozen
    size, mean, std = settings.crop_size, segmenter.backbone.mean, segmenter.backbone.std
    scales, jitter = settings.scale_range, settings.color_jitter
    crop = RandomCrop(size, mean, std, scale_range=scales, color_jitter=jitter, sides=settings, blur=what.blur)
    plan = replace(plan_of(cfg, what.stage, "segment", what.epochs, settings), watch=what.watch)
    hints = open_hints(cfg.data, index)
    items = TrainingImages(index, crop, run.path(what.masks), hints.values_of if hints else None)
    weight = from_main(lambda: object_weight(cfg, index, run.path(what.masks)))
    if weight != 1:
        run.log(f"{what.stage:9} a pixel of an object counts as {weight:.1f} of the background")
    hint_weight = cfg.hint_loss.hint_weight if hints else 0.0  # without hints nothing depends on the setting
    losses = partial(mask_losses, object_weight=weight, dice=settings.dice, hint_weight=hint_weight)
    figures = train_on_crops(run, plan, segmenter, items, losses)
    run.replace_output()
    save_network(run.path(what.checkpoint), "segmenter", segmenter, index.class_names, cfg, figures)
    some = (read_mask(run.path(what.masks) / f"{record.name}.png") for record in spread(index.records, MOST))
    warnings = from_main(lambda: loss_warnings(figures["segmentation"], some, weight))  # one process reads them
    return {"images": len(index), **figures, "warnings": warnings}


def object_weight(cfg: Config, index: Index, folder: Path) -> float:
    """`segment.object_weight`, or where it is 0, half the root of background to object pixels in the masks, 1..10."""
    if cfg.segmenter.object_weight:
        return cfg.segmenter.object_weight
    paths = (folder / f"{record.name}.png" for record in index.records)
    background, ignored, pixels = count_pixels(read_mask(path) for path in paths).tolist()
    objects = max(1, pixels - background - ignored)
    return min(MOST_OBJECT_WEIGHT, max(1.0, (background / objects) ** 0.5 / 2))


def mask_losses(
    network: nn.Module, batch: dict[str, Any], object_weight: float = 1.0, dice: float = 0.0, hint_weight: float = 1.0
) -> dict[str, Tensor]:
    """Cross-entropy against the masks, the loss of Dice where it has a weight, and that of hints."""
    logits, mask = network(batch["image"]), batch["mask"]
    losses = {"segmentation": segmentation_loss(logits, mask, object_weight=object_weight)}
    if dice:
        losses["dice"] = dice * dice_loss(logits, mask)
    if "hints" in batch:
        losses["hints"] = hint_weight * hint_loss(logits, batch["hints"])
    return losses
