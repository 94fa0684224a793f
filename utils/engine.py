"""The training loop that all trained stages share: mixed precision, several processes, resuming inside an epoch."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from utils.checkpoint import load_tensors, save_tensors
from utils.compute import Compute
from utils.console import deferred_interrupt, progress
from utils.distributed import any_of, barrier, gather, is_main, rank, total, world_size
from utils.errors import UserError
from utils.memory import give_back_memory
from utils.optimisation import Optimisation, build_optimizer, build_schedule
from utils.reading import leave_to_main
from utils.run import Run

SAVE_EVERY = 60.0  # seconds between resumable states

Unpack = Callable[[dict[str, Any]], dict[str, Any]]  # batch on the device -> the same as losses take it
Losses = Callable[[Any, dict[str, Any]], dict[str, Tensor]]  # (forward pass, unpacked batch) -> named scalars


@dataclass(frozen=True)
class TrainingData:
    """What a network is trained on: a dataset of dictionaries, and what gives its indices."""

    items: Dataset
    sampler: Any  # can start an epoch anywhere, as data.dataset.TrainingSampler
    unpack: Unpack = dict


class Watch:
    """Evaluates a network every so many epochs, and after the last one.

    Args:
        figure: its name in the log and in metrics.jsonl.
        score: the network in evaluation mode -> its figure, the higher the better, the same in all processes.
        keep_best: go back to the weights of the best evaluated epoch at the end; of equal ones the first.
    """

    def __init__(self, figure: str, score: Callable[[Any], float], every: int, keep_best: bool = False):
        self.figure, self.score, self.every, self.keep_best = figure, score, every, keep_best
        self.best_epoch, self.best = 0, float("-inf")
        self._weights: dict[str, Tensor] = {}

    def after_epoch(self, network: nn.Module, epoch: int, epochs: int) -> dict[str, float]:
        """The figure after an epoch (from 1 on) by name; nothing where it is not its turn.

        The network keeps its mode, and training draws the same random numbers as without this.
        """
        if epoch % self.every and epoch != epochs:
            return {}
        was_training = network.training
        network.eval()
        with torch.random.fork_rng():
            score = self.score(network)
        network.train(was_training)
        if score > self.best:
            self.best, self.best_epoch = score, epoch
            if self.keep_best:
                self._weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
        return {self.figure: score}

    def finish(self, network: nn.Module) -> None:
        """Bring back the best weights, where they are to be kept."""
        if self._weights:
            network.load_state_dict(self._weights)

    def state_dict(self) -> dict[str, Any]:
        """What is known so far, to go on from."""
        return {"best_epoch": self.best_epoch, "best": self.best, "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.best_epoch, self.best, self._weights = state["best_epoch"], state["best"], state["weights"]


@dataclass(frozen=True)
class Plan:
    """How a stage trains."""

    stage: str  # names the resumable state `STAGE.last.pth`
    section: str  # of the settings, for messages
    epochs: int
    optimisation: Optimisation
    compute: Compute
    workers: int
    seed: int  # of dropout and other random layers; the sampler has its own
    watch: Watch | None = None  # evaluates the network as it goes


def train_network(run: Run, plan: Plan, network: nn.Module, data: TrainingData, losses: Losses) -> dict[str, float]:
    """Train `network` in place, on its device; the mean of each loss, and of their sum `loss`, over the last epoch.

    The sum of the `losses` is minimised. Each of several processes sees its part of the batch and divides by counts of
    the whole batch (`utils.distributed.total`), so the sum over the processes is the loss of one process.
    """
    if data.sampler.batch_size < world_size():
        what = f"{data.sampler.batch_size} images, too few for {world_size()} processes, each of which needs one"
        remedy = f"raise {plan.section}.batch_size, or start fewer processes"
        raise UserError(f"a batch of stage '{plan.stage}' has {what}; {remedy}")
    data.sampler.split(rank(), world_size())
    # Each process has its own dropout; images and weights have seeds of their own.
    torch.manual_seed(plan.seed + rank())
    return _Training(run, plan, network, data, losses).train()


class _Training:
    def __init__(self, run: Run, plan: Plan, network: nn.Module, data: TrainingData, losses: Losses):
        self.run, self.plan, self.network, self.data, self.losses = run, plan, network, data, losses
        self.compute, self.per_epoch = plan.compute, data.sampler.steps_per_epoch
        self.steps = plan.epochs * self.per_epoch
        self.optimizer = build_optimizer(network, plan.optimisation)
        self.schedule = build_schedule(self.optimizer, plan.optimisation, self.steps)
        self.scaler = torch.amp.GradScaler(self.compute.device.type, enabled=self.compute.precision == "fp16")
        parts = {"network": network, "optimizer": self.optimizer, "poly": self.schedule, "scaler": self.scaler}
        if plan.watch is not None:
            parts["watch"] = plan.watch
        self.state = _State(run.path(f"{plan.stage}.last.pth"), run.fingerprint, self.compute.device, parts)

    def train(self) -> dict[str, float]:
        step, totals = self.state.load()
        plan, sampler, per_epoch = self.plan, self.data.sampler, self.per_epoch
        if step:
            self.run.log(f"{plan.stage:9} resumed at step {step} of {self.steps}")
        loader = self._loader()
        self.forward = self.compute.forward(self.network)  # once the state is loaded
        self.network.train()
        with deferred_interrupt("stopping after this step") as stop:
            for epoch in range(step // per_epoch, plan.epochs):
                started = time.perf_counter()
                first = step % per_epoch  # above 0 only where a stopped epoch goes on, with the totals that it had
                sampler.start(epoch, first)
                totals = self._run_epoch(loader, totals if first else {}, epoch, first, stop.is_set)
                step = (epoch + 1) * per_epoch
                rate = (per_epoch - first) * sampler.batch_size / (time.perf_counter() - started)
                watched = plan.watch.after_epoch(self.network, epoch + 1, plan.epochs) if plan.watch else {}
                self._record_epoch(epoch + 1, step, rate, _means(totals, per_epoch), watched)
                self.state.save(step, totals)
                if any(any_of(stop.is_set())):
                    where = f"in stage {plan.stage} after epoch {epoch + 1} of {plan.epochs}"
                    raise KeyboardInterrupt(f"{where}, which is kept")
        self.network.eval()
        if plan.watch is not None:
            plan.watch.finish(self.network)
        return _means(totals, per_epoch)

    def _run_epoch(
        self, loader: DataLoader, totals: dict[str, Tensor], epoch: int, first: int, is_stopping: Callable[[], bool]
    ) -> dict[str, Tensor]:
        """The steps of an epoch from step `first` of it on; the sums of its losses, added to `totals`."""
        plan = self.plan
        title = f"{plan.stage} epoch {epoch + 1}/{plan.epochs}"
        for done, batch in enumerate(progress(loader, self.per_epoch, title, first, unit="step"), first + 1):
            # Summed on the device: reading a value here would wait for it.
            for name, value in self._step(batch).items():
                totals[name] = totals.get(name, 0) + value
            stopping, saving = any_of(is_stopping(), self.state.is_due())
            # The end of an epoch is saved by the caller, once its loss is known to be finite.
            if (stopping or saving) and done < self.per_epoch:
                step = epoch * self.per_epoch + done
                self.state.save(step, totals)
                if stopping:
                    raise KeyboardInterrupt(f"in stage {plan.stage} at step {step} of {self.steps}, which is kept")
        return totals

    def _step(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step; the named losses and their sum `loss`, scalars on the device without a graph."""
        for name, value in batch.items():
            batch[name] = value.to(self.compute.device, non_blocking=True) if isinstance(value, Tensor) else value
        batch = self.data.unpack(batch)
        for name, value in batch.items():
            batch[name] = self.compute.image(value) if isinstance(value, Tensor) and value.ndim == 4 else value
        with self.compute.autocast():
            terms = self.losses(self.forward, batch)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients of processes are averaged, and the loss is the sum of their parts.
        self.scaler.scale(loss * world_size()).backward()
        if clip := self.plan.optimisation.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        return {name: value.detach() for name, value in (terms | {"loss": loss}).items()}

    def _loader(self) -> DataLoader:
        give_back_memory()  # else the system copies what is free, too, once a loader process shares it
        how: dict[str, Any] = {"pin_memory": self.compute.device.type == "cuda", "worker_init_fn": leave_to_main}
        how |= {"num_workers": self.plan.workers, "persistent_workers": self.plan.workers > 0}
        how["generator"] = torch.Generator()  # its own, so that dropout does not depend on the loader
        return DataLoader(self.data.items, self.data.sampler.share, sampler=self.data.sampler, **how)

    def _record_epoch(
        self, epoch: int, step: int, rate: float, means: dict[str, float], watched: dict[str, float]
    ) -> None:
        """Note an epoch, its losses, what was evaluated, and the `rate` in images a second; refuse infinite losses."""
        stage, plan = self.plan.stage, self.plan
        if not means["loss"] < float("inf"):  # NaN is not below it either
            remedy = f"lower {plan.section}.lr, which is {plan.optimisation.lr}"
            raise UserError(f"training of stage '{stage}' diverged in epoch {epoch} (loss {means['loss']}); {remedy}")
        self.run.record(stage, epoch=epoch, step=step, images_per_second=round(rate, 2), **means, **watched)
        # With one term, its sum `loss` is the same figure.
        parts = [f"{name} {value:.4f}" for name, value in means.items() if name != "loss" or len(means) > 2]
        parts += [f"{name} {value:.3f}" for name, value in watched.items()]
        self.run.log(f"{stage:9} epoch {epoch}/{plan.epochs}: {', '.join(parts)} ({rate:.1f} images/s)")


