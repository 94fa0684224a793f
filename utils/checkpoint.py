"""Checkpoints that describe themselves: what kind of network, which classes, which backbone, which settings.

A file holds plain values and tensors only and is read with `weights_only=True`, so opening one never runs code.
`python -m stages.describe FILE` prints what a file is.
"""

import argparse
import pickle
import re
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import torch
from safetensors import SafetensorError

from utils.errors import UserError
from utils.files import atomic_path

# What torch says of a file that would run code: of which class, or that it is compiled.
REFUSED = re.compile(r"GLOBAL (?P<name>[\w.]+)|TorchScript", re.DOTALL)
FORMAT = "ibbnet"
VERSION = 1

# What torch raises for files whose bytes are wrong, or that hold what it refuses.
DAMAGED_WEIGHTS = (
    OSError,
    RuntimeError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
    OverflowError,
    MemoryError,
    RecursionError,
    zipfile.BadZipFile,
    SafetensorError,
)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and all that is needed to use it.

    Attributes:
        kind: `classifier` (CAM network), `affinity` (boundary network) or `segmenter`.
        class_names: the C foreground classes; background is not among them.
        backbone: a name that `models.backbone.build_backbone` knows.
        config: the run's settings, as `utils.config.to_dict` gives them.
        state: the network's `state_dict`.
        figures: what was measured in training, by name.
        normalisation: mean and deviation of RGB in 0..1 that the backbone was trained with.
    """

    kind: Literal["classifier", "affinity", "segmenter"]
    class_names: tuple[str, ...]
    backbone: str
    config: dict[str, Any]
    state: dict[str, torch.Tensor]
    figures: dict[str, float]
    normalisation: dict[str, list[float]]


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; tensors go to the CPU."""
    content = {name: getattr(checkpoint, name) for name in Checkpoint.__dataclass_fields__}
    content["class_names"] = list(checkpoint.class_names)
    content["state"] = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.state.items()}
    save_tensors(path, {"format": FORMAT, "version": VERSION, **content})


def save_tensors(path: str | Path, content: Any) -> None:
    """Write plain values and tensors, whole or not at all, and wait until they are on the disk.

    Raises:
        UserError: it cannot be written.
    """
    with atomic_path(path, durable=True) as temporary:
        try:
            with temporary.open("wb") as file:  # torch would write the name of a path into the file
                torch.save(content, file)
        except RuntimeError as error:  # torch's writer says of a full disk that it is at an unexpected position
            raise OSError(f"torch's writer stopped: {str(error).splitlines()[0]}") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        UserError: no such file, not a checkpoint, one of another program or of a newer version.
    """
    return to_checkpoint(load_tensors(path), path)


def to_checkpoint(content: Any, path: str | Path) -> Checkpoint:
    """What `load_tensors` gave, as a checkpoint; `path` is for messages.

    Raises:
        UserError: as `load_checkpoint`.
    """
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(
            f"{path} is not an IBBNet checkpoint; expected a file that train.py wrote, such as checkpoints/best_model.pth"
        )
    version = content.get("version", 0)
    if isinstance(version, int) and version > VERSION:
        raise UserError(
            f"{path} was written by a newer IBBNet (checkpoint version {version}, known: {VERSION}); update this project"
        )
    missing = [name for name in Checkpoint.__dataclass_fields__ if name not in content]
    if missing:
        raise UserError(f"{path} is damaged: it lacks {', '.join(missing)}; train again or take another file")
    fields = {name: content[name] for name in Checkpoint.__dataclass_fields__}
    strange = [name for name, value in fields.items() if not FIELD_TYPES[name](value)]
    if strange:
        raise UserError(
            f"{path} is damaged: its {', '.join(strange)} {'are' if len(strange) > 1 else 'is'} of another type than expected; "
            "train again or take another file"
        )
    return Checkpoint(**fields | {"class_names": tuple(content["class_names"])})


def _is_table(value: Any, is_entry: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and is_entry(entry) for name, entry in value.items())


def _is_plain(value: Any) -> bool:
    """Whether it holds only what a file of settings can hold."""
    if isinstance(value, dict):
        return all(isinstance(name, str) and _is_plain(entry) for name, entry in value.items())
    if isinstance(value, list | tuple):
        return all(_is_plain(entry) for entry in value)
    return value is None or isinstance(value, str | int | float)


def _is_list(value: Any, kind: type | UnionType) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(entry, kind) for entry in value)


# What a file may hold in each field of `Checkpoint`; it may come from anywhere.
FIELD_TYPES: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: isinstance(value, str),
    "class_names": lambda value: _is_list(value, str),
    "backbone": lambda value: isinstance(value, str),
    "config": lambda value: isinstance(value, dict) and _is_plain(value),
    "state": lambda value: _is_table(value, lambda entry: isinstance(entry, torch.Tensor)),
    "figures": lambda value: _is_table(value, lambda entry: isinstance(entry, int | float)),
    "normalisation": lambda value: _is_table(value, lambda entry: _is_list(entry, int | float)),
}


def load_tensors(path: str | Path) -> Any:
    """The plain values and tensors of a `.pth` or `.safetensors` file, on the CPU, without running code from it.

    Raises:
        UserError: no such file, damaged, or more than plain values and tensors: a whole model is a program.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"there is no file {path}; train first (python train.py --config config.yaml) or give the path of a .pth file"
        )
    try:
        if path.suffix == ".safetensors":
            return _load_safetensors(path)
        _check_unpacked_size(path)
        torch.serialization.add_safe_globals(
            [argparse.Namespace]
        )  # plain values, which many programs save beside weights
        return torch.load(path, map_location="cpu", weights_only=True)
    except DAMAGED_WEIGHTS as error:
        text = f"{type(error).__name__}: {error}"
        if refused := REFUSED.search(text):
            what = refused["name"] or "a TorchScript program"
            raise UserError(
                f"{path} holds more than plain tensors: {what}; opening that would run code from the file, which is "
                "refused; in the project that made it, save the weights alone: torch.save(model.state_dict(), FILE)"
            ) from error
        raise UserError(
            f"{path} cannot be read as weights ({text.splitlines()[0][:200]}); the file is damaged, or holds more than "
            "plain tensors, which is refused; download or copy it again, or save its state_dict() alone"
        ) from error


def _load_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(
            f"{path} needs the package safetensors; install it: python -m pip install safetensors"
        ) from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _check_unpacked_size(path: Path) -> None:
    """Refuse an archive whose entries unpack to more than its size: torch stores them as they are, so only a bomb does."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked} bytes")
