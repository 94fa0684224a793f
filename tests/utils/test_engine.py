"""The training loop: schedule, learning rates, resuming, and what it refuses."""

import json
import math
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from data.dataset import TrainingSampler
from utils import engine
from utils.compute import Compute
from utils.engine import Optimisation, Plan, TrainingData, Watch, train_network
from utils.errors import UserError
from utils.run import Run
from utils.settings import RunSettings

CPU = Compute(torch.device("cpu"))
EPOCHS, IMAGES, BATCH = 3, 11, 2  # 5 steps an epoch, one image left over


class Numbers(Dataset):
    """Items that depend on the whole draw, as augmented images do."""

    def __getitem__(self, draw: tuple[int, int]) -> dict:
        position, seed = draw
        noise = torch.rand(4, generator=torch.Generator().manual_seed(seed % 2**31))
        return {"values": noise + position, "label": torch.tensor(float(position % 2)), "name": str(position)}


class Network(nn.Module):
    """Trained body, frozen part, dropout, batch norm and a head."""

    def __init__(self):
        super().__init__()
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.5))
        self.head = nn.Linear(6, 1)

    def fast_part(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.frozen(x / 10)))[:, 0]


def losses(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
    logits = network(batch["values"])
    fit = nn.functional.binary_cross_entropy_with_logits(logits, batch["label"])
    return {"fit": fit, "size": 0.01 * logits.square().mean()}


def run_in(folder: Path) -> Run:
    """As if stage `toy` of fingerprint `f` were running."""
    run = Run(RunSettings(run=str(folder)))
    run.fingerprint = "f"
    return run


@pytest.fixture
def new_run(tmp_path):
    """name -> a `Run` in a folder of that name."""
    return lambda name="run": run_in(tmp_path / name)


def plan(epochs: int = EPOCHS, workers: int = 0, **optimisation: float) -> Plan:
    settings = {"lr": 0.05, "lr_head_factor": 4.0, "momentum": 0.9, "weight_decay": 1e-4, "poly_power": 0.9}
    return Plan("toy", "toy", epochs, Optimisation(**settings | optimisation), CPU, workers, seed=5)


def train(run: Run, terms=losses, network: nn.Module | None = None, own: Plan | None = None, **optimisation: float):
    """Train a network; it and what training returned."""
    if network is None:
        torch.manual_seed(7)
        network = Network()
    data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3))
    return network, train_network(run, own or plan(**optimisation), network, data, terms)


class Stopped(Exception):
    pass


def stop() -> None:
    raise Stopped


def at(step: int, act: Callable[[], object]):
    """Losses that do this first in that step, counted from 1; `terms.calls` is how many there were."""

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        terms.calls += 1
        if terms.calls == step:
            act()
        return losses(network, batch)

    terms.calls = 0
    return terms


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def metrics(run: Run) -> list[dict]:
    lines = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = run_in(tmp_path_factory.mktemp("undisturbed"))
    return *train(run), metrics(run)


@pytest.mark.parametrize("step", [2, 5, 6, 15])
def test_stopped_anywhere_it_ends_with_the_same_weights_and_figures(new_run, undisturbed, monkeypatch, step):
    monkeypatch.setattr(engine, "SAVE_EVERY", -1.0)  # a state after each step
    network, figures, lines = undisturbed
    with pytest.raises(Stopped):
        train(new_run(), at(step, stop))
    run, finished = new_run(), new_run()
    resumed, resumed_figures = train(run)
    assert f"resumed at step {step - 1} of 15" in run.path("log.txt").read_text()
    assert same(resumed, network)
    assert not resumed.training
    assert resumed_figures == figures
    assert metrics(run) == lines
    again, again_figures = train(finished, at(1, stop))  # nothing is left to train
    assert same(again, network)
    assert again_figures == figures


def test_loader_processes_change_nothing(new_run, undisturbed):
    assert same(train(new_run(), own=plan(workers=1))[0], undisturbed[0])


