"""A training that is evaluated as it goes: the same weights, the best epoch, and going on."""

import dataclasses

import pytest
import torch
from torch import nn

from tests.utils.test_engine import EPOCHS, Network, metrics, new_run, plan, same  # noqa: F401
from tests.utils.test_engine import train as train_toy
from utils.engine import Watch


def train(run, watch: Watch | None = None) -> Network:
    return train_toy(run, own=dataclasses.replace(plan(), watch=watch))[0]


class Scores:
    """Gives scores one after the other, uses random numbers, and keeps the weights that it was given."""

    def __init__(self, *scores: float):
        self.scores, self.seen = list(scores), []

    def __call__(self, network: nn.Module) -> float:
        assert not network.training
        torch.rand(5)
        self.seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return self.scores.pop(0)


def test_watching_changes_no_training_and_the_best_epoch_is_kept(new_run):  # noqa: F811
    watched = train(new_run("watched"), Watch("miou", Scores(0.1, 0.3, 0.2), every=1))
    assert same(watched, train(new_run("alone")))
    scores = Scores(0.1, 0.3, 0.2)
    watch = Watch("miou", scores, every=1, keep_best=True)
    network = train(new_run(), watch)
    assert watch.best_epoch == 2
    assert all(torch.equal(value, scores.seen[1][name]) for name, value in network.state_dict().items())


def test_figures_are_in_the_metrics_where_it_was_their_turn(new_run):  # noqa: F811
    run = new_run()
    train(run, Watch("miou", Scores(0.25, 0.5), every=2))
    assert [row.get("miou") for row in metrics(run)] == [None, 0.25, 0.5]  # the last epoch always has one
    assert "miou 0.250" in run.path("log.txt").read_text()


def test_a_training_that_goes_on_remembers_the_best_epoch(new_run):  # noqa: F811
    whole = train(new_run("whole"), Watch("miou", Scores(0.3, 0.2, 0.1), every=1, keep_best=True))
    run = new_run("stopped")
    with pytest.raises(IndexError):  # no score for the second epoch
        train(run, Watch("miou", Scores(0.3), every=1, keep_best=True))
    watch = Watch("miou", Scores(0.2, 0.1), every=1, keep_best=True)
    assert same(train(run, watch), whole)
    assert watch.best_epoch == 1
    assert EPOCHS == 3
