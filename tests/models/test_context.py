"""The context discriminant against its plain definition, and what may not change it."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.context import ContextStatistics

CLASSES, CHANNELS, HI, LO, SHRINKAGE = 4, 5, 0.6, 0.3, 0.1
Image = tuple[Tensor, Tensor, list[int]]  # features, maps, classes


@pytest.fixture
def images() -> list[Image]:
    """Twelve, of classes 0 to 2, whose objects and backgrounds differ by class."""
    random = torch.Generator().manual_seed(3)
    kinds = torch.randn(2, CLASSES, CHANNELS, generator=random)
    made = []
    for number in range(12):
        classes = [number % 3] if number % 2 else sorted({number % 3, (number + 1) % 3})
        maps = torch.rand(len(classes), 6, 7, generator=random)
        best, winner = maps.max(dim=0)
        label = torch.tensor(classes)[winner]
        unit = torch.where((best > 0.5)[..., None], kinds[0][label], kinds[1][classes[0]])
        unit = normalize((unit + 0.6 * torch.randn(unit.shape, generator=random)).permute(2, 0, 1), dim=0)
        made.append((unit, maps, classes))
    return made


def gathered(images: list[Image]) -> ContextStatistics:
    statistics = ContextStatistics(CLASSES, CHANNELS)
    for unit, maps, classes in images:
        statistics.add(unit, maps, classes, HI, LO)
    return statistics


def plain(images: list[Image]) -> tuple[dict[int, tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """mu and nu of each class with cells, and S, group by group and cell by cell."""
    sides: dict[int, tuple[list[np.ndarray], list[np.ndarray]]] = {label: ([], []) for label in range(3)}
    groups = []
    for unit, maps, classes in images:
        cells, flat = unit.flatten(1).T.double().numpy(), maps.flatten(1).numpy()
        background = cells[flat.max(axis=0) < LO]
        groups.append(background)
        for k, label in enumerate(classes):
            group = cells[(flat.argmax(axis=0) == k) & (flat.max(axis=0) > HI)]
            groups.append(group)
            sides[label][0].append(group)
            sides[label][1].append(background)

    def mean(groups: list[np.ndarray], of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        full = [group for group in groups if len(group)]
        return sum(len(g) ** 0.5 * of(g) for g in full) / sum(len(g) ** 0.5 for g in full)

    covariance = mean(groups, lambda g: np.cov(g.T, bias=True))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(covariance).mean() * np.eye(CHANNELS)
    middle = partial(np.mean, axis=0)
    return {
        label: (mean(object_, middle), mean(other, middle)) for label, (object_, other) in sides.items()
    }, covariance


@pytest.mark.parametrize(("least_others", "known"), [(0, 3), (2, 4), (3, 4), (4, 3)])
def test_it_is_the_linear_discriminant_of_confident_cells_and_enough_other_classes_judge_too(
    images, least_others, known
):
    means, covariance = plain(images)
    found = gathered(images).solve(SHRINKAGE, least_others)
    assert found.known_classes == known
    for label in range(CLASSES):  # the last one has no confident cells
        others = [means[other] for other in means if other != label]
        is_judged = 0 < least_others <= len(others)
        for row in range(2):
            if is_judged and (row or label not in means):
                (mu, nu), part = np.mean(others, axis=0), 0.5
            elif label in means:
                (mu, nu), part = means[label], 1
            else:
                continue
            weight = part * np.linalg.inv(covariance) @ (mu - nu)
            np.testing.assert_allclose(found.weight[row, label].detach().numpy(), weight, rtol=1e-4, atol=1e-4)
            assert found.bias[row, label].item() == pytest.approx(float(-weight @ (mu + nu) / 2), abs=1e-4)


def test_any_order_and_division_among_processes_gives_the_same_bits_and_an_image_may_count_several_times(images):
    often, once = gathered([*images, images[0], images[0]]), gathered(images[1:])
    once.add(*images[0], HI, LO, times=3)
    assert all(torch.equal(*pair) for pair in zip(often.tensors(), once.tensors(), strict=True))
    whole = gathered(images).solve(SHRINKAGE)
    parts = [gathered(images[::-1][n::3]) for n in range(3)]
    for other in parts[1:]:
        for mine, theirs in zip(parts[0].tensors(), other.tensors(), strict=True):
            mine += theirs
    shared = parts[0].solve(SHRINKAGE)
    assert torch.equal(whole.weight, shared.weight)
    assert torch.equal(whole.bias, shared.bias)


def test_a_class_without_confident_cells_keeps_its_maps_a_bound_is_not_confident_and_features_may_not_vary(images):
    statistics, unit = gathered(images), images[0][0]
    for _ in range(2):
        assert (statistics.solve(SHRINKAGE)(unit, [3]) == 0.5).all()
        statistics.add(unit, torch.full((1, 6, 7), 0.9), [3], HI, LO)  # all object, no background
    statistics = ContextStatistics(CLASSES, CHANNELS)
    assert (statistics.solve(SHRINKAGE)(unit, [0, 1]) == 0.5).all()
    for value in (HI, LO):
        statistics.add(images[0][0], torch.full((1, 6, 7), value, dtype=torch.float64), [0], HI, LO)
    assert not any(tensor.any() for tensor in statistics.tensors())
    statistics = ContextStatistics(1, 2)
    unit = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    statistics.add(unit, torch.tensor([[[1.0, 0.0]]]), [0], HI, LO)
    similarity = statistics.solve(SHRINKAGE)(unit, [0])
    assert similarity[0, 0, 0] > 0.99
    assert similarity[0, 0, 1] < 0.01


@pytest.mark.parametrize("mixed", [False, True])
def test_similarity_is_the_lesser_of_both_sigmoids_in_full_precision(images, mixed):
    found = gathered(images).solve(SHRINKAGE, least_others=2)
    unit = images[0][0]
    cells = unit.flatten(1).double()
    logits = found.weight.double()[:, [2, 0]] @ cells + found.bias.double()[:, [2, 0], None]
    expected = logits.sigmoid().amin(dim=0).unflatten(1, (6, 7))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        similarity = found(unit, [2, 0])
    torch.testing.assert_close(similarity.double(), expected, rtol=1e-5, atol=1e-6)
