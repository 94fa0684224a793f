"""Stage `cam`: train the classifier on image-level labels, and see whether it has learned its classes."""

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from data.dataset import Index, TrainingImages, hold_back
from data.index import open_index
from data.transforms import RandomCrop
from models.classifier import Classifier, StageLogits, build_classifier
from models.layers import share_statistics
from stages.files import CLASSIFIER
from stages.learned import classifier_warnings, tell, together, what_classes_learned
from stages.networks import plan_of, save_network, train_on_crops
from stages.settings import Config
from utils.compute import choose_compute
from utils.distributed import total
from utils.errors import UserError
from utils.run import Run

TOO_FEW = (
    "no class has enough images to hold any back (cam.held_back={:g}), so nothing tells whether the classes have been "
    "learned: look at the seeds in the report, and give at least ten images of each class"
)
MOST_CLASS_WEIGHT = 30.0  # or one image of a class in a thousand would be all that counts


def train_classifier(cfg: Config, run: Run) -> dict[str, Any]:
    """Train on `data.train_list`, write `classifier.pth`; the last epoch's losses and what has been learned."""
    index = open_index(cfg.data, cfg.data.train_list)
    warnings = check_labels(index, cfg.data.train_list, cfg.cam_check.must_learn and cfg.cam.held_back > 0)
    warned = tell(run, "cam", warnings)
    trained, held = hold_back(index, cfg.cam.held_back, cfg.seed)
    settings, model = cfg.cam, cfg.model
    torch.manual_seed(cfg.seed)
    names = index.class_names
    classifier = build_classifier(model.backbone, len(names), model.weights, class_names=names, head=cfg.head)
    backbone, jitter = classifier.backbone, settings.color_jitter
    backbone.freeze(settings.frozen_stride, settings.frozen_depth)
    share_statistics(classifier.norms)  # the backbone's are frozen
    classifier.stage_biases.requires_grad_(settings.stage_loss > 0)  # else nothing reads them
    size, resize = settings.crop_size, settings.resize_long
    crop = RandomCrop(size, backbone.mean, backbone.std, resize_long=resize, color_jitter=jitter)
    plan = plan_of(cfg, "cam", "cam", settings.epochs, settings)
    weights = class_weights(trained) if settings.class_weights != "none" else None
    network: nn.Module = classifier
    losses = partial(classification_losses, weights=weights)
    if settings.stage_loss and len(classifier.sides):
        network, losses = StageLogits(classifier), partial(stage_losses, weights=weights, weight=settings.stage_loss)
    figures = train_on_crops(run, plan, network, TrainingImages(trained, crop), losses)
    classifier.eval()
    run.replace_output()
    save_network(run.path(CLASSIFIER), "classifier", classifier, names, cfg, figures)
    return {"images": len(trained), **figures, **warned, **check_learned(cfg, run, classifier, held)}


def classification_losses(
    network: nn.Module, batch: dict[str, Any], weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Multi-label soft margin loss on the image's logits, the mean over classes and images; a process gives its part.

    Images that have a class count `weights` (C,) times; None: as much as the others.
    """
    return {"classification": _label_loss(network(batch["image"]), batch["labels"], weights)}


def stage_losses(network: nn.Module, batch: dict[str, Any], weights: Tensor | None, weight: float) -> dict[str, Tensor]:
    """`classification_losses` of `StageLogits`, and `weight` times the sum of those of each backbone stage alone."""
    together, *alone = network(batch["image"]).unbind()
    each = torch.stack([_label_loss(logits, batch["labels"], weights) for logits in alone])
    return {"classification": _label_loss(together, batch["labels"], weights), "stages": weight * each.sum()}


def _label_loss(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    images = labels.new_full((), len(labels))
    own_share = images / total(images)
    if weights is None:
        return own_share * nn.functional.multilabel_soft_margin_loss(logits, labels)
    return own_share * nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights.to(logits))


def class_weights(index: Index) -> Tensor:
    """(C,) images without a class to images with it, so that both count the same; between 1 and `MOST_CLASS_WEIGHT`."""
    counts = np.array(list(index.label_counts().values()))
    return torch.tensor((len(index) - counts) / np.maximum(counts, 1), dtype=torch.float32).clamp(1, MOST_CLASS_WEIGHT)


def check_labels(index: Index, list_name: str, must_learn: bool) -> list[str]:
    """Refuse a list in which no image has a label; a warning if all show a class, refused if all show the same."""
    if not any(record.labels for record in index.records):
        remedy = "data.labels to their file, or data.train_list to another list"
        raise UserError(f"no image of list '{list_name}' has a label to learn from; set {remedy}")
    everywhere = set.intersection(*(set(record.labels) for record in index.records))
    if not everywhere:
        return []
    is_same = len({record.labels for record in index.records}) == 1
    names = ", ".join(index.class_names[label] for label in sorted(everywhere))
    shown = f"the same: {names}" if is_same else names
    warning = (
        f"every image of list '{list_name}' shows {shown}. A class is learned from images with "
        "it and without it; add images of none (a sub-folder background, or an empty label) or of other classes"
    )
    if is_same and must_learn:
        raise UserError(f"{warning}; --set cam.must_learn=false goes on all the same")
    return [warning]


def check_learned(cfg: Config, run: Run, classifier: Classifier, held: Index) -> dict[str, Any]:
    """Log what the classifier knows of the images held back; `UserError` if nothing, where `cam.must_learn` is set."""
    if not len(held):
        return tell(run, "cam", [TOO_FEW.format(cfg.cam.held_back)] if cfg.cam.held_back else [])
    rows = what_classes_learned(cfg, classifier, held, choose_compute(cfg))
    run.log(f"cam       average precision of {len(held)} images held back: {'; '.join(map(str, rows))}")
    warned = tell(run, "cam", classifier_warnings(rows))
    every = together(rows, len(held))
    learned = [row for row in [*rows, every] if row is not None and row.is_learned]
    if every is not None and every.can_tell and not learned and cfg.cam_check.must_learn:
        found = "; ".join(str(row) for row in rows if row.images)
        raise UserError(
            f"stage 'cam' has learned nothing that can be told from chance, by average precision of {len(held)} images "
            f"held back ({found}); check the labels with python -m data.check, give more images, or a higher "
            "cam.least_steps or cam.held_back; --set cam.must_learn=false goes on all the same"
        )
    precisions = {f"ap {row.name}": row.precision for row in rows if row.images}
    return {**precisions, **warned}
