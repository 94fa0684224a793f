"""The configuration: every class of settings in one object, from config.yaml, a preset and `--set`.

    cfg = load_config("config.yaml", preset="voc12", overrides=["data.root=/data/VOC2012"])
    cfg.cam.epochs, cfg.pseudo.threshold, cfg.step("prm")

A setting is a field of its class, with its default, bounds and help; nothing else has to be edited. `parts` and
`SECTIONS` say where each class is in the file. The settings of the method's steps follow from their list
(models/steps).
"""

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.settings import DataSettings
from models import steps
from models.classifier import HeadSettings
from models.steps import Step
from stages import settings as of
from utils.config_file import flatten, parse_overrides, read_values
from utils.config_values import Given, build_parts
from utils.settings import Part, RunSettings, known_keys, settings_dict

# Attribute of the configuration -> section of the file; the others are sections of their own name.
SECTIONS = {
    "cam_check": "cam",
    "head": "cam",
    "prediction": "seeds",
    "blur_training": "ibb",
    "correction": "ibb",
    "affinity_training": "affinity",
    "boundary_walk": "affinity",
    "feature_walk": "affinity",
    "segmenter": "segment",
    "segment_reading": "segment",
}
RENAMED = {"affinity.lr_displacement_factor": "affinity.lr_head_factor"}
RENAMED_VALUES = {"infer.quality": {"full": "normal"}}  # in files of earlier versions


@dataclass(frozen=True)
class Config(RunSettings):
    """Everything; a field for each class of settings, and the steps of the method in their order."""

    data: DataSettings = field(default_factory=DataSettings)
    model: of.ModelSettings = field(default_factory=of.ModelSettings)
    cam: of.CamTraining = field(default_factory=of.CamTraining)
    cam_check: of.CamCheck = field(default_factory=of.CamCheck)
    head: HeadSettings = field(default_factory=HeadSettings)
    steps: tuple[Step, ...] = field(default_factory=lambda: tuple(step() for step in steps.STEPS))
    blur_training: of.BlurTraining = field(default_factory=of.BlurTraining)
    correction: of.BlurCorrection = field(default_factory=of.BlurCorrection)
    seeds: of.SeedReading = field(default_factory=of.SeedReading)
    prediction: of.Prediction = field(default_factory=of.Prediction)
    context: of.ContextSettings = field(default_factory=of.ContextSettings)
    affinity: of.AffinitySettings = field(default_factory=of.AffinitySettings)
    affinity_training: of.AffinityTraining = field(default_factory=of.AffinityTraining)
    boundary_walk: of.BoundaryWalk = field(default_factory=of.BoundaryWalk)
    feature_walk: of.FeatureWalk = field(default_factory=of.FeatureWalk)
    pseudo: of.PseudoSettings = field(default_factory=of.PseudoSettings)
    segmenter: of.SegmenterTraining = field(default_factory=of.SegmenterTraining)
    segment: of.SegmentStage = field(default_factory=of.SegmentStage)
    segment_reading: of.SegmentReading = field(default_factory=of.SegmentReading)
    infer: of.InferSettings = field(default_factory=of.InferSettings)
    report: of.ReportSettings = field(default_factory=of.ReportSettings)

    def step(self, name: str) -> Any:
        """The step of that name."""
        return next(step for step in self.steps if step.name == name)

    def part(self, name: str) -> Any:
        """The settings of a `Part`, or one setting of a run: an attribute, or `steps.NAME`."""
        return self.step(name.removeprefix("steps.")) if name.startswith("steps.") else getattr(self, name)

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries and lists, by section of the file."""
        nested: dict[str, Any] = {}
        for part in parts():
            if part.section:
                nested.setdefault(part.section, {}).update(settings_dict(self.part(part.attribute)))
            else:
                nested |= settings_dict(self)
        return nested


def parts() -> list[Part]:
    """Every class of settings, in the order of the file."""
    found = [Part("", "", RunSettings)]
    for one in dataclasses.fields(Config):
        if one.name == "steps":
            found += [Part(f"steps.{step.name}", step.name, step) for step in steps.STEPS]
        elif "help" not in one.metadata:
            assert isinstance(one.type, type)
            found.append(Part(one.name, SECTIONS.get(one.name, one.name), one.type))
    return found


def load_config(path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: a YAML file; None takes the defaults alone.
        preset: a name under the file's `presets`; None takes the file's own `preset`, if it names one.
        overrides: `key.sub=value` strings; the value is read as YAML.

    Raises:
        UserError: no such file or preset, bad YAML, unknown key, wrong type, value out of range. The message names the
            key, the line and the nearest known key.
    """
    return _build(read_values(path, preset, overrides, _sections()))


def config_from_dict(nested: dict[str, Any], where: str) -> Config:
    """The configuration that `to_dict` wrote, for example inside a checkpoint.

    A file outlives settings: those that are not known (any more) are left out with a warning that names them and
    `where`.
    """
    flat = flatten(nested, lambda key: where, _sections())
    known = known_keys(parts())
    flat = {RENAMED.get(key, key): value for key, value in flat.items()}
    unknown = sorted(set(flat) - set(known))
    if unknown:
        warnings.warn(f"{where}: settings {', '.join(unknown)} are not known here and are left out", stacklevel=2)
    return _build({key: value for key, value in flat.items() if key in known})


def override(cfg: Config, overrides: Sequence[str]) -> Config:
    """A configuration with `key.sub=value` strings on top."""
    return _build(flatten(cfg.to_dict(), lambda key: key, _sections()) | parse_overrides(overrides))


def _sections() -> set[str]:
    return {part.section for part in parts()} - {""}


def _build(values: Given) -> Config:
    for key, names in RENAMED_VALUES.items():
        if key in values:
            value, where = values[key]
            values[key] = names.get(str(value), value), where
    built = build_parts(parts(), values, RENAMED)
    run = built.pop("")
    chosen = tuple(built.pop(f"steps.{step.name}") for step in steps.STEPS)
    return Config(**vars(run), steps=chosen, **built)
