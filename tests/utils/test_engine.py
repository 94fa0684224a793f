"""The training loop: schedule, learning rates, resuming, and what it refuses."""

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from data.dataset import TrainingSampler
from utils import training_state
from utils.compute import Compute
from utils.engine import Optimisation, Plan, TrainingData, train_network
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


@pytest.fixture
def new_run(tmp_path):
    """name -> a `Run` in a folder of that name, as if stage `toy` of fingerprint `f` were running."""

    def make(name: str = "run", fingerprint: str = "f") -> Run:
        run = Run(RunSettings(run=str(tmp_path / name)))
        run.fingerprint = fingerprint
        return run

    return make


def plan(epochs: int = EPOCHS, workers: int = 0, **optimisation: float) -> Plan:
    settings = {"lr": 0.05, "lr_head_factor": 4.0, "momentum": 0.9, "weight_decay": 1e-4, "poly_power": 0.9}
    return Plan("toy", "toy", epochs, Optimisation(**settings | optimisation), CPU, workers, seed=5)


def train(run: Run, terms=losses, network: nn.Module | None = None, workers: int = 0, **optimisation: float):
    """Train a network; it and what training returned."""
    if network is None:
        torch.manual_seed(7)
        network = Network()
    data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3))
    return network, train_network(run, plan(workers=workers, **optimisation), network, data, terms)


class Stopped(Exception):
    pass


def stop_at(step: int):
    """Losses that break off in that step, counted from 1."""
    calls = 0

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == step:
            raise Stopped
        return losses(network, batch)

    return terms


def same(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def metrics(run: Run) -> list[dict]:
    lines = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "images_per_second"} for line in lines]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = Run(RunSettings(run=str(tmp_path_factory.mktemp("undisturbed"))))
    run.fingerprint = "f"
    return *train(run), metrics(run)


@pytest.mark.parametrize("step", [2, 5, 6, 8, 15])
def test_stopped_anywhere_it_ends_with_the_same_weights_and_figures(new_run, undisturbed, monkeypatch, step):
    monkeypatch.setattr(training_state, "SAVE_EVERY", -1.0)  # a state after each step
    network, figures, lines = undisturbed
    with pytest.raises(Stopped):
        train(new_run(), stop_at(step))
    run = new_run()
    resumed, resumed_figures = train(run)
    assert f"resumed at step {step - 1} of 15" in run.path("log.txt").read_text()
    assert same(resumed, network)
    assert resumed_figures == figures
    assert metrics(run) == lines


