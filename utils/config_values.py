"""Values that somebody said -> settings of the right type, within their bounds, that agree with each other."""

import contextlib
import os
import re
import sys
import types
import typing
from typing import Any, Literal

from utils.choices import nearest
from utils.config import BOUNDS, Config, known_keys
from utils.errors import UserError

SWITCHES = {"yes": True, "on": True, "no": False, "off": False}  # text where YAML 1.2 has text (utils/yaml_text.py)

Said = dict[str, tuple[Any, str]]  # dotted key -> (value, where it was said)


def build_config(values: dict[str, tuple[Any, str]]) -> Config:
    """The configuration of dotted keys and values, each with where it was said.

    Raises:
        UserError: unknown key, wrong type, value out of range, or settings that do not agree.
    """
    keys = known_keys()
    sections: dict[str, dict[str, Any]] = {}
    for key, (value, where) in values.items():
        if key not in keys:
            raise UserError(f"{where}: unknown setting '{key}'{nearest(key, keys) or '; config.yaml lists all'}")
        value = _convert(value, keys[key], key, where)
        low, high = BOUNDS.get(key, (None, None))
        for number in value if isinstance(value, tuple) else (value,):
            if (low is not None and number < low) or (high is not None and number > high):
                expected = f"between {low} and {high}" if high is not None else f"at least {low}"
                raise UserError(f"{where}: '{key}' must be {expected}, found {shortened(number)}")
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
        "ibb.blurred_sigma": cfg.ibb.blurred_sigma,
        "segment.scale_range": cfg.segment.scale_range,
    }
    if not isinstance(cfg.data.range, str):
        ranges["data.range"] = cfg.data.range
        if cfg.data.range[0] == cfg.data.range[1]:
            raise UserError(
                f"{where['data.range']}: 'data.range' must have two different ends, found {list(cfg.data.range)}"
            )
    if len(cfg.data.bands) not in (0, 1, 3):
        raise UserError(
            f"{where['data.bands']}: 'data.bands' must be three bands (red, green, blue) or one (grey), found "
            f"{list(cfg.data.bands)}"
        )
    for key, (low, high) in ranges.items():
        if low > high:
            raise UserError(f"{where[key]}: '{key}' is a range, expected the smallest first, found [{low}, {high}]")
    ordered = (
        ("prm.lo", cfg.prm.lo, "prm.hi", cfg.prm.hi),
        ("context.lo", cfg.context.lo, "context.hi", cfg.context.hi),
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
            raise UserError(
                f"{where}: '{key}' must be {many} of type {arguments[0].__name__}, found {shortened(value)}"
            )
        return tuple(_convert(item, arguments[0], key, where) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{where}: '{key}' must be one of {', '.join(arguments)}, found {shortened(value)}{nearest(str(value), arguments)}"
            )
        return value
    if origin in (types.UnionType, typing.Union):
        problems = []
        for kind in arguments:
            try:
                return _convert(value, kind, key, where)
            except UserError as error:
                problems.append(str(error).split(" must be ")[-1].split(", found")[0])
        raise UserError(f"{where}: '{key}' must be {', or '.join(problems)}, found {shortened(value)}")
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(
                f"{where}: '{key}' must be a mapping such as {{0: background, 255: cat}}, found {shortened(value)}"
            )
        return {_convert(name, str, key, where): _convert(item, str, key, where) for name, item in value.items()}
    if annotation is float:
        if isinstance(value, str):  # YAML 1.1 reads 1e-4 as text
            with contextlib.suppress(ValueError):
                value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            return float(value)
    elif annotation is bool and isinstance(value, str) and value.lower() in SWITCHES:
        return SWITCHES[value.lower()]
    elif annotation is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif annotation is str and value is None:
        return ""
    elif annotation is str and isinstance(value, str) and not _is_text(value):
        raise UserError(f"{where}: '{key}' holds a character that no path or name can have, found {shortened(value)}")
    elif isinstance(value, annotation):
        return value
    elif annotation is str and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)  # classes may be called true and false
    raise UserError(
        f"{where}: '{key}' must be of type {annotation.__name__}, found {shortened(value)} ({type(value).__name__})"
    )


def _is_text(value: str) -> bool:
    """Whether the system can have it in a path."""
    try:
        return b"\0" not in os.fsencode(value)
    except UnicodeEncodeError:
        return False


def shortened(value: Any) -> str:
    """A value for a message, no longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."
