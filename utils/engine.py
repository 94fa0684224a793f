"""The training loop that all trained stages share.

Poly schedule, mixed precision, several processes, and resuming in the middle of an epoch.
"""

import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from utils.config import Config
from utils.console import progress
from utils.distributed import Poll, any_of, local_rank, rank, world_size
from utils.errors import UserError
from utils.interrupts import deferred_interrupt, leave_to_main
from utils.memory import give_back_memory
from utils.run import Run
from utils.training_state import TrainingState, sum_totals

logger = logging.getLogger(__name__)


Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class Compute:
    """Where and how tensors are computed: device, mixed precision, memory format."""

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
        return network.to(self.device, memory_format=layout)  # type: ignore[call-overload]  # torch's types leave it out

    def forward(self, network: nn.Module) -> Callable[..., Any]:
        """The network as training calls it: gradients averaged over processes, compiled where that was asked for."""
        shared = network
        if world_size() > 1:
            devices = [self.device.index] if self.device.type == "cuda" else None
            # Buffers are equal everywhere without being sent: batch norm is frozen or shared. A network may have parts that its
            # head does not read, the same in every step.
            with warnings.catch_warnings():  # of a new name for `broadcast_buffers`, which older versions do not know
                warnings.simplefilter("ignore")
                shared = DistributedDataParallel(network, devices, broadcast_buffers=False, static_graph=True)
        return _Compiled(shared) if self.compile else shared


class _Compiled:
    """A network compiled at its first call, or as it is where that fails, which is said."""

    def __init__(self, network: nn.Module):
        from torch._dynamo.exc import TorchDynamoException  # takes a second, which only those who compile should wait

        self.network, self.call, self.failure = network, torch.compile(network), TorchDynamoException

    def __call__(self, *inputs: Any) -> Any:
        try:
            return self.call(*inputs)
        except self.failure as error:
            reason = str(error).strip().splitlines()[0][:200]
            logger.warning(
                "compile: torch.compile failed (%s), so the network runs as it is; --set compile=false is the same "
                "without this line",
                reason,
            )
            self.call = self.network
            return self.network(*inputs)


def choose_compute(cfg: Config) -> Compute:
    """The device that the settings and the machine give; of several processes each has the GPU of its number on its machine.

    Raises:
        UserError: a device that is not here.
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
            f"device '{name}' is one GPU, and there are {world_size()} processes, each of which takes its own; use --set device=cuda"
        )
    if local_rank() >= torch.cuda.device_count():
        raise UserError(
            f"there are more processes than the {torch.cuda.device_count()} GPUs of this machine; use torchrun "
            f"--nproc_per_node={torch.cuda.device_count()}, or --set device=cpu"
        )
    torch.cuda.set_device(local_rank())
    return f"cuda:{local_rank()}"


class ResumableSampler(Protocol):
    """A sampler that can start an epoch anywhere (data.dataset.TrainingSampler)."""

    batch_size: int
    share: int
    steps_per_epoch: int

    def split(self, rank: int, processes: int) -> None:
        """Give only what process `rank` takes of each batch."""

    def start(self, epoch: int, step: int = 0) -> None:
        """The next iteration is that epoch's, without its first `step` batches."""

    def __iter__(self) -> Iterator[Any]: ...


Unpack = Callable[[dict[str, Any]], dict[str, Any]]  # batch on the device -> the same as losses take it
Losses = Callable[[Any, dict[str, Any]], dict[str, Tensor]]  # (forward pass, unpacked batch) -> named scalars


@dataclass(frozen=True)
class Schedule:
    """SGD with the poly schedule: lr * (1 - step / steps) ** power; and the section of settings that it comes from."""

    epochs: int
    lr: float
    head_lr: float
    momentum: float
    weight_decay: float
    poly_power: float
    section: str