def test_finished_training_is_not_repeated(new_run, undisturbed):
    train(new_run())

    def never(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        raise AssertionError("there is nothing left to train")

    network, figures = train(new_run(), never)
    assert same(network, undisturbed[0])
    assert figures == undisturbed[1]


def test_loader_processes_change_nothing(new_run, undisturbed):
    assert same(train(new_run(), workers=1)[0], undisturbed[0])


@pytest.mark.parametrize("spoil", ["fingerprint", "damaged", "of another version", "not a state"])
def test_a_state_that_does_not_belong_is_ignored(new_run, undisturbed, spoil):
    with pytest.raises(Stopped):
        train(new_run(fingerprint="other" if spoil == "fingerprint" else "f"), stop_at(8))
    run = new_run()
    path = run.path("toy.last.pth")
    content = torch.load(path, weights_only=True)
    if spoil == "damaged":
        path.write_bytes(path.read_bytes()[:200])
    if spoil == "of another version":
        torch.save({name: value for name, value in content.items() if name != "totals"}, path)
    if spoil == "not a state":
        torch.save([1], path)
    assert same(train(run)[0], undisturbed[0])
    assert "resumed" not in run.path("log.txt").read_text()


class Two(nn.Module):
    """One number in the body and one in the head; with the loss body + head, each step takes off the learning rate."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(1, 1, bias=False).double(), nn.Linear(1, 1, bias=False).double()

    def fast_part(self) -> nn.Module:
        return self.head

    def forward(self) -> torch.Tensor:
        return self.body.weight.sum() + self.head.weight.sum()


@pytest.mark.parametrize("power", [0.9, 1.0, 2.0])
def test_the_learning_rates_follow_the_poly_schedule(new_run, power):
    seen = []

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        seen.append((network.body.weight.item(), network.head.weight.item()))
        return {"sum": network()}

    network, _ = train(
        new_run(), terms, Two(), lr=0.3, lr_head_factor=10.0, momentum=0.0, weight_decay=0.0, poly_power=power
    )
    seen.append((network.body.weight.item(), network.head.weight.item()))
    steps = EPOCHS * (IMAGES // BATCH)
    assert len(seen) == steps + 1
    for step in range(steps):
        expected = (1 - step / steps) ** power
        assert seen[step][0] - seen[step + 1][0] == pytest.approx(0.3 * expected, rel=1e-6)
        assert seen[step][1] - seen[step + 1][1] == pytest.approx(3.0 * expected, rel=1e-6)


def test_gradients_are_shortened_together_and_not_turned(new_run):
    network = Two()
    before = network.body.weight.item(), network.head.weight.item()
    once = plan(epochs=1, lr=1.0, lr_head_factor=1.0, momentum=0.0, weight_decay=0.0, clip=0.5)
    data = TrainingData(Numbers(), TrainingSampler(BATCH, BATCH, seed=3))
    train_network(new_run(), once, network, data, lambda network, batch: {"sum": 1000 * network()})
    moved = [start - part.weight.item() for start, part in zip(before, (network.body, network.head), strict=True)]
    assert moved == pytest.approx([0.5 / math.sqrt(2)] * 2, rel=1e-4)


def test_frozen_parameters_stay_and_the_others_move(new_run):
    torch.manual_seed(7)
    before = Network().state_dict()
    network, _ = train(new_run())
    after = network.state_dict()
    for name in ("frozen.weight", "frozen.bias"):
        assert torch.equal(before[name], after[name])
    for name in ("body.0.weight", "body.1.bias", "head.weight", "head.bias"):
        assert not torch.equal(before[name], after[name])
    assert not network.training


def test_every_loss_is_averaged_over_its_epoch_by_name(new_run):
    values = iter(range(1, 16))

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        nothing, value = 0.0 * network(), next(values)
        return {"one": nothing + value, "two": nothing + 10.0 * value}

    run = new_run()
    _, figures = train(run, terms, Two())
    assert figures == pytest.approx({"one": 13.0, "two": 130.0, "loss": 143.0})
    lines = metrics(run)
    assert [line["one"] for line in lines] == pytest.approx([3.0, 8.0, 13.0])
    assert [line["loss"] for line in lines] == pytest.approx([33.0, 88.0, 143.0])
    assert [(line["stage"], line["epoch"], line["step"]) for line in lines] == [
        ("toy", 1, 5),
        ("toy", 2, 10),
        ("toy", 3, 15),
    ]


def test_the_sum_of_the_losses_is_descended(new_run):
    _, figures = train(
        new_run(),
        lambda network, batch: {"a": network() ** 2, "b": (network() - 1) ** 2},
        Two(),
        lr=0.1,
        lr_head_factor=1.0,
        momentum=0.0,
        weight_decay=0.0,
    )
    assert figures["loss"] == pytest.approx(0.5, abs=0.01)  # the least that a^2 + (a - 1)^2 can be


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_the_setting_to_lower(new_run, value):
    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        return {"sum": network() * 0 + value}

    with pytest.raises(UserError, match=r"'toy' diverged in epoch 1 .*lower toy\.lr, which is 0\.05"):
        train(new_run(), terms, Two())


def test_a_diverged_epoch_is_not_gone_on_from(new_run):
    with pytest.raises(UserError):
        train(new_run(), lambda network, batch: {"sum": network() * math.nan}, Two())
    run = new_run()
    train(run, lambda network, batch: {"sum": network()}, Two())
    assert "resumed" not in run.path("log.txt").read_text()


def test_losses_see_what_unpacking_makes_of_the_datasets_batch(new_run):
    """Images in the memory format, whatever it has made."""
    seen = []

    def unpack(batch: dict) -> dict:
        return {"image": batch["values"][:, :, None, None].expand(-1, -1, 2, 3), "was": set(batch)}

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        seen.append(batch)
        return {"sum": network()}

    data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3), unpack)
    train_network(new_run(), plan(epochs=1), Two(), data, terms)
    assert len(seen) == IMAGES // BATCH
    for batch in seen:
        assert batch["was"] == {"values", "label", "name"}
        assert batch["image"].shape == (BATCH, 4, 2, 3)
        assert batch["image"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("step", "printed"), [(3, "at step 3 of"), (5, "after epoch 1 of")])
def test_an_interrupt_finishes_and_keeps_the_step(new_run, undisturbed, step, printed):
    calls = []

    def interrupted(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == step:
            os.kill(os.getpid(), signal.SIGINT)
        return losses(network, batch)

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match=printed):
        train(new_run(), interrupted)
    assert len(calls) == step
    assert signal.getsignal(signal.SIGINT) is handler
    network, figures, _ = undisturbed
    resumed, resumed_figures = train(new_run())
    assert same(resumed, network)
    assert resumed_figures == figures


class TestAverage:
    """The mean of the weights."""

    def trained(self, run: Run, average: float, interrupt_at: int = 0) -> dict[str, torch.Tensor]:
        torch.manual_seed(7)
        network, count = Network(), 0

        def terms(net: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
            nonlocal count
            count += 1
            if count == interrupt_at:
                os.kill(os.getpid(), signal.SIGINT)
            return losses(net, batch)

        data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3))
        train_network(run, replace(plan(), average=average), network, data, terms)
        return network.state_dict()

    def test_it_is_between_the_weights_on_the_way(self, new_run):
        last, mean = self.trained(new_run("a"), 0.0), self.trained(new_run("b"), 0.9)
        assert not torch.equal(last["head.weight"], mean["head.weight"])
        torch.testing.assert_close(self.trained(new_run("c"), 1e-9), last)

    def test_it_goes_on_where_it_was_stopped(self, new_run):
        whole, run = self.trained(new_run("a"), 0.9), new_run("b")
        with pytest.raises(KeyboardInterrupt):
            self.trained(run, 0.9, interrupt_at=8)
        assert all(torch.equal(tensor, whole[name]) for name, tensor in self.trained(run, 0.9).items())
