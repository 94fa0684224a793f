"""The published weights of timm's networks: from the Hugging Face cache or the network, or from a file as published."""

import sys
from pathlib import Path
from typing import Any

import timm
from huggingface_hub.constants import HF_HUB_CACHE
from torch import Tensor, nn

from utils.errors import UserError


def create(name: str, has_weights: bool, **options: Any) -> nn.Module:
    """A network of timm with its published weights, or with random ones."""
    try:
        return timm.create_model(name, pretrained=has_weights, **options)
    except (OSError, ConnectionError) as error:
        raise UserError(_missing(name, f"could not be had ({type(error).__name__})")) from error
    except RuntimeError as error:
        if has_weights and "pretrained weights" in str(error):
            raise UserError(_missing(name, "are not published for this name")) from error
        raise


def _missing(name: str, what: str) -> str:
    config = timm.get_pretrained_cfg(name)
    other = "use model.backbone=efficientnet_lite0, whose weights come with pip"
    ways = f"set model.weights to none or to a file, or {other}"
    message = f"the ImageNet weights of timm/{name} {what}; "
    if config is None or not config.has_weights:
        return message + ways
    hub = config.hf_hub_id and (config.hf_hub_id if "/" in config.hf_hub_id.rstrip("/") else "")
    if not hub:
        return f"{message}the file is {config.url or config.hf_hub_id}; {ways}"
    folder = Path(HF_HUB_CACHE) / f"models--{hub.replace('/', '--')}"
    return (
        f"{message}the file is model.safetensors of https://huggingface.co/{hub}. Where there is a network, run "
        f"'hf download {hub}' and copy the folder it writes to {folder}, or download the file and set model.weights to "
        f"its path; otherwise {ways}"
    )


def load_published(net: nn.Module, name: str, state: dict[str, Tensor]) -> bool:
    """Load a state under its publisher's names into a network as it was cut; False where it is not this network's.

    timm knows how the names of publishers become its own, and position embeddings of another size are resampled.
    """
    bare = timm.create_model(name, pretrained=False, num_classes=0)
    translate = getattr(sys.modules[type(bare).__module__], "checkpoint_filter_fn", None)
    try:
        state = translate(state, bare) if translate else state
    except (KeyError, RuntimeError, AttributeError, TypeError, ValueError):
        return False
    # Networks that are cut into features have underscores where the whole ones have points.
    published = {key.replace(".", "_"): value for key, value in state.items() if isinstance(value, Tensor)}
    wanted = net.state_dict()
    own = {key: tensor for key, tensor in wanted.items() if key.endswith("num_batches_tracked")}  # nobody reads them
    found = {key: published.get(key.replace(".", "_"), own.get(key)) for key in wanted}
    if any(tensor is None or tensor.shape != wanted[key].shape for key, tensor in found.items()):
        return False
    net.load_state_dict(found)
    return True
