"""A training that is evaluated as it goes: the same weights, the best epoch, and going on."""

import dataclasses
import json

import pytest
import torch
from torch import nn

from data.dataset import TrainingSampler
from tests.utils.test_engine import BATCH, EPOCHS, IMAGES, Network, Numbers, losses, new_run, plan  # noqa: F401
from utils.engine import TrainingData, train_network
from utils.watch import Watch


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def train(run, watch: Watch | None = None) -> Network:
    torch.manual_seed(7)
    network = Network()
    data = TrainingData(Numbers(), TrainingSampler(IMAGES, BATCH, seed=3))
    train_network(run, dataclasses.replace(plan(), watch=watch), network, data, losses)
    return network


class Scores:
    """Gives scores one after the other, uses random numbers, and keeps the weights that it was given."""

    def __init__(self, *scores: float):
        self.scores, self.seen = list(scores), []

    def __call__(self, network: nn.Module) -> float:
        assert not network.training
        torch.rand(5)
        self.seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return self.scores.pop(0)


def test_watching_changes_no_training(new_run):  # noqa: F811
    watched = train(new_run("watched"), Watch("miou", Scores(0.1, 0.3, 0.2), every=1))
    assert same(watched, train(new_run("alone")))


def test_the_best_epoch_is_kept(new_run):  # noqa: F811
    scores = Scores(0.1, 0.3, 0.2)
    watch = Watch("miou", scores, every=1, keep_best=True)
    network = train(new_run(), watch)
    assert watch.best_epoch == 2
    assert all(torch.equal(value, scores.seen[1][name]) for name, value in network.state_dict().items())


def test_figures_are_in_the_metrics_where_it_was_their_turn(new_run):  # noqa: F811
    run = new_run()
    train(run, Watch("miou", Scores(0.25, 0.5), every=2))
    rows = [json.loads(line) for line in run.path("metrics.jsonl").read_text().splitlines()]
    assert [row.get("miou") for row in rows] == [None, 0.25, 0.5]  # the last epoch always has one
    assert "miou 0.250" in run.path("log.txt").read_text()


def test_a_training_that_goes_on_remembers_the_best_epoch(new_run):  # noqa: F811
    whole = train(new_run("whole"), Watch("miou", Scores(0.3, 0.2, 0.1), every=1, keep_best=True))
    run = new_run("stopped")
    stopped = Scores(0.3)
    with pytest.raises(IndexError):  # no score for the second epoch
        train(run, Watch("miou", stopped, every=1, keep_best=True))
    watch = Watch("miou", Scores(0.2, 0.1), every=1, keep_best=True)
    assert same(train(run, watch), whole)
    assert watch.best_epoch == 1
    assert EPOCHS == 3
