"""Networks: trained on crops of images, written to self-describing checkpoints, and read from them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from data.artifacts import check_class_names
from data.dataset import TrainingImages, TrainingSampler
from models.affinity import AffinityNet
from models.backbone import build_backbone
from models.classifier import Classifier, HeadSettings
from models.context import ContextDiscriminant, context_stage
from models.segmenter import Segmenter
from stages.files import require_network_space
from stages.settings import Config, SegmenterTraining
from utils.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from utils.compute import choose_compute
from utils.config_file import build_parts, flatten
from utils.distributed import is_main
from utils.engine import Losses, Plan, TrainingData, train_network
from utils.errors import UserError
from utils.optimisation import Optimisation, passes_an_epoch
from utils.run import Run
from utils.settings import Part, known_keys

Network = Classifier | Segmenter | AffinityNet
Kind = Literal["classifier", "segmenter", "affinity"]
CONTEXT_WEIGHT = "context.weight"
# The settings that decide what a network is made of.
PARTS = (Part("head", "cam", HeadSettings), Part("segmenter", "segment", SegmenterTraining))
KINDS = {"classifier": "a classifier", "segmenter": "a segmentation network", "affinity": "an affinity network"}


def plan_of(cfg: Config, stage: str, section: str, epochs: int, optimisation: Optimisation) -> Plan:
    """How a stage trains; `section` is the one of its settings."""
    return Plan(stage, section, epochs, optimisation, choose_compute(cfg), cfg.workers, cfg.seed)


def train_on_crops(run: Run, plan: Plan, network: nn.Module, items: TrainingImages, losses: Losses) -> dict[str, float]:
    """Train `network` in place on crops of images; returns the mean of each loss over the last epoch."""
    plan.compute.network(network)
    require_network_space(run.folder, network)
    settings, count = plan.optimisation, len(items)
    steps = count // min(settings.batch_size, count)
    passes = passes_an_epoch(steps, plan.epochs, settings.least_steps)
    if passes > 1:
        run.log(f"{plan.stage:9} {count} images are few: each of the {plan.epochs} epochs sees them {passes} times")
    sampler = TrainingSampler(count, settings.batch_size, plan.seed, passes)
    return train_network(run, plan, network, TrainingData(items, sampler, items.transform.unpack), losses)


def save_network(
    path: Path, kind: Kind, network: Network, class_names: tuple[str, ...], cfg: Config, figures: dict[str, float]
) -> None:
    """Write a checkpoint that describes itself; of several processes the main one writes."""
    if not is_main():
        return
    config, state = cfg.to_dict(), network.state_dict()
    normalisation = {"mean": list(network.backbone.mean), "std": list(network.backbone.std)}
    save_checkpoint(path, Checkpoint(kind, class_names, cfg.model.backbone, config, state, figures, normalisation))


def load_network(path: str | Path) -> tuple[Classifier | Segmenter, Checkpoint]:
    """A network that gives masks, in evaluation mode, and its checkpoint; `UserError` for other files and networks."""
    checkpoint = load_checkpoint(path)
    if checkpoint.kind == "affinity":
        what = "an affinity network, which knows boundaries and no classes"
        raise UserError(f"{path} holds {what}; expected a segmentation network or a classifier of the same run")
    return _load(path, checkpoint), checkpoint


def load_classifier(path: str | Path, class_names: Sequence[str] = ()) -> Classifier:
    """The network of a checkpoint that must be a classifier of these classes, in evaluation mode."""
    return _load_kind(path, "classifier", "cam", class_names)


def load_segmenter(path: str | Path, class_names: Sequence[str] = ()) -> Segmenter:
    """The network of a checkpoint that must be a segmentation network of these classes, in evaluation mode."""
    return _load_kind(path, "segmenter", "segment", class_names)


def load_affinity(path: str | Path) -> AffinityNet:
    """The network of a checkpoint that must be an affinity network, in evaluation mode, with the saved branches."""
    return _load_kind(path, "affinity", "affinity")


def _load_kind(path: str | Path, kind: Kind, stage: str, class_names: Sequence[str] = ()) -> Any:
    checkpoint = load_checkpoint(path)
    if checkpoint.kind != kind:
        found = KINDS.get(checkpoint.kind, checkpoint.kind)
        raise UserError(f"{path} holds {found}, expected {KINDS[kind]}, such as the one that stage {stage} writes")
    if class_names:
        check_class_names(checkpoint.class_names, class_names, str(path))
    return _load(path, checkpoint)


def _load(path: str | Path, checkpoint: Checkpoint) -> Any:
    sections = {part.section for part in PARTS}
    values = flatten(checkpoint.config, lambda key: str(path), sections)
    settings = build_parts(PARTS, {key: values[key] for key in known_keys(PARTS) if key in values})
    backbone = build_backbone(checkpoint.backbone, "none")
    network: Network
    if checkpoint.kind == "classifier":
        has_bias = "classifier.bias" in checkpoint.state
        network = Classifier(backbone, len(checkpoint.class_names), has_bias, settings["head"])
        network.class_names = checkpoint.class_names
        if CONTEXT_WEIGHT in checkpoint.state:
            channels = backbone.channels[context_stage(backbone)]
            network.context = ContextDiscriminant(network.num_classes, channels)
    elif checkpoint.kind == "affinity":
        network = AffinityNet(backbone, any(name.startswith("fc_dp") for name in checkpoint.state))
    elif checkpoint.kind == "segmenter":
        training = settings["segmenter"]
        network = Segmenter(backbone, len(checkpoint.class_names) + 1, training.stage, training.decoder_strides)
    else:
        raise UserError(f"{path} holds a network of unknown kind '{checkpoint.kind}'; known: {', '.join(KINDS)}")
    try:
        network.load_state_dict(checkpoint.state)
    except RuntimeError as error:
        what, reason = f"{KINDS[checkpoint.kind]} on {checkpoint.backbone}", str(error).splitlines()[-1].strip()
        fault = f"{path}: the weights do not fit {what}: {reason}"
        raise UserError(f"{fault}; give another file, or train again") from error
    network.requires_grad_(False)  # maps need gradients of activations, never of weights
    return network.eval()
