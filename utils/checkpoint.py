"""Checkpoints that describe themselves: what kind of network, which classes, which backbone, which settings.

A file holds plain values and tensors only and is read with `weights_only=True`, so opening one never runs code.
"""

import argparse
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from safetensors.torch import load_file

from utils.errors import UserError
from utils.files import atomic_path

# In torch's message about a file that would run code: the class, or that it is compiled.
REFUSED = re.compile(r"GLOBAL (?P<name>[\w.]+)|TorchScript", re.DOTALL)
FORMAT = "ibbnet"
VERSION = 1
MOST_UNPACKED = 3  # times the size of the file; torch does not compress, `exports.release` saves a third


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and all that is needed to use it."""

    kind: Literal["classifier", "affinity", "segmenter"]
    class_names: tuple[str, ...]  # the C foreground classes; background is not among them
    backbone: str  # a name that `models.backbone.build_backbone` knows
    config: dict[str, Any]  # the run's settings, as `to_dict` gives them
    state: dict[str, torch.Tensor]
    figures: dict[str, float]  # of training, by name
    normalisation: dict[str, list[float]]  # mean and deviation of RGB in 0..1 that the backbone was trained with


def save_checkpoint(path: str | Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; tensors go to the CPU."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.state.items()}
    content = vars(checkpoint) | {"class_names": list(checkpoint.class_names), "state": state}
    save_tensors(path, {"format": FORMAT, "version": VERSION, **content})


def save_tensors(path: str | Path, content: Any) -> None:
    """Write plain values and tensors, whole or not at all, and wait until they are on the disk."""
    with atomic_path(path, durable=True) as temporary:
        try:
            with temporary.open("wb") as file:  # torch would write the name of a path into the file
                torch.save(content, file)
        except RuntimeError as error:  # torch's writer has no OSError for a full disk
            raise OSError(f"torch's writer stopped: {str(error).splitlines()[0]}") from error


def load_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint onto the CPU; `UserError` where it is none, or of a newer version."""
    return to_checkpoint(load_tensors(path), path)


def to_checkpoint(content: Any, path: str | Path) -> Checkpoint:
    """What `load_tensors` returned, as a checkpoint; `path` is for messages."""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        expected = "expected a file that train.py wrote, such as checkpoints/best_model.pth"
        raise UserError(f"{path} is not an IBBNet checkpoint; {expected}")
    if isinstance(version := content.get("version", 0), int) and version > VERSION:
        what = f"was written by a newer IBBNet (checkpoint version {version}, known: {VERSION})"
        raise UserError(f"{path} {what}; update this project")
    hints, fault = get_type_hints(Checkpoint), ""
    if missing := [name for name in hints if name not in content]:
        fault = f"it lacks {', '.join(missing)}"
    elif strange := [name for name, hint in hints.items() if not _fits(content[name], hint)]:
        fault = f"its {', '.join(strange)} {'are' if len(strange) > 1 else 'is'} of another type than expected"
    if fault:
        raise UserError(f"{path} is damaged: {fault}; train again or take another file")
    return Checkpoint(**{name: content[name] for name in hints} | {"class_names": tuple(content["class_names"])})


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value of a file, which may come from anywhere, is as annotated; `Any` is what YAML has, no tensor."""
    if hint is Any:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
        if parts is None:
            return value is None or isinstance(value, bool | int | float | str)
        return all(_fits(part, Any) for part in parts)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is dict:
        of_name, of_entry = arguments
        return isinstance(value, dict) and all(_fits(n, of_name) and _fits(e, of_entry) for n, e in value.items())
    if origin in (list, tuple):
        return isinstance(value, list | tuple) and all(_fits(entry, arguments[0]) for entry in value)
    if origin is Literal:
        return isinstance(value, str)
    return isinstance(value, (int, float) if hint is float else hint)


def load_tensors(path: str | Path) -> Any:
    """The plain values and tensors of a `.pth` or `.safetensors` file, on the CPU, without running code from it.

    A missing or damaged file, or one with more than that (a whole model is a program), is a `UserError`.
    """
    path = Path(path)
    if not path.is_file():
        remedy = "train first (python train.py --config config.yaml) or give the path of a .pth file"
        raise UserError(f"there is no file {path}; {remedy}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MOST_UNPACKED * path.stat().st_size:
                raise ValueError(f"it would unpack to {unpacked} bytes")
        torch.serialization.add_safe_globals([argparse.Namespace])  # plain values, often saved beside weights
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes may raise any kind
        text = f"{type(error).__name__}: {error}"
        if refused := REFUSED.search(text):
            what = refused["name"] or "a TorchScript program"
            why = "opening that would run code from the file, which is refused"
            remedy = "in the project that made it, save the weights alone: torch.save(model.state_dict(), FILE)"
            raise UserError(f"{path} holds more than plain tensors: {what}; {why}; {remedy}") from error
        why = "the file is damaged, or holds more than plain tensors, which is refused"
        remedy = "download or copy it again, or save its state_dict() alone"
        text = text.splitlines()[0][:200]
        raise UserError(f"{path} cannot be read as weights ({text}); {why}; {remedy}") from error
