"""The context discriminant against its plain definition, and what may not change it."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from models.cam import map_size, normalise_maps
from models.context import ContextDiscriminant, ContextStatistics, context_stage
from models.ibb import IterativeBackgroundBlur, context_features, part_from_context
from tests.models.tiny import picture, tiny_classifier

CLASSES, CHANNELS, HI, LO, SHRINKAGE = 4, 5, 0.6, 0.3, 0.1
Picture = tuple[Tensor, Tensor, list[int]]  # features, maps, classes


@pytest.fixture
def pictures() -> list[Picture]:
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


def gathered(pictures: list[Picture]) -> ContextStatistics:
    statistics = ContextStatistics(CLASSES, CHANNELS)
    for unit, maps, classes in pictures:
        statistics.add(unit, maps, classes, HI, LO)
    return statistics


def plain(pictures: list[Picture], label: int) -> tuple[np.ndarray, float]:
    """v and c of one class, group by group and cell by cell."""
    objects, grounds, groups = [], [], []
    for unit, maps, classes in pictures:
        cells, flat = unit.flatten(1).T.double().numpy(), maps.flatten(1).numpy()
        for k, each in enumerate(classes):
            group = cells[(flat.argmax(axis=0) == k) & (flat.max(axis=0) > HI)]
            groups.append(group)
            if each == label:
                objects.append(group)
        groups.append(cells[flat.max(axis=0) < LO])
        if label in classes:
            grounds.append(groups[-1])

    def mean(groups: list[np.ndarray]) -> np.ndarray:
        full = [group for group in groups if len(group)]
        return sum(len(g) ** 0.5 * g.mean(axis=0) for g in full) / sum(len(g) ** 0.5 for g in full)

    full = [group for group in groups if len(group)]
    scatter = sum(len(g) ** 0.5 * np.cov(g.T, bias=True).reshape(CHANNELS, CHANNELS) for g in full)
    covariance = scatter / sum(len(g) ** 0.5 for g in full)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(covariance).mean() * np.eye(CHANNELS)
    weight = np.linalg.inv(covariance) @ (mean(objects) - mean(grounds))
    return weight, float(-weight @ (mean(objects) + mean(grounds)) / 2)


def test_it_is_the_linear_discriminant_of_sure_cells(pictures):
    found = gathered(pictures).solve(SHRINKAGE)
    for label in range(3):
        weight, bias = plain(pictures, label)
        np.testing.assert_allclose(found.weight[label].detach().numpy(), weight, rtol=1e-4, atol=1e-4)
        assert found.bias[label].item() == pytest.approx(bias, abs=1e-4)


def test_it_tells_objects_from_the_context_of_their_class(pictures):
    found = gathered(pictures).solve(SHRINKAGE)
    for unit, maps, classes in pictures:
        likeness = found(unit, classes)
        assert likeness.shape == maps.shape
        best, winner = maps.max(dim=0)
        objects = likeness.gather(0, winner[None])[0][best > HI]
        if len(classes) == 1 and len(objects):
            assert objects.mean() > likeness[:, best < LO].mean() + 0.2


def test_any_order_and_any_share_among_processes_gives_the_same_bits(pictures):
    whole = gathered(pictures).solve(SHRINKAGE)
    parts = [gathered(pictures[::-1][n::3]) for n in range(3)]
    for other in parts[1:]:
        for mine, theirs in zip(parts[0].tensors(), other.tensors(), strict=True):
            mine += theirs
    shared = parts[0].solve(SHRINKAGE)
    assert torch.equal(whole.weight, shared.weight)
    assert torch.equal(whole.bias, shared.bias)


def test_a_class_without_sure_cells_keeps_its_maps(pictures):
    found = gathered(pictures).solve(SHRINKAGE)
    assert (found(pictures[0][0], [3]) == 0.5).all()
    nothing = ContextStatistics(CLASSES, CHANNELS).solve(SHRINKAGE)
    assert (nothing(pictures[0][0], [0, 1]) == 0.5).all()


def test_a_class_that_is_known_from_one_side_only_keeps_its_maps(pictures):
    statistics = gathered(pictures)
    unit = pictures[0][0]
    statistics.add(unit, torch.full((1, 6, 7), 0.9), [3], HI, LO)  # all object, no background
    assert (statistics.solve(SHRINKAGE)(unit, [3]) == 0.5).all()


def test_a_cell_at_a_bound_is_not_sure(pictures):
    unit = pictures[0][0]
    statistics = ContextStatistics(CLASSES, CHANNELS)
    for value in (HI, LO):
        statistics.add(unit, torch.full((1, 6, 7), value, dtype=torch.float64), [0], HI, LO)
    assert not any(tensor.any() for tensor in statistics.tensors())


@pytest.mark.parametrize("mixed", [False, True])
def test_likeness_is_the_sigmoid_of_the_linear_function_in_full_precision(pictures, mixed):
    found = gathered(pictures).solve(SHRINKAGE)
    unit = pictures[0][0]
    cells = unit.flatten(1).double()
    expected = (
        (found.weight.double()[[2, 0]] @ cells + found.bias.double()[[2, 0], None]).sigmoid().unflatten(1, (6, 7))
    )
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        likeness = found(unit, [2, 0])
    torch.testing.assert_close(likeness.double(), expected, rtol=1e-5, atol=1e-6)


def test_features_that_do_not_vary_are_no_division_by_zero():
    statistics = ContextStatistics(1, 2)
    unit = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    statistics.add(unit, torch.tensor([[[1.0, 0.0]]]), [0], HI, LO)
    likeness = statistics.solve(SHRINKAGE)(unit, [0])
    assert likeness[0, 0, 0] > 0.99
    assert likeness[0, 0, 1] < 0.01


def test_parting_multiplies_each_map_by_its_likeness():
    classifier, image = tiny_classifier(), picture()
    random = torch.Generator().manual_seed(0)
    maps = normalise_maps(torch.rand(2, *map_size(64, 96), generator=random))
    assert part_from_context(classifier, image, maps, [1, 3]) is maps
    classifier.context = ContextDiscriminant(
        4, classifier.backbone.channels[context_stage(classifier.backbone)]
    ).requires_grad_(False)
    classifier.context.weight.normal_(std=4.0, generator=random)
    parted = part_from_context(classifier, image, maps, [1, 3])
    likeness = classifier.context(context_features(classifier, image), [1, 3])
    torch.testing.assert_close(parted, normalise_maps(maps * likeness))
    assert not torch.allclose(parted, maps, atol=0.05)
    assert part_from_context(classifier, image, maps[:0], []).shape == (0, *maps.shape[1:])


def test_the_method_ends_with_it():
    classifier, image = tiny_classifier(), picture()
    method = IterativeBackgroundBlur(iterations=1)
    without = method.trace(classifier, image, [0, 2])
    assert torch.equal(without.context, without.ibb)
    classifier.context = ContextDiscriminant(
        4, classifier.backbone.channels[context_stage(classifier.backbone)]
    ).requires_grad_(False)
    classifier.context.weight.normal_(std=4.0, generator=torch.Generator().manual_seed(1))
    trace = method.trace(classifier, image, [0, 2])
    assert torch.equal(trace.ibb, without.ibb)
    torch.testing.assert_close(trace.context, part_from_context(classifier, image, trace.ibb, [0, 2]))
    assert torch.equal(method(classifier, image, [0, 2]), trace.context)
    assert torch.equal(IterativeBackgroundBlur(iterations=1, context=False)(classifier, image, [0, 2]), without.ibb)
