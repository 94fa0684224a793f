"""The training loop that all trained stages share: poly schedule, mixed precision, and resuming in the middle of an epoch."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from utils.checkpoint import load_tensors, save_tensors
from utils.config import Config
from utils.console import progress, say
from utils.errors import UserError
from utils.run import Run

SAVE_EVERY = 60.0  # seconds between resumable states


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

    def network(self, network: nn.Module) -> nn.Module:
        """The network on the device, in the memory format, not compiled."""
        return network.to(
            self.device, memory_format=torch.channels_last if self.channels_last else torch.preserve_format
        )


def choose_compute(cfg: Config) -> Compute:
    """The device that the settings and the machine give.

    Raises:
        UserError: a device that is not here.
    """
    name = cfg.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
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


class ResumableSampler(Protocol):
    """A sampler that can start an epoch anywhere (data.dataset.TrainingSampler)."""

    batch_size: int
    steps_per_epoch: int

    def start(self, epoch: int, step: int = 0) -> None: ...

    def __iter__(self) -> Iterator: ...


@dataclass(frozen=True)
class Schedule:
    """SGD with the poly schedule: lr * (1 - step / steps) ** power."""

    epochs: int
    lr: float
    head_lr: float
    momentum: float
    weight_decay: float
    poly_power: float


def train_network(
    run: Run,
    stage: str,
    network: nn.Module,
    head: nn.Module,
    losses: Callable[[nn.Module, dict[str, Any]], dict[str, Tensor]],
    dataset: Dataset,
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
        losses: (network, batch on the device) -> named scalar losses; their sum is descended.
        dataset, sampler: batches of dictionaries; the sampler gives the dataset's indices.
        workers: loader processes.
        seed: of dropout and the like; the sampler has its own.

    Returns:
        The mean of each loss, and of their sum `loss`, over the last epoch.
    """
    torch.manual_seed(seed)
    head_ids = {id(parameter) for parameter in head.parameters()}
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if id(p) not in head_ids], "lr": schedule.lr},
        {"params": [p for p in trained if id(p) in head_ids], "lr": schedule.head_lr},
    ]
    optimizer = torch.optim.SGD(
        [g for g in groups if g["params"]], momentum=schedule.momentum, weight_decay=schedule.weight_decay
    )
    steps = schedule.epochs * sampler.steps_per_epoch
    poly = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps) ** schedule.poly_power)
    scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.precision == "fp16")
    state = _State(run.path(f"{stage}.last.pth"), run.fingerprint, compute.device, network, optimizer, poly, scaler)
    step, totals = state.load()
    if step:
        run.log(f"{stage:9} resumed at step {step} of {steps}")

    loader = DataLoader(
        dataset,
        batch_size=sampler.batch_size,
        sampler=sampler,
        num_workers=workers,
        pin_memory=compute.device.type == "cuda",
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_interrupts,
        generator=torch.Generator(),  # its own: dropout draws the same numbers, however often the loader was started
    )
    forward = torch.compile(network) if compute.compile else network
    network.train()
    with deferred_interrupt() as stop:
        for epoch in range(step // sampler.steps_per_epoch, schedule.epochs):
            first = step % sampler.steps_per_epoch
            sampler.start(epoch, first)
            if not first:
                totals = {}
            started = time.perf_counter()
            bar = progress(
                loader,
                sampler.steps_per_epoch,
                f"{stage} epoch {epoch + 1}/{schedule.epochs}",
                first,
                unit="step",
            )
            for batch in bar:
                batch = {name: _to_device(value, compute) for name, value in batch.items()}
                with compute.autocast():
                    terms = losses(forward, batch)
                loss = torch.stack(list(terms.values())).sum()
                optimizer.zero_grad(set_to_none=True)
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
                poly.step()
                step += 1
                # Summed on the device: reading a value here would wait for it.
                for name, value in (terms | {"loss": loss}).items():
                    totals[name] = totals.get(name, 0) + value.detach()
                if step % sampler.steps_per_epoch:  # the end of an epoch is saved below, once it is known to be sound
                    if stop.is_set():
                        state.save(step, totals)
                        raise KeyboardInterrupt(f"in stage {stage} at step {step} of {steps}, which is kept")
                    state.save_if_due(step, totals)
            means = _means(totals, sampler.steps_per_epoch)
            if not means["loss"] < float("inf"):
                raise UserError(f"training of stage '{stage}' diverged in epoch {epoch + 1} (loss {means['loss']}); "
                                f"lower {stage}.lr, which is {schedule.lr}")  # fmt: skip
            rate = (sampler.steps_per_epoch - first) * sampler.batch_size / (time.perf_counter() - started)
            run.record(stage, epoch=epoch + 1, step=step, pictures_per_second=round(rate, 2), **means)
            shown = ", ".join(
                f"{name} {value:.4f}" for name, value in means.items() if name != "loss" or len(means) > 2
            )
            run.log(f"{stage:9} epoch {epoch + 1}/{schedule.epochs}: {shown} ({rate:.1f} pictures/s)")
            state.save(step, totals)
            if stop.is_set():
                raise KeyboardInterrupt(f"in stage {stage} after epoch {epoch + 1} of {schedule.epochs}, which is kept")
    network.eval()
    return _means(totals, sampler.steps_per_epoch)


@contextmanager
def deferred_interrupt() -> Iterator[threading.Event]:
    """Within it Ctrl-C sets the event, so that a step can be finished and kept first; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        say("stopping after this step; Ctrl-C again stops at once")

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def _ignore_interrupts(worker: int) -> None:
    """Loader processes leave Ctrl-C, which the terminal sends to all, to the process that can keep what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _means(totals: dict[str, Tensor], steps: int) -> dict[str, float]:
    return {name: float(value) / steps for name, value in totals.items()}


class _State:
    """Everything that training needs to go on as if it had not stopped."""

    def __init__(
        self,
        path: Path,
        fingerprint: str,
        device: torch.device,
        network: nn.Module,
        optimizer: Any,
        poly: Any,
        scaler: Any,
    ):
        self.path, self.fingerprint, self.device = path, fingerprint, device
        self.parts = {"network": network, "optimizer": optimizer, "poly": poly, "scaler": scaler}
        self.saved_at = time.monotonic()

    def load(self) -> tuple[int, dict[str, Tensor]]:
        """Restore; the number of steps done and the epoch's sums of losses: 0 and none without a state of this fingerprint."""
        if not self.path.is_file():
            return 0, {}
        try:
            content = load_tensors(self.path)
        except UserError:
            return 0, {}  # a state is only a short cut
        expected = {"fingerprint", "step", "totals", "random", *self.parts}
        if not isinstance(content, dict) or not expected <= set(content) or content["fingerprint"] != self.fingerprint:
            return 0, {}
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        torch.set_rng_state(content["random"]["cpu"])
        if "cuda" in content["random"] and self.device.type == "cuda":
            torch.cuda.set_rng_state(content["random"]["cuda"], self.device)
        return content["step"], {name: total.to(self.device) for name, total in content["totals"].items()}

    def save_if_due(self, step: int, totals: dict[str, Tensor]) -> None:
        if time.monotonic() - self.saved_at > SAVE_EVERY:
            self.save(step, totals)

    def save(self, step: int, totals: dict[str, Tensor]) -> None:
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        content = {"fingerprint": self.fingerprint, "step": step, "totals": totals, "random": random}
        save_tensors(self.path, content | {name: part.state_dict() for name, part in self.parts.items()})
        self.saved_at = time.monotonic()


def _to_device(value: Any, compute: Compute) -> Any:
    if not isinstance(value, Tensor):
        return value
    return compute.image(value) if value.ndim == 4 else value.to(compute.device, non_blocking=True)
