"""The one configuration: `config.yaml` -> frozen dataclasses.

    cfg = load_config("config.yaml", preset="voc12", overrides=["data.root=/data/VOC2012"])

The dataclasses below hold every setting with its type and default; `config.yaml` shows them with a comment each and adds
presets, named blocks of overrides. `--set` beats the preset, the preset beats the file, the file beats the defaults.
Unknown keys, wrong types and values out of range are `UserError`s that name the key, the line and the nearest known key.
"""

import contextlib
import dataclasses
import difflib
import os
import re
import sys
import types
import typing
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from utils.errors import UserError
from utils.yaml_text import NOT_YAML, parse_yaml


@dataclass(frozen=True)
class DataConfig:
    """Which pictures, with which labels (data/)."""

    kind: Literal["voc", "coco", "folder", "shapes"] = "voc"
    root: str = "data/VOCdevkit/VOC2012"
    train_list: str = "train_aug"
    val_list: str = "val"
    seed_list: str = ""
    labels: str = ""
    classes: tuple[str, ...] = ()
    background: str = "background"
    colors: tuple[str, ...] = ()
    download: bool = False
    max_pixels: int = 180_000_000
    shapes_train: int = 160
    shapes_val: int = 48
    shapes_size: int = 192


@dataclass(frozen=True)
class ModelConfig:
    """The backbone (models/backbone.py)."""

    backbone: str = "resnet50"
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
    """Iterative Background Blur (models/ibb.py)."""

    enabled: bool = True
    iterations: int = 3
    tau: float = 0.3
    sigma: float = 0.033
    scales: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class SeedsConfig:
    """Stage `seeds`: one pass of the method over the seed list."""

    max_side: int = 0
    class_threshold: float = 0.5


@dataclass(frozen=True)
class AffinityConfig:
    """Stages `affinity` (IRN's confident labels and network) and `walk` (over learned or over features' affinities)."""

    kind: Literal["none", "learned", "features"] = "none"
    fg_threshold: float = 0.30
    bg_threshold: float = 0.05
    refine: Literal["auto", "none", "par", "crf"] = "auto"
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
    """Stage `pseudo`: maps -> masks (models/pseudo.py, models/refine.py)."""

    background: Literal["threshold", "power"] = "threshold"
    threshold: float = 0.25
    power: float = 4.0
    ignore_band: float = 0.0
    refine: Literal["none", "par", "crf"] = "none"
    par_iterations: int = 10
    crf_iterations: int = 10


