"""The hints of a run: those of one image, and which stages depend on them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data.artifacts import Seed
from data.hints import Hints, fingerprint_of
from models.hints import ImageHints
from stages.settings import Config
from utils.pipeline import Stage
from utils.run import CONTENTS


def image_hints_of(hints: Hints, name: str, seed: Seed) -> ImageHints | None:
    """The hints of an image, for the maps of its seed; None where it has no hints or no classes."""
    hint = hints.of(name) if len(seed.classes) else None
    return None if hint is None else ImageHints(torch.from_numpy(hint.values), hint.boxes, seed.classes.tolist())


def with_hints(stage: Stage, more: tuple[str, ...] = ()) -> Stage:
    """The stage with the hints, where there are any, among what its output depends on; it then reads `more`, too."""

    def inputs(cfg: Config) -> Any:
        hints = fingerprint_of(cfg.data, Path(cfg.run) / CONTENTS)
        return [stage.inputs(cfg), hints] if hints else stage.inputs(cfg)

    def reads(cfg: Config) -> tuple[str, ...]:
        own = stage.reads(cfg) if callable(stage.reads) else stage.reads
        return (*own, *more) if cfg.data.hints else own

    return replace(stage, inputs=inputs, reads=reads)
