"""Every setting with its type, default and bounds, as frozen dataclasses; `config.yaml` shows them with a comment each.

    cfg = load_config("config.yaml", preset="voc12")    # utils/config_file.py
    cfg.cam.epochs

A setting is added here, in `config.yaml`, and in the `reads` of the stages that read it (train.py).
"""

import dataclasses
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml


@dataclass(frozen=True)
class DataConfig:
    """Which images, with which labels (data/)."""

    kind: str = "voc"  # of data.index.KINDS
    root: str = "data/VOCdevkit/VOC2012"
    train_list: str = "train_aug"
    val_list: str = "val"
    seed_list: str = ""
    labels: str = ""
    classes: tuple[str, ...] = ()
    background: str = "background"
    colors: tuple[str, ...] = ()
    download: bool = False
    range: tuple[float, float] | Literal["auto", "percentile"] = "auto"
    bands: tuple[int, ...] = ()
    mask_values: dict[str, str] = field(default_factory=dict)
    max_pixels: int = 180_000_000
    shapes_train: int = 160
    shapes_val: int = 48
    shapes_size: int = 192


@dataclass(frozen=True)
class ModelConfig:
    """The backbone (models/backbone.py)."""

    backbone: str = "resnet50"  # of models.backbone.BACKBONES, or timm/NAME
    weights: str = "imagenet"


@dataclass(frozen=True)
class CamConfig:
    """Stage `cam`: the classifier, and how its maps are read."""

    epochs: int = 5
    batch_size: int = 16
    crop_size: int = 512
    resize_long: tuple[int, int] = (320, 640)
    color_jitter: float = 0.0
    lr: float = 0.1
    lr_head_factor: float = 10.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    poly_power: float = 0.9
    frozen_stride: int = 8
    scales: tuple[float, ...] = (1.0, 0.5, 1.5, 2.0)
    flip: bool = True


@dataclass(frozen=True)
class GfmConfig:
    """Grad Fusion Module (models/ibb.py)."""

    enabled: bool = True
    min_stride: int = 8


@dataclass(frozen=True)
class PrmConfig:
    """Partial Reactivation Module (models/ibb.py)."""

    enabled: bool = True
    strides: tuple[int, ...] = (16,)
    hi: float = 0.5
    lo: float = 0.2
    rounds: int = 1


@dataclass(frozen=True)
class IbbConfig:
    """Iterative Background Blur: rounds while an image is read (models/ibb.py), and training on blurred images (stages/ibb.py)."""

    enabled: bool = True
    iterations: int = 1
    tau: float = 0.3
    sigma: float = 0.033
    scales: tuple[float, ...] = (1.0,)
    epochs: int = 8
    threshold: float = 0.2
    ignore_band: float = 0.1
    blurred_share: float = 0.5
    blurred_sigma: tuple[float, float] = (0.03, 0.1)
    weight: float = 0.5


@dataclass(frozen=True)
class SeedsConfig:
    """Stage `seeds`: one pass of the method over the seed list."""

    max_side: int = 0
    class_threshold: float = 0.5


@dataclass(frozen=True)
class ContextConfig:
    """Stages `context` and `part`: what comes along with each class (models/context.py)."""

    enabled: bool = True
    hi: float = 0.65
    lo: float = 0.25
    shrinkage: float = 0.05
    least_others: int = 10


@dataclass(frozen=True)
class AffinityConfig:
    """Stages `affinity` (IRN's confident labels and network) and `walk` (over learned or over features' affinities)."""

    kind: str = "none"  # or of stages.walk.WALKS
    fg_threshold: float = 0.30
    bg_threshold: float = 0.05
    refine: str = "auto"  # none, or of stages.refinement.REFINEMENTS
    displacement: bool = False
    crop_size: int = 512
    scale_range: tuple[float, float] = (0.5, 1.5)
    max_side: int = 0
    batch_size: int = 32
    epochs: int = 3
    lr: float = 0.1
    lr_displacement_factor: float = 10.0
    momentum: float = 0.0
    weight_decay: float = 0.0
    poly_power: float = 0.9
    radius: int = 10
    walk_radius: int = 5
    beta: float = 10.0
    exp_times: int = 8
    walk_background: float = 0.0
    feature_strides: tuple[int, ...] = (8, 16)
    feature_power: float = 8.0
    feature_steps: int = 4
    feature_keep: float = 0.8


@dataclass(frozen=True)
class PseudoConfig:
    """Stage `pseudo`: maps -> masks (models/pseudo.py, stages/refinement.py)."""

    background: Literal["threshold", "power"] = "threshold"
    threshold: float = 0.25
    power: float = 4.0
    ignore_band: float = 0.0
    refine: str = "none"  # or of stages.refinement.REFINEMENTS
    par_iterations: int = 10
    crf_iterations: int = 10


@dataclass(frozen=True)
class SegmentConfig:
    """Stage `segment`: DeepLabV3 trained on the pseudo masks."""

    stage: int = -1
    decoder_strides: tuple[int, ...] = ()
    from_classifier: bool = False
    from_ibb: bool = True
    epochs: int = 30
    batch_size: int = 16
    crop_size: int = 512
    scale_range: tuple[float, float] = (0.5, 2.0)
    color_jitter: float = 0.3
    lr: float = 0.01
    lr_head_factor: float = 10.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    poly_power: float = 0.9
    frozen_stride: int = 0
    scales: tuple[float, ...] = (0.5, 0.75, 1.0, 1.25, 1.5)
    flip: bool = True
    max_side: int = 0


