"""Networks to and from self-describing checkpoints."""

from pathlib import Path
from typing import Literal

from torch import nn

from models.backbone import build_backbone
from models.classifier import Classifier
from models.segmenter import Segmenter
from utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from utils.config import Config, config_from_dict, to_dict
from utils.errors import UserError


def save_network(
    path: Path,
    kind: Literal["classifier", "segmenter"],
    network: Classifier | Segmenter,
    class_names: tuple[str, ...],
    cfg: Config,
    figures: dict[str, float],
) -> None:
    """Write a checkpoint with all that `load_network` and a reader of its figures need."""
    backbone = network.backbone
    checkpoint = Checkpoint(
        kind=kind,
        class_names=class_names,
        backbone=cfg.model.backbone,
        config=to_dict(cfg),
        state=network.state_dict(),
        figures=figures,
        normalisation={"mean": list(backbone.mean), "std": list(backbone.std)},
    )
    save_checkpoint(path, checkpoint)


def load_network(path: str | Path) -> tuple[Classifier | Segmenter, Checkpoint, Config]:
    """The network of a checkpoint in evaluation mode, what the checkpoint says of itself, and its run's settings.

    Raises:
        UserError: not a checkpoint of ours, or its weights do not fit what it says it is.
    """
    checkpoint = load_checkpoint(path)
    cfg = config_from_dict(checkpoint.config, str(path))
    backbone = build_backbone(checkpoint.backbone, "none")
    network: nn.Module
    if checkpoint.kind == "classifier":
        network = Classifier(backbone, len(checkpoint.class_names))
    else:
        network = Segmenter(backbone, len(checkpoint.class_names) + 1, cfg.segment.stage)
    try:
        network.load_state_dict(checkpoint.state)
    except RuntimeError as error:
        raise UserError(
            f"{path}: the weights do not fit a {checkpoint.kind} on {checkpoint.backbone}: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.requires_grad_(False)  # maps need gradients of activations, never of weights
    return network.eval(), checkpoint, cfg


def load_classifier(path: str | Path) -> Classifier:
    """The network of a checkpoint that must be a classifier."""
    network, checkpoint, _ = load_network(path)
    if not isinstance(network, Classifier):
        raise UserError(f"{path} holds a {checkpoint.kind}, expected the classifier that stage cam writes")
    return network
