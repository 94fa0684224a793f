"""Given values -> settings of the right type, within their bounds, that agree with each other."""

import contextlib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from utils.choices import nearest
from utils.errors import UserError
from utils.names import can_be_encoded
from utils.settings import Part, known_keys
from utils.startup import expand_home

UNIONS = (types.UnionType, typing.Union)
BOOLEANS = {"yes": True, "on": True, "no": False, "off": False}  # besides YAML's true and false

Given = dict[str, tuple[Any, str]]  # dotted key -> (value, where it was given)


def build_parts(parts: Sequence[Part], values: Given, renamed: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Objects of the settings classes of a configuration, by the attribute of each part; `UserError` where wrong.

    Args:
        parts: each class may have a method `check` that gives the `Problem` of its settings, or None.
        renamed: keys of earlier versions, with their new names.
    """
    keys = known_keys(parts)
    for key, (_, where) in values.items():
        if renamed and key in renamed:
            raise UserError(f"{where}: the setting '{key}' is now called '{renamed[key]}'; use that name")
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
    if value is None:
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
