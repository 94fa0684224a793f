"""A training that is evaluated as it goes, and the weights of its best epoch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class Watch:
    """Evaluates a network every so many epochs, and after the last one.

    Args:
        figure: what is evaluated, its name in the log and in metrics.jsonl.
        score: the network in evaluation mode -> its figure, the higher the better. All processes call it, and all get
            the same figure.
        every: so many epochs.
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
