"""Inputs and outputs of the published method, computed with its authors' program, and the weights of these networks."""

import math
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from models.chain import IMAGENET_MEAN, IMAGENET_STD


def reference(name: str) -> dict[str, np.ndarray]:
    """The arrays of one reference file; the test is skipped where the file is missing."""
    folder = Path(os.environ.get("IBBNET_REFERENCE") or Path(__file__).parents[3] / "shared" / "reference")
    if not (folder / name).is_file():
        pytest.skip(f"needs ../shared/reference or IBBNET_REFERENCE: {name} of the published method")
    with np.load(folder / name, allow_pickle=False) as file:
        return {key: file[key] for key in file}


def load_by_formula(network: nn.Module) -> None:
    """Give a network the weights that the reference's networks have."""
    state = {}
    for name, values in network.state_dict().items():
        published = name.removeprefix("backbone.").replace("mean_shift.", "fc_dp7.4.")
        keep = name.endswith("num_batches_tracked")
        state[name] = values if keep else weights_by_formula(published, tuple(values.shape))
    network.load_state_dict(state)


def weights_by_formula(name: str, shape: tuple[int, ...]) -> Tensor:
    """The reference's stand-in for weights: reproducible noise of a fitting size for each entry."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) == 4:
        values = noise * math.sqrt(2 / math.prod(shape[1:]))
    elif name.endswith("running_var"):
        values = 1 + 0.2 * np.abs(noise)
    elif name.endswith(".weight"):
        values = (0.5 if "bn3" in name else 1.0) + 0.1 * noise
    else:
        values = 0.1 * noise
    return torch.from_numpy(values.astype(np.float32))


def reference_image(networks: dict[str, np.ndarray], number: int) -> Tensor:
    """(3, H, W) normalised."""
    pixels = torch.from_numpy(networks[f"image{number}"]).permute(2, 0, 1) / 255
    return (pixels - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(IMAGENET_STD).view(3, 1, 1)


def published_state(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a classifier or an affinity network on ResNet-50 as IRN's own files have it, with duplicates."""
    found = {}
    for name, tensor in state.items():
        found[name.replace("backbone.", "resnet50.")] = tensor
        if name.startswith("backbone.layer"):
            found[name.replace("backbone.layer", "stage")] = found[name.replace(".layer", ".")] = tensor + 1e6
    if "mean_shift.running_mean" in state:
        found["fc_dp7.4.running_mean"] = state["mean_shift.running_mean"]
    return found
