"""From `config.yaml`, a preset and `--set` to the one configuration.

    cfg = load_config("config.yaml", preset="voc12", overrides=["data.root=/data/VOC2012"])

A preset is a named block of overrides in the file. `--set` beats the preset, the preset beats the file, the file beats the
defaults. Unknown keys, wrong types and values out of range are `UserError`s that name the key, the line and the nearest known key.
"""

import dataclasses
import typing
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.choices import nearest
from utils.config import Config, known_keys, to_dict
from utils.config_values import Said, build_config, shortened
from utils.errors import UserError
from utils.yaml_text import NOT_YAML, parse_yaml


def load_config(path: str | Path | None, preset: str | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: a YAML file; None takes the defaults alone.
        preset: a name under the file's `presets`; None takes the file's own `preset`, if it names one.
        overrides: `key.sub=value` strings; the value is read as YAML.

    Raises:
        UserError: no such file or preset, bad YAML, unknown key, wrong type, value out of range.
    """
    if path is None and preset is not None:
        raise UserError(
            f"preset '{preset}' was asked for, but there is no configuration file to find it in; name one with --config"
        )
    said = {} if path is None else _read_settings(Path(path).expanduser(), preset)
    return build_config(said | _parse_overrides(overrides))


def config_from_dict(nested: dict[str, Any], where: str) -> Config:
    """The configuration that `to_dict` wrote, for example inside a checkpoint.

    A file outlives settings: those that are not known (any more) are left out with a warning that names them and `where`.
    """
    flat = _flatten(nested, lambda key: where)
    unknown = sorted(set(flat) - set(known_keys()))
    if unknown:
        warnings.warn(f"{where}: settings {', '.join(unknown)} are not known here and are left out", stacklevel=2)
    return build_config({key: value for key, value in flat.items() if key not in unknown})


def override(cfg: Config, overrides: Sequence[str]) -> Config:
    """A configuration with `key.sub=value` strings on top."""
    return build_config(_flatten(to_dict(cfg), lambda key: key) | _parse_overrides(overrides))


def _parse_overrides(overrides: Sequence[str]) -> Said:
    values: Said = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"--set {text}: expected key.sub=value, for example --set cam.epochs=3")
        try:
            values[key.strip()] = (parse_yaml(value)[1], f"--set {text}")
        except NOT_YAML as error:
            raise UserError(f"--set {text[:200]}: the value is not valid YAML") from error
    return values


def _read_settings(path: Path, preset: str | None) -> Said:
    """What a file says, its preset's block on top."""
    document, lines = _read_yaml(path)
    presets = document.pop("presets", None) or {}
    named = document.pop("preset", None)
    preset = preset if preset is not None else None if named is None else str(named)

    def where(key: str) -> str:
        return f"{path}, line {lines[key]}" if key in lines else str(path)  # merged keys (`<<`) have no line

    if not isinstance(presets, dict):
        raise UserError(f"{where('presets')}: 'presets' must hold named blocks of settings, found {shortened(presets)}")
    said = _flatten(document, where)
    if preset is None:
        return said
    if preset not in presets:
        raise UserError(f"{path}: there is no preset '{preset}'{nearest(preset, presets)}; known: {', '.join(presets)}")
    return said | _flatten(presets[preset] or {}, lambda key: where(f"presets.{preset}.{key}".rstrip(".")))


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


def _flatten(nested: Any, where: Callable[[str], str], prefix: str = "") -> Said:
    """Nested mappings as dotted keys; a mapping is opened only where it names a section."""
    if not isinstance(nested, dict):
        raise UserError(f"{where(prefix.rstrip('.'))}: expected 'key: value' lines, found {shortened(nested)}")
    sections = {name for name, kind in typing.get_type_hints(Config).items() if dataclasses.is_dataclass(kind)}
    flat: Said = {}
    for name, value in nested.items():
        key = f"{prefix}{name}"
        if not prefix and name in sections:
            flat |= _flatten({} if value is None else value, where, f"{key}.")
        else:
            flat[key] = (value, where(key))
    return flat
