"""Stage `cam`: train the classifier on image-level labels."""

from typing import Any

import torch
from torch import Tensor, nn

from data.dataset import Index, TrainingImages
from data.index import open_index
from data.transforms import RandomCrop
from models.classifier import build_classifier
from stages.config import Config
from stages.files import CLASSIFIER
from stages.networks import save_network
from stages.training import plan_of, train_on_crops
from utils.distributed import total
from utils.errors import UserError
from utils.run import Run


def train_classifier(cfg: Config, run: Run) -> dict[str, Any]:
    """Train on `data.train_list`, write `classifier.pth`, return the last epoch's losses."""
    index = open_index(cfg.data, cfg.data.train_list)
    check_labels(index, cfg.data.train_list)
    settings, model = cfg.cam, cfg.model
    torch.manual_seed(cfg.seed)
    classifier = build_classifier(model.backbone, len(index.class_names), model.weights, class_names=index.class_names)
    classifier.backbone.freeze(settings.frozen_stride, settings.frozen_depth)
    crop = RandomCrop(
        settings.crop_size,
        classifier.backbone.mean,
        classifier.backbone.std,
        resize_long=settings.resize_long,
        color_jitter=settings.color_jitter,
    )
    plan = plan_of(cfg, "cam", "cam", settings.epochs, settings)
    figures = train_on_crops(run, plan, classifier, TrainingImages(index, crop), classification_losses)
    run.replace_output()
    save_network(run.path(CLASSIFIER), "classifier", classifier, index.class_names, cfg, figures)
    return {"images": len(index), **figures}


def classification_losses(network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Multi-label soft margin loss on the image's logits, the mean over classes and images; of several processes a part of it."""
    labels = batch["labels"]
    images = labels.new_full((), len(labels))
    own_share = images / total(images)
    return {"classification": own_share * nn.functional.multilabel_soft_margin_loss(network(batch["image"]), labels)}


def check_labels(index: Index, list_name: str) -> None:
    """A list to train on must have at least one image of some class."""
    if not any(record.labels for record in index.records):
        raise UserError(
            f"no image of list '{list_name}' has a label; image-level labels are what training learns from: "
            "set data.labels to their file, or data.train_list to another list"
        )