def train_network(
    run: Run,
    stage: str,
    network: nn.Module,
    head: nn.Module,
    losses: Losses,
    dataset: Dataset,
    unpack: Unpack,
    sampler: ResumableSampler,
    schedule: Schedule,
    compute: Compute,
    workers: int,
    seed: int,
) -> dict[str, float]:
    """Train `network` in place.

    Args:
        run, stage: where progress is logged and the resumable state `STAGE.last.pth` is kept.
        network: on the device; parameters without `requires_grad` are left alone.
        head: the part of it with its own learning rate.
        losses: (network, unpacked batch) -> named scalar losses; their sum is descended. With several processes each sees
            its part of the batch, and its losses are its part of the whole batch's: they are divided by counts of all
            (`utils.distributed.total`), so that the sum over processes is the loss that one process would have.
        dataset, sampler: batches of dictionaries; the sampler gives the dataset's indices.
        unpack: what makes the losses' batch of the dataset's, which lies on the device; `dict` where they are the same.
        workers: loader processes.
        seed: of dropout and the like; the sampler has its own.

    Returns:
        The mean of each loss, and of their sum `loss`, over the last epoch.
    """
    # Each process has its own dropout; what they share, images and weights, has other seeds.
    torch.manual_seed(seed + rank())
    _split(sampler, stage, schedule.section)
    per_epoch = sampler.steps_per_epoch
    steps = schedule.epochs * per_epoch
    descent = _Descent(network, head, losses, unpack, schedule, steps, compute)
    state = TrainingState(run.path(f"{stage}.last.pth"), run.fingerprint, compute.device, descent.parts())
    step, totals = state.load()
    if step:
        run.log(f"{stage:9} resumed at step {step} of {steps}")
    loader = _loader(dataset, sampler, compute, workers)
    descent.begin()
    poll = Poll()
    with deferred_interrupt("stopping after this step") as stop:
        for epoch in range(step // per_epoch, schedule.epochs):
            first = step % per_epoch
            sampler.start(epoch, first)
            totals = totals if first else {}
            started = time.perf_counter()
            title = f"{stage} epoch {epoch + 1}/{schedule.epochs}"
            for batch in progress(loader, per_epoch, title, first, unit="step"):
                # Summed on the device: reading a value here would wait for it.
                for name, value in descent.step(batch).items():
                    totals[name] = totals.get(name, 0) + value
                step += 1
                stopping, saving = poll.ask(stop.is_set(), state.is_due())
                # The end of an epoch is saved below, once it is known to be sound.
                if (stopping or saving) and step % per_epoch:
                    state.save(step, totals)
                    if stopping:
                        raise KeyboardInterrupt(f"in stage {stage} at step {step} of {steps}, which is kept")
            poll.close()
            rate = (per_epoch - first) * sampler.batch_size / (time.perf_counter() - started)
            _record_epoch(run, stage, epoch + 1, schedule, step, rate, _means(totals, per_epoch))
            state.save(step, totals)
            if any_of(stop.is_set()):
                raise KeyboardInterrupt(f"in stage {stage} after epoch {epoch + 1} of {schedule.epochs}, which is kept")
    network.eval()
    return _means(totals, per_epoch)


def _split(sampler: ResumableSampler, stage: str, section: str) -> None:
    """Give this process its part of each batch."""
    if sampler.batch_size < world_size():
        raise UserError(
            f"a batch of stage '{stage}' has {sampler.batch_size} images, too few for {world_size()} processes, each of "
            f"which needs one; raise {section}.batch_size, or start fewer processes"
        )
    sampler.split(rank(), world_size())


class _Descent:
    """A network on its way down: its forward pass, losses, optimizer and learning rate; `step` takes a batch."""

    def __init__(
        self,
        network: nn.Module,
        head: nn.Module,
        losses: Losses,
        unpack: Unpack,
        schedule: Schedule,
        steps: int,
        compute: Compute,
    ):
        self.network, self.losses, self.unpack, self.compute = network, losses, unpack, compute
        self.optimizer = _optimizer(network, head, schedule)
        self.poly = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda step: max(0.0, 1 - step / steps) ** schedule.poly_power
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16")

    def parts(self) -> dict[str, Any]:
        """What has a state to resume from, by name."""
        return {"network": self.network, "optimizer": self.optimizer, "poly": self.poly, "scaler": self.scaler}

    def begin(self) -> None:
        """To be called once the state is loaded."""
        self.forward = self.compute.forward(self.network)
        self.network.train()

    def step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step; the named losses and their sum `loss`, scalars on the device without a graph."""
        batch = self.unpack({name: _to_device(value, self.compute.device) for name, value in batch.items()})
        batch = {name: _laid_out(value, self.compute) for name, value in batch.items()}
        with self.compute.autocast():
            terms = self.losses(self.forward, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients of processes are averaged, and the loss is the sum of their parts.
        self.scaler.scale(loss * world_size()).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.poly.step()
        return {name: value.detach() for name, value in (terms | {"loss": loss}).items()}


def _optimizer(network: nn.Module, head: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    """SGD over what is trained, the head with its own learning rate."""
    head_ids = {id(parameter) for parameter in head.parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in head_ids], "lr": schedule.lr},
        {"params": [p for p in trained if id(p) in head_ids], "lr": schedule.head_lr},
    ]
    return torch.optim.SGD(
        [g for g in groups if g["params"]], momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )


def _loader(dataset: Dataset, sampler: ResumableSampler, compute: Compute, workers: int) -> DataLoader:
    give_back_memory()  # else the system copies what is free, too, once a loader process shares it
    return DataLoader(
        dataset,
        batch_size=sampler.share,
        sampler=sampler,
        num_workers=workers,
        pin_memory=compute.device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=leave_to_main,
        generator=torch.Generator(),  # its own: dropout draws the same numbers, however often the loader was started
    )


def _record_epoch(
    run: Run, stage: str, epoch: int, schedule: Schedule, step: int, rate: float, means: dict[str, float]
) -> None:
    """Note an epoch's losses, or refuse them where they are no numbers."""
    if not means["loss"] < float("inf"):
        raise UserError(
            f"training of stage '{stage}' diverged in epoch {epoch} (loss {means['loss']}); "
            f"lower {schedule.section}.lr, which is {schedule.lr}"
        )
    run.record(stage, epoch=epoch, step=step, images_per_second=round(rate, 2), **means)
    shown = ", ".join(f"{name} {value:.4f}" for name, value in means.items() if name != "loss" or len(means) > 2)
    run.log(f"{stage:9} epoch {epoch}/{schedule.epochs}: {shown} ({rate:.1f} images/s)")


def _means(totals: dict[str, Tensor], steps: int) -> dict[str, float]:
    """Of all processes."""
    return {name: float(value) / steps for name, value in sum_totals(totals).items()}


def _to_device(value: Any, device: torch.device) -> Any:
    return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value


def _laid_out(value: Any, compute: Compute) -> Any:
    """Images in the memory format."""
    return compute.image(value) if isinstance(value, Tensor) and value.ndim == 4 else value