@dataclass(frozen=True)
class SegmentConfig:
    """Stage `segment`: DeepLabV3 trained on the pseudo masks."""

    stage: int = -1
    from_classifier: bool = False
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
    affinity: AffinityConfig = field(default_factory=AffinityConfig)
    pseudo: PseudoConfig = field(default_factory=PseudoConfig)
    segment: SegmentConfig = field(default_factory=SegmentConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


# Bounds that a type cannot say: key -> (lowest, highest), both allowed; None is open.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "seed": (0, 2**63 - 1),
    "workers": (0, None),
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
    "seeds.max_side": (0, None),
    "seeds.class_threshold": (0, 1),
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


def load_config(path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: a YAML file; None takes the defaults alone.
        preset: a name under the file's `presets`; None takes the file's own `preset`, if it names one.
        overrides: `key.sub=value` strings; the value is read as YAML.

    Raises:
        UserError: no such file or preset, bad YAML, unknown key, wrong type, value out of range.
    """
    values: dict[str, tuple[Any, str]] = {}  # dotted key -> (value, where it was said)
    if path is not None:
        document, lines = _read_yaml(Path(path))
        presets = document.pop("presets", None) or {}
        named = document.pop("preset", None)

        def where(key: str) -> str:
            return f"{path}, line {lines[key]}" if key in lines else str(path)  # merged keys (`<<`) have no line

        if not isinstance(presets, dict):
            raise UserError(f"{where('presets')}: 'presets' must hold named blocks of settings, found {_said(presets)}")
        values |= _flatten(document, where)
        preset = preset if preset is not None else named
        if preset is not None:
            preset = str(preset)
            if preset not in presets:
                raise UserError(
                    f"{path}: there is no preset '{preset}'{_nearest(str(preset), presets)}; known: {', '.join(presets)}"
                )
            values |= _flatten(presets[preset] or {}, lambda key: where(f"presets.{preset}.{key}".rstrip(".")))
    elif preset is not None:
        raise UserError(
            f"preset '{preset}' was asked for, but there is no configuration file to find it in; name one with --config"
        )
    return _build(values | _parse_overrides(overrides))


def config_from_dict(nested: dict[str, Any], where: str) -> Config:
    """The configuration that `to_dict` wrote, for example inside a checkpoint.

    A file outlives settings: those that are not known (any more) are left out with a warning that names them and `where`.
    """
    flat = _flatten(nested, lambda key: where)
    unknown = sorted(set(flat) - set(known_keys()))
    if unknown:
        warnings.warn(f"{where}: settings {', '.join(unknown)} are not known here and are left out", stacklevel=2)
    return _build({key: value for key, value in flat.items() if key not in unknown})


def override(cfg: Config, overrides: Sequence[str]) -> Config:
    """A configuration with `key.sub=value` strings on top."""
    return _build(_flatten(to_dict(cfg), lambda key: key) | _parse_overrides(overrides))


def to_dict(cfg: Any) -> dict[str, Any]:
    """Plain nested dictionaries and lists of a configuration or one section of it."""
    return {name: list(value) if isinstance(value, tuple) else to_dict(value) if dataclasses.is_dataclass(value) else value
            for name, value in ((f.name, getattr(cfg, f.name)) for f in dataclasses.fields(cfg))}  # fmt: skip


def to_yaml(cfg: Config) -> str:
    """The configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(to_dict(cfg), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def known_keys(section: type = Config, prefix: str = "") -> dict[str, Any]:
    """Every dotted key with its type annotation; sections are not keys."""
    keys: dict[str, Any] = {}
    for name, annotation in typing.get_type_hints(section).items():
        if dataclasses.is_dataclass(annotation):
            keys |= known_keys(annotation, f"{prefix}{name}.")
        else:
            keys[prefix + name] = annotation
    return keys


def _parse_overrides(overrides: Sequence[str]) -> dict[str, tuple[Any, str]]:
    values: dict[str, tuple[Any, str]] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: expected key.sub=value, for example --set cam.epochs=3")
        try:
            values[key.strip()] = (parse_yaml(value)[1], f"--set {text}")
        except NOT_YAML as error:
            raise UserError(f"--set {text[:200]}: the value is not valid YAML") from error
    return values


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The document and the line of every dotted key in it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"configuration file {path} cannot be read ({error}); check the path") from error
    try:
        node, document = parse_yaml(text)
    except NOT_YAML as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: not valid YAML: {getattr(error, 'problem', error)}; mend the line") from error
    document = document or {}
    if not isinstance(document, dict):
        raise UserError(f"{path}: expected 'key: value' lines, found a {type(document).__name__}")
    lines: dict[str, int] = {}

    def walk(mapping: yaml.Node | None, prefix: str) -> None:
        if isinstance(mapping, yaml.MappingNode):
            for key, value in mapping.value:
                dotted = f"{prefix}{key.value}"
                if dotted in lines:
                    raise UserError(
                        f"{path}, line {key.start_mark.line + 1}: '{dotted}' was already set in line {lines[dotted]}"
                    )
                lines[dotted] = key.start_mark.line + 1
                walk(value, dotted + ".")

    walk(node, "")
    return document, lines


def _flatten(
    nested: dict[str, Any], where: typing.Callable[[str], str], prefix: str = ""
) -> dict[str, tuple[Any, str]]:
    """Nested mappings as dotted keys; a mapping is opened only where it names a section."""
    if not isinstance(nested, dict):
        raise UserError(f"{where(prefix.rstrip('.'))}: expected 'key: value' lines, found {_said(nested)}")
    sections = {
        f.name for f in dataclasses.fields(Config) if dataclasses.is_dataclass(typing.get_type_hints(Config)[f.name])
    }
    flat: dict[str, tuple[Any, str]] = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        if not prefix and name in sections:
            flat |= _flatten({} if value is None else value, where, f"{key}.")
        else:
            flat[key] = (value, where(key))
    return flat


def _build(values: dict[str, tuple[Any, str]]) -> Config:
    keys = known_keys()
    sections: dict[str, dict[str, Any]] = {}
    for key, (value, where) in values.items():
        if key not in keys:
            raise UserError(f"{where}: unknown setting '{key}'{_nearest(key, keys) or '; config.yaml lists all'}")
        value = _convert(value, keys[key], key, where)
        low, high = BOUNDS.get(key, (None, None))
        for number in value if isinstance(value, tuple) else (value,):
            if (low is not None and number < low) or (high is not None and number > high):
                expected = f"between {low} and {high}" if high is not None else f"at least {low}"
                raise UserError(f"{where}: '{key}' must be {expected}, found {_said(number)}")
        section, _, name = key.rpartition(".")
        sections.setdefault(section, {})[name] = value
    top = sections.pop("", {})
    hints = typing.get_type_hints(Config)
    cfg = Config(**top, **{name: hints[name](**settings) for name, settings in sections.items()})
    _check_together(cfg, {key: where for key, (_, where) in values.items()})
    return cfg


def _check_together(cfg: Config, where: dict[str, str]) -> None:
    """Rules that take more than one setting."""
    ranges = {
        "cam.resize_long": cfg.cam.resize_long,
        "affinity.scale_range": cfg.affinity.scale_range,
        "segment.scale_range": cfg.segment.scale_range,
    }
    for key, (low, high) in ranges.items():
        if low > high:
            raise UserError(f"{where[key]}: '{key}' is a range, expected the smallest first, found [{low}, {high}]")
    ordered = (
        ("prm.lo", cfg.prm.lo, "prm.hi", cfg.prm.hi),
        ("affinity.bg_threshold", cfg.affinity.bg_threshold, "affinity.fg_threshold", cfg.affinity.fg_threshold),
    )
    for low_key, low, high_key, high in ordered:
        if low > high:
            said = " and ".join(dict.fromkeys(where[key] for key in (low_key, high_key) if key in where))
            raise UserError(f"{said}: '{low_key}' ({low}) must not be above '{high_key}' ({high})")
    for color in cfg.data.colors:
        if not re.fullmatch("#?[0-9a-fA-F]{6}", color):
            raise UserError(f"{where['data.colors']}: 'data.colors' must be RGB as quoted \"#ff8000\", found '{color}'")
    for key, scales in (
        ("cam.scales", cfg.cam.scales),
        ("ibb.scales", cfg.ibb.scales),
        ("segment.scales", cfg.segment.scales),
    ):
        if not scales:
            raise UserError(f"{where[key]}: '{key}' needs at least one scale, for example [1.0]")


def _convert(value: Any, annotation: Any, key: str, where: str) -> Any:
    """`value` as the annotated type, or a `UserError`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
        if not isinstance(value, list | tuple) or (not open_ended and len(value) != len(arguments)):
            many = "a list" if open_ended else f"a list of {len(arguments)} values"
            raise UserError(f"{where}: '{key}' must be {many} of type {arguments[0].__name__}, found {_said(value)}")
        return tuple(_convert(item, arguments[0], key, where) for item in value)
    if origin is Literal:
        if value is False and "off" in arguments:  # YAML reads a bare off as False
            value = "off"
        if value not in arguments:
            raise UserError(
                f"{where}: '{key}' must be one of {', '.join(arguments)}, found {_said(value)}{_nearest(str(value), arguments)}"
            )
        return value
    if origin is types.UnionType:
        raise TypeError(f"union types are not supported in the configuration: {key}")
    if annotation is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
            with contextlib.suppress(ValueError):
                value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif annotation is str and value is None:
        return ""
    elif annotation is str and isinstance(value, str) and not _is_text(value):
        raise UserError(f"{where}: '{key}' holds a character that no path or name can have, found {_said(value)}")
    elif isinstance(value, annotation):
        return value
    elif annotation is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise UserError(
        f"{where}: '{key}' must be of type {annotation.__name__}, found {_said(value)} ({type(value).__name__})"
    )


def _is_text(value: str) -> bool:
    """Whether the system can have it in a path."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def _said(value: Any) -> str:
    """A value for a message, no longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _nearest(word: str, known: typing.Iterable[str]) -> str:
    known = [str(name) for name in known]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:  # the last part alone: `epoch` finds `cam.epochs`
        last = {name.rpartition(".")[2]: name for name in known}
        close = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)]
    return f"; did you mean '{close[0]}'?" if close else ""
