"""Where and how tensors are computed."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from utils.distributed import barrier, world_size
from utils.errors import UserError
from utils.reading import read_ahead
from utils.settings import RunSettings

Network = TypeVar("Network", bound=nn.Module)
Item = TypeVar("Item")
T = TypeVar("T")

CPU_INFO = Path("/proc/cpuinfo")
MOST_LANES = 2  # each holds what a network has computed of an image, up to a few gigabytes
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of Linux: x86, x86, ARM


@dataclass(frozen=True)
class Compute:
    """Device, mixed precision, memory format."""

    device: torch.device
    precision: str = "off"  # or bf16, fp16
    channels_last: bool = True
    compile: bool = False
    is_fastest: bool = False  # whether the precision was left to the machine (`precision: auto`)

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

    def each(self, function: Callable[[Item], T], items: Iterable[Item]) -> Iterator[T]:
        """`function` of each item, in order: on a CPU of several at a time, each with its own cores (`lanes`)."""
        if self.device.type != "cpu":
            yield from read_ahead(function, items, 1)
            return
        before, (count, threads) = cores(), lanes()
        try:
            yield from read_ahead(function, items, count, lambda: torch.set_num_threads(threads))
        finally:
            torch.set_num_threads(before)

    def do_each(self, function: Callable[[Item], None], items: Iterable[Item]) -> None:
        """As `each`, for a function that writes what it finds; several processes leave when all is written."""
        for _ in self.each(function, items):
            pass
        barrier()

    def forward(self, network: nn.Module) -> Callable[..., Any]:
        """The network as training calls it: gradients averaged over processes, compiled where that was asked for."""
        shared = network
        if world_size() > 1:
            devices = [self.device.index] if self.device.type == "cuda" else None
            # Buffers are equal without being sent: batch norm is frozen or shared. The parts of a network that its head
            # does not read are the same in every step.
            with warnings.catch_warnings():  # of a new name of `broadcast_buffers`
                warnings.simplefilter("ignore")
                shared = DistributedDataParallel(network, devices, broadcast_buffers=False, static_graph=True)
        if not self.compile:
            return shared
        torch._dynamo.config.suppress_errors = True  # where it cannot be compiled, torch warns and runs it as it is
        return torch.compile(shared)


def cores() -> int:
    """How many cores this process may use at once: torch's threads, which OMP_NUM_THREADS and torchrun set."""
    return torch.get_num_threads()


def lanes() -> tuple[int, int]:
    """How many images a CPU computes at a time, and the threads of each."""
    count = min(cores(), MOST_LANES)
    return count, cores() // count


def fastest_precision(device: torch.device) -> str:
    """bf16 where the processor computes in it, fp16 on GPUs that only have that, off elsewhere."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type != "cpu" or not CPU_INFO.is_file():
        return "off"
    lines = CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = next((line for line in lines if line.lower().startswith(("flags", "features"))), "")
    return "bf16" if BF16_FLAGS & set(flags.split()) else "off"


def reading_compute(cfg: RunSettings) -> Compute:
    """`choose_compute` for a stage that trains nothing; auto is never fp16, where gradients of a logit may vanish."""
    compute = choose_compute(replace(cfg, precision=cfg.read_precision))
    return replace(compute, precision="off") if compute.is_fastest and compute.precision == "fp16" else compute


def choose_compute(cfg: RunSettings) -> Compute:
    """The device of the settings, each of several processes its own GPU; `UserError` where it is not available."""
    name = cfg.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if world_size() > 1 and name.startswith("cuda"):
        name = _own_gpu(name)
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        fault = f"device '{cfg.device}' is not available here ({str(error).splitlines()[0]})"
        raise UserError(f"{fault}; use --set device=cpu or auto") from error
    if device.type == "cpu" and cfg.precision == "fp16":
        raise UserError("precision fp16 needs a CUDA device; use --set precision=bf16 or off")
    is_fastest = cfg.precision == "auto"
    precision = fastest_precision(device) if is_fastest else cfg.precision
    return Compute(device, precision, cfg.channels_last, cfg.compile, is_fastest)


def _own_gpu(name: str) -> str:
    if name != "cuda":
        remedy = "use --set device=cuda"
        raise UserError(f"device '{name}' is one GPU, but each of the {world_size()} processes needs its own; {remedy}")
    own = int(os.environ["LOCAL_RANK"])  # the index of this process on its machine
    if own >= torch.cuda.device_count():
        remedy = f"use torchrun --nproc_per_node={torch.cuda.device_count()}, or --set device=cpu"
        raise UserError(f"there are more processes than the {torch.cuda.device_count()} GPUs of this machine; {remedy}")
    torch.cuda.set_device(own)
    return f"cuda:{own}"
