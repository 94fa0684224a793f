"""From `config.yaml`, a preset and `--set` to settings of the right type, within their bounds, that agree.

`--set` beats the preset, a named block of the file; the preset beats the file, the file beats the defaults.
`stages/config.py` uses this.
"""

import argparse
import contextlib
import re
import sys
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from utils.errors import UserError, nearest
from utils.names import can_be_encoded
from utils.settings import Part, known_keys
from utils.startup import expand_home

# What PyYAML raises for texts that are no YAML, or whose values Python cannot hold, such as the 31st of February.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
BOOL = "tag:yaml.org,2002:bool"
UNIONS = (types.UnionType, typing.Union)
BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}  # besides YAML's true and false

Given = dict[str, tuple[Any, str]]  # dotted key -> (value, where it was given)


def add_setting_options(parser: argparse.ArgumentParser, preset: str | None = None) -> None:
    """Give a command the options --config, --preset and --set; `preset` is the default of the second."""
    add, default = parser.add_argument, f" (default: {preset})" if preset else ""
    add("--config", default="config.yaml", metavar="FILE", help="settings and presets (default: config.yaml)")
    add("--preset", default=preset, metavar="NAME", help=f"a named block of the file's presets{default}")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting, as cam.epochs=3; may be repeated")


class _Loader(yaml.SafeLoader):
    """The safe loader with the truth values of YAML 1.2: yes, no, on and off are text, as classes are called so."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in rules if tag != BOOL]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(BOOL, re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


def read_values(path: str | Path | None, preset: str | None, sections: Collection[str]) -> Given:
    """The values that a file (or none) and its preset give, by dotted key; a mistake is a `UserError`."""
    if path is None:
        if preset is None:
            return {}
        what = f"preset '{preset}' was asked for, but there is no configuration file to find it in"
        raise UserError(f"{what}; name one with --config")
    path = Path(path).expanduser()
    document, lines = _read_yaml(path)
    presets, named = document.pop("presets", None) or {}, document.pop("preset", None)
    if preset is None and named is not None:
        preset = str(named)

    def where(key: str) -> str:
        return f"{path}, line {lines[key]}" if key in lines else str(path)  # merged keys (`<<`) have no line

    if not isinstance(presets, dict):
        raise UserError(f"{where('presets')}: 'presets' must hold named blocks of settings, found {shortened(presets)}")
    given = flatten(document, where, sections)
    if preset is None:
        return given
    if preset not in presets:
        raise UserError(f"{path}: there is no preset '{preset}'{nearest(preset, presets)}; known: {', '.join(presets)}")
    return given | flatten(presets[preset] or {}, lambda key: where(f"presets.{preset}.{key}".rstrip(".")), sections)


def parse_overrides(overrides: Sequence[str]) -> Given:
    """`key.sub=value` strings as values by key."""
    values: Given = {}
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
                dotted, line = f"{prefix}{key.value}", key.start_mark.line + 1
                if dotted in lines:
                    raise UserError(f"{path}, line {line}: '{dotted}' was already set in line {lines[dotted]}")
                lines[dotted] = line
                walk(value, dotted + ".")

    walk(node, "")
    return document, lines


def flatten(nested: Any, where: Callable[[str], str], sections: Collection[str], prefix: str = "") -> Given:
    """Nested mappings as dotted keys; a mapping is opened only where it names a section."""
    if not isinstance(nested, dict):
        raise UserError(f"{where(prefix.rstrip('.'))}: expected 'key: value' lines, found {shortened(nested)}")
    flat: Given = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        if not prefix and name in sections:
            flat |= flatten({} if value is None else value, where, sections, f"{key}.")
        else:
            flat[key] = (value, where(key))
    return flat


def parse_yaml(text: str) -> tuple[yaml.Node | None, Any]:
    """The nodes, which know their lines, and the value of a YAML text; raises `NOT_YAML`."""
    return yaml.compose(text, Loader=_Loader), yaml.load(text, Loader=_Loader)


def build_parts(parts: Sequence[Part], values: Given) -> dict[str, Any]:
    """Objects of the settings classes of a configuration, by the attribute of each part; `UserError` where wrong.

    A class may have a method `check` that gives the `Problem` of its settings, or None.
    """
    keys = known_keys(parts)
    for key, (_, where) in values.items():
        if key not in keys:
            raise UserError(f"{where}: unknown setting '{key}'{nearest(key, keys) or '; config.yaml lists all'}")
    return {part.attribute: _build(part, values) for part in parts}


class _Unfit(Exception):
    """A value that a setting cannot have: what is expected, and what was found."""

    def __init__(self, expected: str, value: Any, hint: str = ""):
        super().__init__()
        self.expected, self.found = expected, shortened(value) + hint


def _build(part: Part, values: Given) -> Any:
    types_of, chosen = part.types(), {}
    for key, setting in part.keys().items():
        if key in values:
            value, where = values[key]
            try:
                chosen[setting.name] = _convert(value, types_of[key])
                _check_bounds(chosen[setting.name], types_of[key], setting.metadata, key)
            except _Unfit as unfit:
                raise UserError(f"{where}: '{key}' must be {unfit.expected}, found {unfit.found}") from None
    settings = part.kind(**chosen)
    problem = settings.check() if hasattr(settings, "check") else None
    if problem is not None:
        keys, message = problem
        where = " and ".join(dict.fromkeys(values[key][1] for key in keys if key in values))
        raise UserError(f"{where}: {message}")
    return settings


def _check_bounds(value: Any, annotation: Any, bounds: Mapping[str, Any], key: str) -> None:
    if value is None or isinstance(value, str):  # a word in place of a number
        return
    low, high = bounds["low"], bounds["high"]
    for each in value if isinstance(value, tuple) else (value,):
        if (low is not None and each < low) or (high is not None and each > high):
            raise _Unfit(f"between {low} and {high}" if high is not None else f"at least {low}", each)
    if key.endswith("scales") and not value:
        raise _Unfit("a list of at least one scale, for example [1.0]", [])
    kinds = typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else (annotation,)
    is_range = any(typing.get_origin(kind) is tuple and Ellipsis not in typing.get_args(kind) for kind in kinds)
    if is_range and isinstance(value, tuple) and value[0] > value[1]:
        raise _Unfit("a range, the smallest first", list(value))


def _convert(value: Any, annotation: Any) -> Any:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        open_ended = len(arguments) == 2 and arguments[1] is Ellipsis
        if isinstance(value, str) and arguments[0] is str:  # one name, or a file of names
            if "," in value:
                raise _Unfit(f"a list in brackets: [{', '.join(map(str.strip, value.split(',')))}]", value)
            value = [value]
        if not isinstance(value, list | tuple) or (not open_ended and len(value) != len(arguments)):
            many = "a list" if open_ended else f"a list of {len(arguments)} values"
            raise _Unfit(f"{many} of type {arguments[0].__name__}", value)
        return tuple(_convert(item, arguments[0]) for item in value)
    if origin is Literal:
        if value not in arguments:
            raise _Unfit(f"one of {', '.join(arguments)}", value, nearest(str(value), arguments))
        return value
    if origin in UNIONS:
        expected = []
        for kind in arguments:
            try:
                return _convert(value, kind)
            except _Unfit as unfit:
                expected.append(unfit.expected)
        raise _Unfit(", or ".join(expected), value)
    if origin is dict:
        if not isinstance(value, dict):
            raise _Unfit("a mapping such as {0: background, 255: cat}", value)
        return {_convert(name, str): _convert(item, str) for name, item in value.items()}
    return _convert_one(value, annotation)


def _convert_one(value: Any, annotation: Any) -> Any:
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
    elif annotation is str and isinstance(value, str) and ("\0" in value or not can_be_encoded(value)):
        raise _Unfit("text that a path or name can hold", value)
    elif annotation is bool and isinstance(value, str) and value.lower() in BOOLEANS:
        return BOOLEANS[value.lower()]
    elif isinstance(value, annotation):
        return expand_home(value) if annotation is str else value
    elif annotation is str and isinstance(value, int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)  # classes may be called true and false
    expected = "null" if annotation is type(None) else f"of type {annotation.__name__}"
    raise _Unfit(expected, value, f" ({type(value).__name__})")


def shortened(value: Any) -> str:
    """A value for a message, no longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."