def test_in_bf16_a_stopped_training_ends_with_the_same_weights(new_run, undisturbed, monkeypatch):
    monkeypatch.setattr(engine, "SAVE_EVERY", -1.0)
    own = replace(plan(), compute=Compute(torch.device("cpu"), "bf16"))
    network, figures = train(new_run("whole"), own=own)
    assert not same(network, undisturbed[0])  # so it was bf16
    with pytest.raises(Stopped):
        train(new_run(), at(7, stop), own=own)
    resumed, resumed_figures = train(new_run(), own=own)
    assert "resumed at step 6 of 15" in new_run().path("log.txt").read_text()
    assert same(resumed, network)
    assert resumed_figures == figures


@pytest.mark.parametrize("spoil", ["of another fingerprint", "damaged", "of another version", "not a state"])
def test_a_state_that_does_not_belong_is_ignored(new_run, undisturbed, spoil):
    with pytest.raises(Stopped):
        train(new_run(), at(8, stop))
    path = new_run().path("toy.last.pth")
    state = torch.load(path, weights_only=True)
    other = {"of another fingerprint": state | {"fingerprint": "other"}, "not a state": [1]}
    torch.save(other.get(spoil, {name: state[name] for name in state if name != "totals"}), path)
    if spoil == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    assert same(train(new_run())[0], undisturbed[0])
    assert "resumed" not in new_run().path("log.txt").read_text()


