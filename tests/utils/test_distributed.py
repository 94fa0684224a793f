"""What several processes agree on: sums, shared numbers, wishes, batch statistics, and resumed training."""

import json
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from data.dataset import TrainingSampler
from models.layers import share_statistics
from models.segmenter import segmentation_loss
from tests.processes import run_together
from utils import engine
from utils.compute import Compute
from utils.distributed import WorkQueue, any_of, from_main, gather, is_main, rank, total, world_size
from utils.engine import Optimisation, Plan, TrainingData, train_network
from utils.errors import UserError
from utils.run import Run
from utils.settings import RunSettings

TOLERANCE = 1e-5  # float32 sums in another order


def test_one_process_agrees_with_itself():
    value = torch.tensor([1.0])
    assert total(value) is value
    assert (gather(3), any_of(True, False), from_main(lambda: 4), rank(), world_size()) == ([3], [True, False], 4, 0, 1)
    assert list(WorkQueue([4, 2])) == [4, 2]


def fail(which: int) -> None:
    if rank() == which:
        raise UserError(f"process {which} cannot")
    total(torch.zeros(1))  # where the others wait for it


@pytest.mark.parametrize("which", [0, 1])
def test_one_reason_is_reported_and_nobody_waits(tmp_path, which):
    ended = run_together(2, tmp_path, fail, which)
    assert (ended[which].code, ended[which].err) == (2, f"error: process {which} cannot\n")
    assert (ended[1 - which].code != 0, ended[1 - which].err) == (True, "")


@pytest.mark.parametrize(("batch", "processes"), [(6, 2), (5, 2), (5, 3), (4, 4)])
def test_shares_make_up_the_batches(batch, processes):
    def draws(number: int, of: int, epoch: int, step: int) -> list[list[tuple[int, int]]]:
        sampler = TrainingSampler(17, batch, seed=3)
        sampler.split(number, of)
        sampler.start(epoch, step)
        drawn = list(sampler)
        assert len(drawn) == len(sampler)
        return [drawn[position : position + sampler.share] for position in range(0, len(drawn), sampler.share)]

    for start in ((0, 0), (2, 1)):
        parts = [draws(number, processes, *start) for number in range(processes)]
        for whole, *shares in zip(draws(0, 1, *start), *parts, strict=True):
            assert sorted(draw for share in shares for draw in share) == sorted(whole)
            assert max(map(len, shares)) - min(map(len, shares)) <= 1


class Images(Dataset):
    """Noise, and masks of which one process's part may be all ignored."""

    def __getitem__(self, draw: tuple[int, int]) -> dict:
        position, seed = draw
        random = torch.Generator().manual_seed(seed % 2**31)
        mask = torch.randint(0, 2, (16, 16), generator=random)
        if position % 3 == 0:
            mask[position % 7 :] = 255
        return {"image": torch.randn(3, 16, 16, generator=random) + (mask == 1), "mask": mask, "name": str(position)}


class Network(nn.Module):
    """With batch norm over the batch, and a part that nothing reads."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, 2, 1)
        self.unread = nn.Conv2d(8, 8, 1)

    def fast_part(self) -> nn.Module:
        return self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def train(folder: Path, stop_at: int = 0, compile: bool = False) -> None:
    """Train; stop as an interrupt would after that step. Weights go to `weights.pth`, the log to the run folder."""
    run = Run(RunSettings(run=str(folder / "run")))
    run.fingerprint = "f"
    torch.manual_seed(1)
    network = Network()
    share_statistics(network)
    compute = Compute(torch.device("cpu"), compile=compile)
    optimisation = Optimisation(lr=0.1, lr_head_factor=2.0, momentum=0.9, weight_decay=1e-3)
    plan = Plan("toy", "toy", 3, optimisation, compute, workers=0, seed=0)
    steps = 0

    def terms(network: nn.Module, batch: dict) -> dict[str, torch.Tensor]:
        nonlocal steps
        steps += 1
        if steps == stop_at + 1 and stop_at:
            raise KeyboardInterrupt
        return {"segmentation": segmentation_loss(network(batch["image"]), batch["mask"])}

    with mock.patch.object(engine, "SAVE_EVERY", -1.0):
        train_network(run, plan, network, TrainingData(Images(), TrainingSampler(11, 5, seed=2)), terms)
    if is_main():
        torch.save(network.state_dict(), folder / "weights.pth")


def result(folder: Path) -> dict[str, torch.Tensor]:
    losses = [json.loads(line)["loss"] for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return {"losses": torch.tensor(losses)} | torch.load(folder / "weights.pth", weights_only=True)


def expect_same(folder: Path, other: Path) -> None:
    torch.testing.assert_close(result(folder), result(other), rtol=TOLERANCE, atol=TOLERANCE)


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train(folder)
    return folder


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.long)])
def test_training_with_batch_norm_and_ignored_cells_is_that_of_one_process(tmp_path, alone, count):
    """A mean of the processes' means, or statistics of each, would be another network."""
    ended = run_together(count, tmp_path / "printed", train, tmp_path / "together")
    assert [each.code for each in ended] == [0] * count, [each.err for each in ended]
    expect_same(tmp_path / "together", alone)


@pytest.mark.parametrize(("first", "then"), [(2, 1), pytest.param(1, 3, marks=pytest.mark.long)])
def test_another_number_of_processes_goes_on(tmp_path, alone, first, then):
    folder = tmp_path / "changed"
    for count, stop_at in ((first, 3), (then, 0)):
        if count > 1:
            codes = [each.code for each in run_together(count, tmp_path / "printed", train, folder, stop_at)]
            assert (set(codes) == {0}) == (not stop_at), codes
        else:
            with pytest.raises(KeyboardInterrupt) if stop_at else nullcontext():
                train(folder, stop_at)
    assert "resumed at step" in (folder / "run/log.txt").read_text()
    expect_same(folder, alone)


@pytest.mark.long
def test_a_network_that_cannot_be_compiled_runs_as_it_is(tmp_path, alone, monkeypatch, caplog):
    def broken(module: torch.fx.GraphModule, inputs: list) -> None:
        raise RuntimeError("no compiler was found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=broken))
    train(tmp_path / "compiled", compile=True)
    expect_same(tmp_path / "compiled", alone)
    assert "no compiler was found" in caplog.text
