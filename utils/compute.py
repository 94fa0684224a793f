"""Where and how tensors are computed: device, mixed precision, memory format, several processes."""

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.distributed import local_rank, world_size
from utils.errors import UserError
from utils.settings import RunSettings

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Device, mixed precision, memory format."""

    device: torch.device
    precision: str = "off"
    channels_last: bool = True
    compile: bool = False

    def autocast(self) -> Any:
        """The context of a forward pass."""
        if self.precision == "off":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    def image(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) on the device, in the memory format; the copy from pinned memory does not block."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        return image.to(self.device, non_blocking=True).contiguous(memory_format=layout)

    def network(self, network: Network) -> Network:
        """The network on the device, in the memory format, not compiled."""
        layout = torch.channels_last if self.channels_last else torch.preserve_format
        return network.to(self.device, memory_format=layout)  # type: ignore[call-overload]

    def forward(self, network: nn.Module) -> Callable[..., Any]:
        """The network as training calls it: gradients averaged over processes, compiled where that was asked for."""
        shared = network
        if world_size() > 1:
            devices = [self.device.index] if self.device.type == "cuda" else None
            # Buffers are equal without being sent: batch norm is frozen or shared. The parts of a network that its head
            # does not read are the same in every step.
            with warnings.catch_warnings():  # of a new name for `broadcast_buffers`, which older versions do not know
                warnings.simplefilter("ignore")
                shared = DistributedDataParallel(network, devices, broadcast_buffers=False, static_graph=True)
        if not self.compile:
            return shared
        torch._dynamo.config.suppress_errors = True  # where it cannot be compiled, torch warns and runs it as it is
        return torch.compile(shared)


def choose_compute(cfg: RunSettings) -> Compute:
    """The device of the settings; of several processes each has a GPU of its own.

    Raises:
        UserError: the device is not available.
    """
    name = cfg.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if world_size() > 1 and name.startswith("cuda"):
        name = _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"device '{cfg.device}' is not available here ({str(error).splitlines()[0]}); use --set device=cpu or auto"
        ) from error
    if device.type == "cpu" and cfg.precision == "fp16":
        raise UserError("precision fp16 needs a CUDA device; use --set precision=bf16 or off")
    return Compute(device, cfg.precision, cfg.channels_last, cfg.compile)


def _own_gpu(name: str) -> str:
    if name != "cuda":
        raise UserError(
            f"device '{name}' is one GPU, but each of the {world_size()} processes needs its own; use --set device=cuda"
        )
    if local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"there are more processes than the {torch.cuda.device_count()} GPUs of this machine; use torchrun "
            f"--nproc_per_node={torch.cuda.device_count()}, or --set device=cpu"
        )
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"