class Two(nn.Module):
    """One number in the body and one in the head; with the loss body + head, each step takes off the learning rate."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()

    def fast_part(self) -> nn.Module:
        return self.head

    def forward(self) -> torch.Tensor:
        return self.body.weight.sum() + self.head.weight.sum()

    def weights(self) -> torch.Tensor:
        return torch.cat([self.body.weight, self.head.weight]).detach().flatten().clone()


PLAIN = {"lr_head_factor": 1.0, "momentum": 0.0, "weight_decay": 0.0}


def test_the_learning_rates_follow_the_poly_schedule_and_gradients_are_shortened_together_and_not_turned(new_run):
    seen, network = [], Two()

    def terms(network: Two, batch: dict) -> dict[str, torch.Tensor]:
        seen.append(network.weights())
        return {"sum": network()}

    train(new_run(), terms, network, lr=0.3, poly_power=2.0, **PLAIN | {"lr_head_factor": 10.0})
    steps = EPOCHS * (IMAGES // BATCH)
    assert len(seen) == steps
    moved = torch.stack(seen) - torch.stack([*seen[1:], network.weights()])
    factor = (1 - torch.arange(steps) / steps).double() ** 2
    torch.testing.assert_close(moved, factor[:, None] * torch.tensor([0.3, 3.0]).double(), rtol=1e-5, atol=1e-9)
    network = Two()
    before = network.weights()
    data = TrainingData(Numbers(), TrainingSampler(BATCH, BATCH, seed=3))
    once = plan(epochs=1, lr=1.0, clip=0.5, **PLAIN)
    train_network(new_run("clipped"), once, network, data, lambda network, batch: {"sum": 1000 * network()})
    assert (before - network.weights()).tolist() == pytest.approx([0.5 / math.sqrt(2)] * 2, rel=1e-4)


def test_the_sum_of_the_losses_is_descended_and_each_is_averaged_over_its_epoch_by_name(new_run):
    _, figures = train(new_run(), lambda net, batch: {"a": net() ** 2, "b": (net() - 1) ** 2}, Two(), lr=0.1, **PLAIN)
    assert figures["loss"] == pytest.approx(0.5, abs=0.01)  # the least that a^2 + (a - 1)^2 can be
    values, run = iter(range(1, 16)), new_run("averages")

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        nothing, value = 0.0 * network(), next(values)
        return {"one": nothing + value, "two": nothing + 10.0 * value}

    _, figures = train(run, terms, Two())
    assert figures == pytest.approx({"one": 13.0, "two": 130.0, "loss": 143.0})
    rows = [(line["stage"], line["epoch"], line["step"], line["one"], line["loss"]) for line in metrics(run)]
    assert rows == [("toy", 1, 5, 3.0, 33.0), ("toy", 2, 10, 8.0, 88.0), ("toy", 3, 15, 13.0, 143.0)]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_the_setting_to_lower_and_is_not_gone_on_from(new_run, value):
    with pytest.raises(UserError, match=r"'toy' diverged in epoch 1 .*lower toy\.lr, which is 0\.05"):
        train(new_run(), lambda network, batch: {"sum": network() * 0 + value}, Two())
    run = new_run()
    train(run, lambda network, batch: {"sum": network()}, Two())
    assert "resumed" not in run.path("log.txt").read_text()


def test_losses_see_what_unpacking_makes_of_the_datasets_batch(new_run):
    """Images in the memory format, whatever it has made."""
    seen = []

    def unpack(batch: dict) -> dict:
        return {"image": batch["values"][:, :, None, None].expand(-1, -1, 2, 3), "was": set(batch)}

    data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3), unpack)
    train_network(new_run("seen"), plan(epochs=1), Two(), data, lambda net, batch: seen.append(batch) or {"sum": net()})
    assert len(seen) == IMAGES // BATCH
    for batch in seen:
        assert batch["was"] == {"values", "label", "name"}
        assert batch["image"].shape == (BATCH, 4, 2, 3)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("step", "printed"), [(3, "at step 3 of"), (5, "after epoch 1 of")])
def test_an_interrupt_finishes_and_keeps_the_step(new_run, undisturbed, step, printed):
    handler, terms = signal.getsignal(signal.SIGINT), at(step, partial(os.kill, os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=printed):
        train(new_run(), terms)
    assert terms.calls == step
    assert signal.getsignal(signal.SIGINT) is handler
    resumed, figures = train(new_run())
    assert same(resumed, undisturbed[0])
    assert figures == undisturbed[1]


class Scores:
    """Gives scores one after the other, uses random numbers, and keeps the weights that it was given."""

    def __init__(self, *scores: float):
        self.scores, self.seen = list(scores), []

    def __call__(self, network: nn.Module) -> float:
        assert not network.training
        torch.rand(5)
        self.seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return self.scores.pop(0)


def watched(run: Run, *scores: float, every: int = 1, keep_best: bool = True) -> tuple[nn.Module, Watch]:
    watch = Watch("miou", Scores(*scores), every, keep_best)
    return train(run, own=replace(plan(), watch=watch))[0], watch


def test_watching_changes_no_training_and_the_best_epoch_is_kept_and_remembered_where_it_goes_on(new_run, undisturbed):
    assert same(watched(new_run("last"), 0.1, 0.3, 0.2, keep_best=False)[0], undisturbed[0])
    assert same(watched(new_run("turns"), 0.25, 0.5, every=2, keep_best=False)[0], undisturbed[0])
    run = new_run("best of turns")
    watched(run, 0.25, 0.5, every=2)
    assert [row.get("miou") for row in metrics(run)] == [None, 0.25, 0.5]  # the last epoch always has one
    assert "miou 0.250" in run.path("log.txt").read_text()
    network, watch = watched(new_run(), 0.1, 0.3, 0.2)
    assert watch.best_epoch == 2
    assert all(torch.equal(value, watch.score.seen[1][name]) for name, value in network.state_dict().items())
    whole, _ = watched(new_run("whole"), 0.3, 0.2, 0.1)
    with pytest.raises(IndexError):  # no score for the second epoch
        watched(new_run("stopped"), 0.3)
    network, watch = watched(new_run("stopped"), 0.2, 0.1)
    assert same(network, whole)
    assert watch.best_epoch == 1
