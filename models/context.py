"""The context discriminant: is a cell the class, or what occurs together with it? docs/method.md 4.

    statistics = ContextStatistics(num_classes, channels)
    statistics.add(unit, maps, classes, hi, lo)    # every image of the training list
    discriminant = statistics.solve(shrinkage, least_others)
    likely = discriminant(unit, classes)           # min(L, O), (K, h, w) in 0..1
    maps = normalise_maps(maps * likely)           # without context

L is a linear discriminant (Fisher, 1936) of a class against its own context, over all images. Where the maps of a class
are wrong in most images, it learns the fault. O, what the objects of other classes have in common, does not have it.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from models.chain import OUTPUT_STRIDE, Backbone, stage_levels

# Statistics are summed as whole multiples of 1 / FRACTION: the same in any order and by any number of processes.
FRACTION = 2.0**32
OBJECT, BACKGROUND = 0, 1  # positions in the first axis of sums and weights
OTHERS_EVIDENCE = 0.5  # of the logit that other classes give: S knows how cells differ, not how classes do
LEAST_VARIANCE = 1e-8  # of a feature; where all cells are equal, nothing varies


def context_stage(backbone: Backbone) -> int:
    """The index of the stage whose features are f: the first of output stride."""
    return stage_levels(backbone.strides).index(OUTPUT_STRIDE)


class ContextDiscriminant(nn.Module):
    """min(L_k, O_k), each sigmoid(v . f + c); of the first axis of v and c, L is the first and O the second."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, num_classes, channels))  # v
        self.bias = nn.Parameter(torch.zeros(2, num_classes))  # c

    @property
    def known_classes(self) -> int:
        """How many classes' maps it changes."""
        return int((self.weight != 0).any(dim=2).any(dim=0).sum())

    def forward(self, unit: Tensor, classes: Sequence[int]) -> Tensor:
        """min(L, O), (K, h, w) in 0..1, of K classes: how much a cell is its class and not the context of the class.

        `unit` is f, (D, h, w), of unit length per cell (`models.reading.unit_features`).
        """
        chosen = list(classes)
        with torch.autocast(unit.device.type, enabled=False):  # the bias cancels most of the product: no digit to lose
            logits = self.weight[:, chosen] @ unit.float().flatten(1) + self.bias[:, chosen, None]
        return logits.amin(dim=0).sigmoid().unflatten(1, unit.shape[1:])


class ContextStatistics:
    """Means and covariance of confident cells, summed over images.

    A group is the confident cells of one class, or the confident background, of one image; a group of n cells
    weighs sqrt(n), so that large objects do not decide alone.
    """

    def __init__(self, num_classes: int, channels: int):
        zeros = partial(torch.zeros, dtype=torch.int64)
        self.sums = zeros(2, num_classes, channels)  # of each class's object, and of the background of its images
        self.weights = zeros(2, num_classes)  # of the groups in these sums
        self.scatter = zeros(channels, channels)  # of cells around the mean of their group
        self.scatter_weight = zeros(())  # of the groups in it, each counted once

    def add(self, unit: Tensor, maps: Tensor, classes: Sequence[int], hi: float, lo: float, times: int = 1) -> None:
        """Add an image: features f (D, h, w), and maps (K, h, w) in 0..1 of its K classes, at least one.

        A cell is confident object where the highest map is above `hi`, and confident background where it is below `lo`.
        The image counts as so many.
        """
        cells = unit.flatten(1).T.double()
        best, winner = maps.flatten(1).max(dim=0)
        objects = [(OBJECT, [label], (winner == k) & (best > hi)) for k, label in enumerate(classes)]
        for kind, labels, is_in in [*objects, (BACKGROUND, list(classes), best < lo)]:
            group = cells[is_in]
            if not len(group):
                continue
            per_cell = 1 / len(group) ** 0.5  # the n cells of a group weigh sqrt(n) together
            weight = times * _whole(torch.tensor(1 / per_cell))
            around = group - group.mean(dim=0)
            self.sums[kind, labels] += times * _whole(group.sum(dim=0) * per_cell)
            self.weights[kind, labels] += weight
            self.scatter += times * _whole(around.T @ around * per_cell)
            self.scatter_weight += weight

    def tensors(self) -> list[Tensor]:
        """All sums; those of several processes are added one by one."""
        return [self.sums, self.weights, self.scatter, self.scatter_weight]

    def solve(self, shrinkage: float, least_others: int = 0) -> ContextDiscriminant:
        """v_k = S^-1 (mu_k - nu_k) and c_k = -v_k . (mu_k + nu_k) / 2 for L_k; half of that with m_k and n_k for O_k.

        mu_k is the mean of class k's cells and nu_k that of the background of its images; m_k and n_k are the means of
        mu and nu over the other classes that have both, each counting once. S is the covariance inside groups, of which
        `shrinkage` is replaced by the same variance in all directions.

        O_k is used where at least `least_others` other classes have cells on both sides; with 0 never. A class without
        cells on either side has no L, and O alone decides. Without both, it is 1 / 2 everywhere, which changes no map.
        """
        num_classes, channels = self.sums.shape[1:]
        means = self.sums.double() / self.weights.double().clamp_min(1)[..., None]
        covariance = self.scatter.double() / self.scatter_weight.double().clamp_min(1)
        variance = covariance.diagonal().mean().clamp_min(LEAST_VARIANCE)
        covariance = (1 - shrinkage) * covariance + shrinkage * variance * torch.eye(channels, dtype=torch.float64)
        known = (self.weights > 0).all(dim=0)  # (C,) has cells on both sides
        means = means * known[:, None]
        other_classes = known.sum() - known.long()  # (C,) how many known classes there are beside each
        uses_others = (other_classes >= least_others) & (least_others > 0)
        means_of_others = (means.sum(dim=1, keepdim=True) - means) / other_classes.clamp_min(1)[:, None]
        objects = torch.stack([means[OBJECT], means_of_others[OBJECT]])  # mu for L and m for O, (2, C, D)
        backgrounds = torch.stack([means[BACKGROUND], means_of_others[BACKGROUND]])  # nu and n
        weight = torch.linalg.solve(covariance, (objects - backgrounds).mT).mT
        bias = -(weight * (objects + backgrounds)).sum(dim=2) / 2
        weight[1] *= OTHERS_EVIDENCE
        bias[1] *= OTHERS_EVIDENCE
        # Where one of the two is missing, the other one is used for both; where both are missing, all is 0.
        source = torch.stack([~known & uses_others, uses_others]).long()  # (2, C): 0 takes L, 1 takes O
        classes = torch.arange(num_classes)
        found = ContextDiscriminant(num_classes, channels)
        found.load_state_dict({"weight": weight[source, classes], "bias": bias[source, classes]})
        return found.eval()


def _whole(values: Tensor) -> Tensor:
    return (values.double() * FRACTION).round().long().cpu()
