"""From `config.yaml`, a preset and `--set` to values, each with where it was given; `stages/config.py` uses them.

`--set` beats the preset, a named block of the file; the preset beats the file, the file beats the defaults.
"""

import argparse
import re
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import yaml

from utils.choices import nearest
from utils.config_values import Given, shortened
from utils.errors import UserError

# What PyYAML raises for texts that are no YAML, or whose values Python cannot hold, such as the 31st of February.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
BOOL = "tag:yaml.org,2002:bool"


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
