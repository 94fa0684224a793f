"""A setting: a field of a frozen dataclass with its default, bounds and one line of help.

threshold: float = setting(0.25, low=0, high=1, help="background where no map is above")
"""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

Problem = tuple[tuple[str, ...], str]  # the keys of settings that do not fit together, and what is wrong


def setting(default: Any, *, low: float | None = None, high: float | None = None, help: str = "") -> Any:
    """A field that is a setting; lists are tuples, and the default `dict` is an empty mapping.

    `low` and `high` are allowed, too, None is open; in a list they hold for each value. `help` is one line for people.
    """
    given: dict[str, Any] = {"default_factory": dict} if default is dict else {"default": default}
    return field(**given, metadata={"low": low, "high": high, "help": help})


def check_order(low: tuple[str, float], high: tuple[str, float]) -> Problem | None:
    """What is wrong where the first of two settings (key, value) is above the second."""
    if low[1] <= high[1]:
        return None
    return (low[0], high[0]), f"'{low[0]}' ({low[1]}) must not be above '{high[0]}' ({high[1]})"


@dataclass(frozen=True)
class Part:
    """A class of settings in a configuration."""

    attribute: str  # of the configuration; "" where the settings are its own
    section: str  # of the file; "" for settings outside of sections. Several parts may share a section
    kind: type

    def keys(self) -> dict[str, dataclasses.Field]:
        """Dotted key -> field, of the fields that are settings."""
        prefix = f"{self.section}." if self.section else ""
        return {prefix + f.name: f for f in dataclasses.fields(self.kind) if "help" in f.metadata}

    def types(self) -> dict[str, Any]:
        """Dotted key -> type annotation."""
        hints = typing.get_type_hints(self.kind)
        return {key: hints[f.name] for key, f in self.keys().items()}


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run that are in no section: where it is and what computes it."""

    run: str = setting("runs/voc12", help="folder of this run's files")
    checkpoint: str = setting("checkpoints/best_model.pth", help="where the network trained last is put")
    seed: int = setting(0, low=0, high=2**63 - 1, help="of everything random")
    device: str = setting("auto", help="auto (a GPU if there is one), cpu, cuda, cuda:1")
    precision: typing.Literal["off", "auto", "bf16", "fp16"] = setting(
        "off", help="mixed precision: off, bf16, fp16 (CUDA only), auto (what the chip computes in)"
    )
    read_precision: typing.Literal["off", "auto", "bf16", "fp16"] = setting(
        "auto", help="the same for stages that only read images (seeds and later); auto: bf16 or off"
    )
    channels_last: bool = setting(True, help="memory format of images and weights; faster on GPUs and CPUs alike")
    compile: bool = setting(False, help="torch.compile the trained network")
    workers: int = setting(2, low=0, help="loader processes")

    def to_dict(self) -> dict[str, Any]:
        """Plain nested dictionaries and lists, by section of the file."""
        return settings_dict(self)

    def to_yaml(self) -> str:
        """The same as YAML that a configuration can be read from."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def known_keys(parts: Sequence[Part]) -> dict[str, Any]:
    """Every dotted key with its type annotation."""
    keys: dict[str, Any] = {}
    for part in parts:
        if twice := keys.keys() & part.types().keys():
            raise TypeError(f"two classes of settings have '{min(twice)}'; the names in a section must differ")
        keys |= part.types()
    return keys


def settings_dict(settings: Any) -> dict[str, Any]:
    """The settings of one object of a settings class, by name, as YAML and JSON can hold them."""
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if "help" in f.metadata}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def settings_of(cfg: Any, name: str) -> Any:
    """The plain values of what a stage reads: a part of the configuration (`Config.part`), or one setting of it."""
    part, _, setting_name = name.partition(".")
    found = cfg.part(part)
    if isinstance(found, tuple):
        # What a step that is off could do changes nothing, and a new optional step makes no run stale.
        return {step.name: settings_dict(step) for step in found if getattr(step, "enabled", True)}
    if not dataclasses.is_dataclass(found):
        return found
    values = settings_dict(found)
    return values[setting_name] if setting_name else values
