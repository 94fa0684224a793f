"""The settings of the stages, a class for each thing that reads them, and `Config`, all settings in one object.

Those of the steps are beside their formulas. Several classes may share a section of config.yaml (`SECTIONS`): a stage
runs again only when a class that it reads has changed.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from data.settings import DataSettings
from data.transforms import Sides
from models import steps
from models.classifier import HeadSettings
from models.refinement import PAR_SIDE
from models.steps import Step
from utils.optimisation import Optimisation
from utils.settings import Part, Problem, RunSettings, setting, settings_dict

# Attribute of the configuration -> section of the file; the others are sections of their own name.
SECTIONS = {
    "cam_check": "cam",
    "head": "cam",
    "prediction": "seeds",
    "segmenter": "segment",
    "segment_watch": "segment",
    "hint_loss": "segment",
    "segment_reading": "segment",
}

# A network that is read at one size has soft borders, for which this is as good as 250 (docs/log.md, e61).
FAST_PAR_SIDE = 160


@dataclass(frozen=True)
class ModelSettings:
    """The backbone of all networks (models/backbone.py)."""

    backbone: str = setting("resnet50", help="resnet50, resnet101, efficientnet_lite0 .. 2, timm/NAME")
    weights: str = setting("imagenet", help="imagenet, none, or the path of a .pth or .safetensors file")


@dataclass(frozen=True)
class CamTraining(Optimisation):
    """Stage `cam`: training of the classifier."""

    epochs: int = setting(5, low=1, help="IRN: 5")
    crop_size: int = setting(512, low=32, help="IRN: 512")
    resize_long: tuple[int, int] = setting(
        (320, 640), low=32, help="the long side is drawn from this range before the crop (IRN: 320..640)"
    )
    color_jitter: float = setting(0.0, low=0, high=1, help="brightness, contrast, saturation by 1 +- this (IRN: none)")
    frozen_stride: int = setting(8, low=0, high=64, help="stages up to this stride get no gradient (IRN: 8, layer2)")
    frozen_depth: float = setting(0.0, low=0, high=1, help="timm/ backbones: this part of the blocks gets no gradient")
    class_weights: Literal["none", "balanced"] = setting(
        "none", help="balanced: images with and without a class count the same"
    )
    stage_loss: float = setting(0.0, low=0, high=100, help="weight of the loss of each of several head_stages; 0: none")
    held_back: float = setting(
        0.0, low=0, high=0.5, help="this part of the images is left out of training, to see what has been learned"
    )


@dataclass(frozen=True)
class CamCheck:
    """What happens after stage `cam` if it has learned nothing."""

    must_learn: bool = setting(True, help="stop where no class of the images held back is found better than by chance")


@dataclass(frozen=True)
class Prediction:
    """Which classes a classifier predicts where labels are not given: the ablation, evaluate.py and infer.py."""

    class_threshold: float = setting(
        0.5, low=0, high=1, help="where labels are not given: classes of at least this probability"
    )


@dataclass(frozen=True)
class PseudoSettings:
    """Stage `pseudo`: maps -> masks (models/pseudo.py, stages/pseudo.py)."""

    background: Literal["threshold", "power"] = setting("threshold", help="threshold or power: (1 - highest map)^power")
    threshold: float = setting(0.25, low=0, high=1, help="background where no map is above (IRN: 0.25)")
    find_threshold: bool = setting(False, help="find the threshold without truth, by the seeds (threshold.json)")
    power: float = setting(4.0, low=0.1, high=100, help="for background: power")
    ignore_band: float = setting(0.0, low=0, high=0.5, help="pixels this close to the decision are marked 255")
    refine: str = setting("none", help="none, par (plain torch), crf (needs pydensecrf2)")
    par_iterations: int = setting(10, low=0, high=200, help="for refine: par")
    par_side: int = setting(PAR_SIDE, low=16, help="for refine: par; the long side that images are made small to")
    crf_iterations: int = setting(10, low=0, high=200, help="for refine: crf (IRN: 10)")

    def at(self, quality: str) -> "PseudoSettings":
        """The same for the masks of a network at a quality of `InferSettings`: for `fast`, PAR sees a smaller image."""
        return replace(self, par_side=min(self.par_side, FAST_PAR_SIDE)) if quality == "fast" else self


@dataclass(frozen=True)
class SegmenterTraining(Sides, Optimisation):
    """How stages `ibb` and `segment` train a segmentation network."""

    stage: int = setting(-1, help="position of the backbone stage that the head reads")
    decoder_strides: tuple[int, ...] = setting((), help="[4, 8]: join the last stage of each stride (DeepLabV3+)")
    from_classifier: bool = setting(False, help="begin with the backbone of the classifier; so does stage ibb")
    crop_size: int = setting(512, low=32)
    scale_range: tuple[float, float] = setting((0.5, 2.0), low=0.1, high=8, help="random size factor before the crop")
    color_jitter: float = setting(0.3, low=0, high=1)
    object_weight: float = setting(
        1.0, low=0, high=1000, help="pixels of objects count this many times; 0: found by the masks"
    )
    dice: float = setting(0.0, low=0, high=100, help="weight of the Dice loss: small objects count as large ones")
    lr: float = setting(0.01, low=0, help="of the backbone")
    momentum: float = setting(0.9, low=0, high=1)
    weight_decay: float = setting(1e-4, low=0)
    frozen_stride: int = setting(0, low=0, high=64, help="stages up to this stride get no gradient")
    frozen_depth: float = setting(0.0, low=0, high=1, help="timm/ backbones: this part of the blocks gets no gradient")


@dataclass(frozen=True)
class SegmentStage:
    """Stage `segment`: what it does not share with stage `ibb`."""

    from_ibb: bool = setting(True, help="begin with the whole network of stage ibb, where there is one")
    epochs: int = setting(30, low=1)


@dataclass(frozen=True)
class SegmentWatch:
    """Validation while stage `segment` trains, where there is truth; without `keep: best` it retrains nothing."""

    validate_every: int = setting(0, low=0, help="mIoU of data.val_list after so many epochs, at one scale; 0: never")
    keep: Literal["last", "best"] = setting(
        "last", help="last, or best: the epoch of the highest mIoU on data.val_list"
    )

    def check(self) -> Problem | None:
        """The best epoch can be kept only if epochs are evaluated."""
        if self.keep == "last" or self.validate_every:
            return None
        keys = ("segment.keep", "segment.validate_every")
        return keys, "'segment.keep' is best, for which 'segment.validate_every' must be 1 or more, found 0"


@dataclass(frozen=True)
class HintLoss:
    """How much hints count in the training of stages `ibb` and `segment`.

    A few pixels of an image give longer gradients than its whole mask. With the weight 1, clicks make SGD diverge, or
    learn less from the masks, at learning rates that suit these.
    """

    hint_weight: float = setting(0.2, low=0, high=1, help="of the loss at data.hints, in each image that has some")


@dataclass(frozen=True)
class SegmentReading:
    """How a segmentation network reads images: stage `report`, evaluate.py and infer.py. It retrains nothing."""

    scales: tuple[float, ...] = setting(
        (0.5, 0.75, 1.0, 1.25, 1.5), low=0.1, high=8, help="at test; infer.py reads at all of them with quality best"
    )
    flip: bool = setting(True, help="at test")

    def at(self, quality: str) -> "SegmentReading":
        """The same for a quality of `InferSettings`: only `best` reads at more than one size, `fast` never mirrored."""
        if quality == "best":
            return self
        nearest = min(self.scales, key=lambda scale: abs(math.log(scale)))
        return replace(self, scales=(nearest,), flip=self.flip and quality != "fast")


@dataclass(frozen=True)
class InferSettings:
    """Masks of infer.py, and of evaluate.py with a network."""

    quality: Literal["fast", "normal", "best"] = setting(
        "normal", help="fast (one reading, one network), normal (one size), best (segment.scales, float32)"
    )
    refine: str = setting("par", help="of the masks of infer.py: par, crf, or none, which tiny objects need")
    least_probability: float = setting(
        0.6, low=0, high=1, help="a class that reaches it nowhere is not drawn, unless it is the likeliest one or given"
    )
    runtime: Literal["auto", "pytorch", "openvino", "onnxruntime"] = setting(
        "auto", help="what computes a segmentation network on a CPU; auto: the fastest, with precision: auto"
    )


@dataclass(frozen=True)
class ReportSettings:
    """Stages `ablation` and `report`: figures on the validation list."""

    enabled: bool = setting(True)
    thresholds: int = setting(91, low=2, high=1001, help="background thresholds tried between 0 and 0.9")


@dataclass(frozen=True)
class Config(RunSettings):
    """Everything; a field for each class of settings, and the steps of both kinds in their order."""

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    cam: CamTraining = field(default_factory=CamTraining)
    cam_check: CamCheck = field(default_factory=CamCheck)
    head: HeadSettings = field(default_factory=HeadSettings)
    steps: tuple[Step, ...] = field(default_factory=lambda: tuple(step() for step in steps.STEPS))
    seeds: Sides = field(default_factory=Sides)  # of stage `seeds`, and of what reads with the classifier afterwards
    prediction: Prediction = field(default_factory=Prediction)
    dataset_steps: Mapping[Part, Any] = field(default_factory=dict)  # their settings; `load_config` fills it
    pseudo: PseudoSettings = field(default_factory=PseudoSettings)
    segmenter: SegmenterTraining = field(default_factory=SegmenterTraining)
    segment: SegmentStage = field(default_factory=SegmentStage)
    segment_watch: SegmentWatch = field(default_factory=SegmentWatch)
    hint_loss: HintLoss = field(default_factory=HintLoss)
    segment_reading: SegmentReading = field(default_factory=SegmentReading)
    infer: InferSettings = field(default_factory=InferSettings)
    report: ReportSettings = field(default_factory=ReportSettings)

    def step(self, name: str) -> Any:
        """The step of the method of that name."""
        return next(step for step in self.steps if step.name == name)

    def parts(self) -> Iterator[tuple[Part, Any]]:
        """Every class of settings with its object, in the order of the file."""
        yield Part("", "", RunSettings), self
        names = [one.name for one in fields(self) if "help" not in one.metadata]  # single settings have a help text
        for name in names:
            value = getattr(self, name)
            if name == "steps":
                yield from ((Part(f"steps.{step.name}", step.name, type(step)), step) for step in value)
            elif name == "dataset_steps":
                yield from value.items()
            else:
                yield Part(name, SECTIONS.get(name, name), type(value)), value

    def part(self, name: str) -> Any:
        """The settings of the `Part` of that name, or one setting of a run, such as `seed`."""
        return next((found for part, found in self.parts() if part.attribute == name), None) or getattr(self, name)

    def changed(self, name: str, **values: Any) -> "Config":
        """The same with other settings in the part of that name."""
        settings = replace(self.part(name), **values)
        if hasattr(self, name):
            return replace(self, **{name: settings})
        others = {part: settings if part.attribute == name else found for part, found in self.dataset_steps.items()}
        return replace(self, dataset_steps=others)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries and lists, by section of the file."""
        nested: dict[str, Any] = {}
        for part, settings in self.parts():
            target = nested.setdefault(part.section, {}) if part.section else nested
            target.update(settings_dict(settings))
        return nested
