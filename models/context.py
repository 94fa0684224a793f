"""The context discriminant: is a cell the class, or what comes along with the class? docs/method.md 4.

    statistics = ContextStatistics(num_classes, channels)
    statistics.add(unit, maps, classes, hi, lo)    # every picture of the training list
    discriminant = statistics.solve(shrinkage)
    likeness = discriminant(unit, classes)         # L, (K, h, w) in 0..1

PRM tells object and background apart inside one picture. Rails, which come with every train, it takes for train where the map
of that picture says so. Over all pictures of trains they are background more often than not, and a linear discriminant (Fisher,
1936) of all those cells knows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE, Backbone

FRACTION = (
    2.0**32
)  # statistics are summed as whole multiples of 1 / FRACTION: in any order, by any number of processes, the same
LEAST_VARIANCE = 1e-8  # of a feature; where all cells are one colour, nothing varies


def context_stage(backbone: Backbone) -> int:
    """The number of the stage whose features are f: the first of output stride, deep and yet least bound to the classes."""
    return backbone.strides.index(OUTPUT_STRIDE)


class ContextDiscriminant(nn.Module):
    """L_k = sigmoid(v_k . f + c_k), with what `ContextStatistics.solve` has found for v and c."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_classes, channels))
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, unit: Tensor, classes: Sequence[int]) -> Tensor:
        """How much a cell is its class and not that class's context.

        Args:
            unit: f, (D, h, w), of unit length per cell (`models.ibb.unit_features`).
            classes: the K classes asked for.

        Returns:
            L, (K, h, w) in 0..1.
        """
        chosen = list(classes)
        with torch.autocast(unit.device.type, enabled=False):  # the bias takes off most of what the product gives
            logits = self.weight[chosen] @ unit.float().flatten(1) + self.bias[chosen, None]
        return logits.sigmoid().unflatten(1, unit.shape[1:])


class ContextStatistics:
    """Means and covariance of sure cells, summed over pictures.

    A group is the sure cells of one class, or the sure background, of one picture; a group of n cells weighs sqrt(n), so
    that large objects do not decide alone and small ones not as much.
    """

    def __init__(self, num_classes: int, channels: int):
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64)

        self.sums = zeros(2, num_classes, channels)  # of each class's object, and of the background of its pictures
        self.weights = zeros(2, num_classes)
        self.scatter = zeros(channels, channels)  # of cells around the mean of their group
        self.weight = zeros()

    def add(self, unit: Tensor, maps: Tensor, classes: Sequence[int], hi: float, lo: float) -> None:
        """Add one picture.

        Args:
            unit: f, (D, h, w).
            maps: (K, h, w) in 0..1; the highest map above `hi` makes a cell sure object, none above `lo` sure background.
            classes: the K classes that the picture contains, at least one.
        """
        cells = unit.flatten(1).T.double()
        best, winner = maps.flatten(1).max(dim=0)
        for k, label in enumerate(classes):
            self._add_group(0, [label], cells[(winner == k) & (best > hi)])
        self._add_group(1, list(classes), cells[best < lo])

    def _add_group(self, kind: int, classes: list[int], cells: Tensor) -> None:
        if not len(cells):
            return
        weight = 1 / len(cells) ** 0.5
        around = cells - cells.mean(dim=0)
        self.sums[kind, classes] += _whole(cells.sum(dim=0) * weight)
        self.weights[kind, classes] += _whole(torch.tensor(1 / weight))
        self.scatter += _whole(around.T @ around * weight)
        self.weight += _whole(torch.tensor(1 / weight))

    def tensors(self) -> list[Tensor]:
        """All sums; those of several processes are added one by one."""
        return [self.sums, self.weights, self.scatter, self.weight]

    def solve(self, shrinkage: float) -> ContextDiscriminant:
        """v_k = S^-1 (mu_k - nu_k) and c_k = -v_k . (mu_k + nu_k) / 2.

        mu_k is the mean of class k's cells, nu_k that of the background of its pictures, S the covariance inside groups, of which
        `shrinkage` is replaced by the same variance in all directions. A class without cells on either side gets L = 1 / 2
        everywhere, which changes no map.
        """
        num_classes, channels = self.sums.shape[1:]
        means = self.sums.double() / self.weights.double().clamp_min(1)[..., None]
        covariance = self.scatter.double() / self.weight.double().clamp_min(1)
        variance = covariance.diagonal().mean().clamp_min(LEAST_VARIANCE)
        covariance = (1 - shrinkage) * covariance + shrinkage * variance * torch.eye(channels, dtype=torch.float64)
        weight = torch.linalg.solve(covariance, (means[0] - means[1]).T).T
        bias = -(weight * (means[0] + means[1])).sum(dim=1) / 2
        known = (self.weights > 0).all(dim=0)
        found = ContextDiscriminant(num_classes, channels)
        found.weight.data.copy_(weight * known[:, None])
        found.bias.data.copy_(bias * known)
        return found.eval()


def _whole(values: Tensor) -> Tensor:
    return (values.double() * FRACTION).round().long().cpu()
