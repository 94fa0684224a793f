"""A small configuration for the tests of the mechanism; two classes of settings share the section `cam`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

from utils.config_file import read_values
from utils.config_values import build_parts
from utils.settings import Part, Problem, RunSettings, check_order, setting


@dataclass(frozen=True)
class Training:
    epochs: int = setting(5, low=1)
    lr: float = setting(0.1, low=0)
    momentum: float = setting(0.0, low=0, high=1)
    crop_size: int = setting(512, low=32)
    resize_long: tuple[int, int] = setting((320, 640), low=32)


@dataclass(frozen=True)
class Reading:
    scales: tuple[float, ...] = setting((1.0,), low=0.1, high=8)
    background: Literal["threshold", "power"] = setting("threshold")


@dataclass(frozen=True)
class Cuts:
    enabled: bool = setting(True)
    hi: float = setting(0.5, low=0, high=1)
    lo: float = setting(0.2, low=0, high=1)

    def check(self) -> Problem | None:
        return check_order(("prm.lo", self.lo), ("prm.hi", self.hi))


@dataclass(frozen=True)
class Data:
    root: str = setting("data")
    train_list: str = setting("train")
    val_list: str = setting("val")
    classes: tuple[str, ...] = setting(())
    max_pixels: int = setting(100, low=1, high=2**40)


PARTS = [
    Part("", "", RunSettings),
    Part("training", "cam", Training),
    Part("reading", "cam", Reading),
    Part("prm", "prm", Cuts),
    Part("data", "data", Data),
]
RENAMED = {"cam.old_lr": "cam.lr"}


def load(path: Path | None = None, preset: str | None = None, overrides: Sequence[str] = ()) -> Any:
    """The configuration of a file; `run` are the settings outside of sections."""
    built = build_parts(PARTS, read_values(path, preset, overrides, {"cam", "prm", "data"}), RENAMED)
    return SimpleNamespace(run=built.pop(""), **built)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path