@dataclass(frozen=True)
class ReportConfig:
    """Stage `report`: the ladder of figures on the validation list."""

    enabled: bool = True
    thresholds: int = 61


@dataclass(frozen=True)
class Config:
    """Everything; one field a section of `config.yaml`."""

    run: str = "runs/voc12"
    checkpoint: str = "checkpoints/best_model.pth"
    seed: int = 0
    device: str = "auto"
    precision: Literal["off", "bf16", "fp16"] = "off"
    channels_last: bool = True
    compile: bool = False
    workers: int = 2
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    cam: CamConfig = field(default_factory=CamConfig)
    gfm: GfmConfig = field(default_factory=GfmConfig)
    prm: PrmConfig = field(default_factory=PrmConfig)
    ibb: IbbConfig = field(default_factory=IbbConfig)
    seeds: SeedsConfig = field(default_factory=SeedsConfig)
    context: ContextConfig = field(default_factory=ContextConfig)
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


# Bounds that a type cannot say: key -> (lowest, highest), both allowed; None is open.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "seed": (0, 2**63 - 1),
    "workers": (0, None),
    "data.bands": (1, 65535),
    "data.max_pixels": (1, 2**40),
    "data.shapes_train": (1, None),
    "data.shapes_val": (1, None),
    "data.shapes_size": (64, None),
    "cam.epochs": (1, None),
    "cam.batch_size": (1, None),
    "cam.crop_size": (32, None),
    "cam.resize_long": (32, None),
    "cam.color_jitter": (0, 1),
    "cam.lr": (0, None),
    "cam.lr_head_factor": (0, None),
    "cam.momentum": (0, 1),
    "cam.weight_decay": (0, None),
    "cam.poly_power": (0, None),
    "cam.scales": (0.1, 8),
    "cam.frozen_stride": (0, 64),
    "gfm.min_stride": (1, 64),
    "prm.hi": (0, 1),
    "prm.lo": (0, 1),
    "prm.rounds": (1, 10),
    "ibb.iterations": (0, 20),
    "ibb.tau": (0.01, 1),
    "ibb.sigma": (0.001, 1),
    "ibb.scales": (0.1, 8),
    "ibb.epochs": (0, None),
    "ibb.threshold": (0, 1),
    "ibb.ignore_band": (0, 0.5),
    "ibb.blurred_share": (0, 1),
    "ibb.blurred_sigma": (0.001, 1),
    "ibb.weight": (0, 1),
    "seeds.max_side": (0, None),
    "seeds.class_threshold": (0, 1),
    "context.hi": (0, 1),
    "context.lo": (0, 1),
    "context.shrinkage": (0.000001, 1),
    "context.least_others": (0, None),
    "affinity.fg_threshold": (0, 1),
    "affinity.bg_threshold": (0, 1),
    "affinity.crop_size": (32, None),
    "affinity.scale_range": (0.1, 8),
    "affinity.max_side": (0, None),
    "affinity.batch_size": (1, None),
    "affinity.epochs": (1, None),
    "affinity.lr": (0, None),
    "affinity.lr_displacement_factor": (0, None),
    "affinity.momentum": (0, 1),
    "affinity.weight_decay": (0, None),
    "affinity.poly_power": (0, None),
    "affinity.radius": (2, 50),
    "affinity.walk_radius": (2, 50),
    "affinity.beta": (0, 1000),
    "affinity.exp_times": (0, 20),
    "affinity.walk_background": (0, 10),
    "affinity.feature_power": (0, 1000),
    "affinity.feature_steps": (0, 1000),
    "affinity.feature_keep": (0, 1),
    "pseudo.threshold": (0, 1),
    "pseudo.power": (0.1, 100),
    "pseudo.ignore_band": (0, 0.5),
    "pseudo.par_iterations": (0, 200),
    "pseudo.crf_iterations": (0, 200),
    "segment.epochs": (1, None),
    "segment.batch_size": (1, None),
    "segment.crop_size": (32, None),
    "segment.scale_range": (0.1, 8),
    "segment.color_jitter": (0, 1),
    "segment.lr": (0, None),
    "segment.lr_head_factor": (0, None),
    "segment.momentum": (0, 1),
    "segment.weight_decay": (0, None),
    "segment.poly_power": (0, None),
    "segment.scales": (0.1, 8),
    "segment.frozen_stride": (0, 64),
    "segment.max_side": (0, None),
    "report.thresholds": (2, 1001),
}


def to_dict(cfg: Any) -> dict[str, Any]:
    """Plain nested dictionaries and lists of a configuration or one section of it."""
    return {
        name: list(value) if isinstance(value, tuple) else to_dict(value) if dataclasses.is_dataclass(value) else value
        for name, value in ((f.name, getattr(cfg, f.name)) for f in dataclasses.fields(cfg))
    }


def to_yaml(cfg: Config) -> str:
    """The configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(to_dict(cfg), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def known_keys(section: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its type annotation; sections are not keys."""
    keys: dict[str, Any] = {}
    for name, annotation in typing.get_type_hints(section).items():
        if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
            keys |= known_keys(annotation, f"{prefix}{name}.")
        else:
            keys[prefix + name] = annotation
    return keys


def setting_names(section: str, but: Iterable[str] = ()) -> tuple[str, ...]:
    """The dotted keys of a section, without those of the names in `but`."""
    left_out = {f"{section}.{name}" for name in but}
    return tuple(key for key in known_keys() if key.startswith(f"{section}.") and key not in left_out)