class _State:
    """What training keeps so as to go on as if it had not stopped: `parts`, each with a state of its own.

    The main process writes it, `STAGE.last.pth`. Another number of processes may go on from it: they see the same
    images, but draw new dropout.
    """

    def __init__(self, path: Path, fingerprint: str, device: torch.device, parts: dict[str, Any]):
        self.path, self.fingerprint, self.device, self.parts = path, fingerprint, device, parts
        self.saved_at = time.monotonic()

    def load(self) -> tuple[int, dict[str, Tensor]]:
        """The steps done, and this process's part of the epoch's sums of losses; 0 and none without such a state."""
        try:
            content = load_tensors(self.path) if self.path.is_file() else {}
        except UserError:  # damaged; a state is only a short cut
            content = {}
        expected = {"fingerprint", "step", "totals", "noise", *self.parts}
        fits = isinstance(content, dict) and expected <= set(content) and content["fingerprint"] == self.fingerprint
        step = content["step"] if fits else 0
        if len(set(gather(step))) > 1:
            remedy = "the run folder must be the same for all: on several machines give one that they share with --run"
            raise UserError(f"processes find different states {self.path} to go on from; {remedy}")
        if not step:
            return 0, {}
        for name, part in self.parts.items():
            part.load_state_dict(content[name])
        if len(content["noise"]) == world_size():
            noise = content["noise"][rank()]
            torch.set_rng_state(noise["cpu"])
            if "cuda" in noise and self.device.type == "cuda":
                torch.cuda.set_rng_state(noise["cuda"], self.device)
        # The sums are those of all processes: the main one goes on from them, the others from nothing.
        return step, {name: sums.to(self.device) * is_main() for name, sums in content["totals"].items()}

    def is_due(self) -> bool:
        """Whether the last state is old; one process asks, so that all agree."""
        return is_main() and time.monotonic() - self.saved_at > SAVE_EVERY

    def save(self, step: int, totals: dict[str, Tensor]) -> None:
        """Write the state; all processes call it, and it is there when they return."""
        noise = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            noise["cuda"] = torch.cuda.get_rng_state(self.device)
        content = {"fingerprint": self.fingerprint, "step": step, "totals": _sums(totals), "noise": gather(noise)}
        if is_main():
            save_tensors(self.path, content | {name: part.state_dict() for name, part in self.parts.items()})
        barrier()
        self.saved_at = time.monotonic()


def _sums(totals: dict[str, Tensor]) -> dict[str, Tensor]:
    """Scalars by name, each summed over all processes, in one message."""
    if not totals:
        return {}
    return dict(zip(totals, total(torch.stack(list(totals.values()))).unbind(), strict=True))


def _means(totals: dict[str, Tensor], steps: int) -> dict[str, float]:
    return {name: float(value) / steps for name, value in _sums(totals).items()}
