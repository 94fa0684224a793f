"""The hints of a run: which stages use them, what they tell of an image, and what the report says of them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data.hints import Hints, fingerprint_of, open_hints
from models.hints import Told
from stages.lists import seed_index
from stages.settings import Config
from utils.pipeline import Stage
from utils.run import CONTENTS


def told_of(hints: Hints, name: str, classes: Sequence[int]) -> Told | None:
    """What is said of an image, for maps of these classes; None where nothing is."""
    hint = hints.of(name) if len(classes) else None
    return None if hint is None else Told(torch.from_numpy(hint.values), hint.boxes, classes)


def check_hints(cfg: Config) -> None:
    """Read the hints before any work.

    Raises:
        UserError: they cannot be read, or say what cannot be.
    """
    if cfg.data.hints:
        open_hints(cfg.data, seed_index(cfg))


def with_hints(stage: Stage, more: tuple[str, ...] = ()) -> Stage:
    """The stage with the hints, where there are any, among what its output depends on.

    Args:
        more: what it then reads of the configuration, too.
    """
    inputs, reads = stage.inputs, stage.reads

    def all_inputs(cfg: Config) -> Any:
        hints = fingerprint_of(cfg.data, Path(cfg.run) / CONTENTS)
        return [inputs(cfg), hints] if hints else inputs(cfg)

    def all_reads(cfg: Config) -> tuple[str, ...]:
        own = reads(cfg) if callable(reads) else reads
        return (*own, *more) if cfg.data.hints else own

    return replace(stage, inputs=all_inputs, reads=all_reads)


def sentence(cfg: Config, hints: Hints) -> dict[str, Any]:
    """For the record of a stage: how many hints it has used."""
    if not hints:
        return {}
    return {"hinted_images": len(hints.names), "chosen": [f"hints of {cfg.data.hints} were used: {hints}"]}
