"""Partial Reactivation: its formula against a slow plain version, and what it must not light up."""

import pytest
import torch

from models.reading import Views, normalise_maps, read, unit_features
from models.steps.gfm import GradFusion
from models.steps.prm import BACKGROUND_SHARE, PartialReactivation, reactivate
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, random_features, random_maps, tiny_classifier


@pytest.mark.parametrize("value", [0.1, -3.3, 1000.1, 0.0])
def test_an_image_of_one_colour_is_like_nothing(value):
    flat = torch.full((6, 25, 31), value) * torch.linspace(0.3, 2, 6)[:, None, None]
    assert reactivate(random_maps(2, 25, 31), unit_features([flat, flat[:3]]), 0.4, 0.2).abs().max() == 0


def plain_reactivate(maps: torch.Tensor, unit: torch.Tensor, hi: float, lo: float) -> torch.Tensor:
    """Cell after cell, as the formula says it."""
    cells = [(y, x) for y in range(maps.shape[1]) for x in range(maps.shape[2])]
    best = {cell: maps[:, *cell].max() for cell in cells}
    fewest = sorted(float(value) for value in best.values())
    position = BACKGROUND_SHARE * (len(cells) - 1)
    lowest = fewest[int(position)] + (position % 1) * (fewest[int(position) + 1] - fewest[int(position)])
    background = sum(unit[:, *cell] for cell in cells if best[cell] < lo or best[cell] <= lowest)
    result = torch.zeros_like(maps)
    for k in range(len(maps)):
        confident = [cell for cell in cells if maps[:, *cell].argmax() == k and maps[k, *cell] > hi]
        if not confident:
            continue
        prototype = sum(maps[k, *cell] * unit[:, *cell] for cell in confident)
        for cell in cells:
            similarity = [float(torch.cosine_similarity(unit[:, *cell], p, dim=0)) for p in (prototype, background)]
            result[k, *cell] = max(0.0, similarity[0] - similarity[1])
        result[k] /= result[k].max().clamp_min(1e-12)
    return result


@pytest.mark.parametrize(("classes", "hi", "lo"), [(1, 0.5, 0.2), (3, 0.6, 0.3), (3, 0.3, 0.0), (2, 0.9, 0.9)])
def test_reactivation_agrees_with_the_formula(classes, hi, lo):
    maps = random_maps(classes, 6, 7, seed=classes)
    maps = torch.cat([maps, 0.9 * maps[:1]])  # a class that wins nowhere is not reactivated
    unit = unit_features([random_features(4, 6, 7), random_features(3, 6, 7, seed=5)])
    found = reactivate(maps, unit, hi, lo)
    torch.testing.assert_close(found, plain_reactivate(maps, unit, hi, lo), rtol=1e-3, atol=1e-4)
    assert found[-1].abs().max() == 0
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_first_stages_of_the_strides_are_compared_and_more_rounds_reactivate_what_the_last_one_gave():
    classifier, image = tiny_classifier(), make_image()
    steps = [PartialReactivation(strides=(4, 16), rounds=rounds) for rounds in (1, 2)]
    once, twice = (make_method(GradFusion(), step).trace(classifier, image, CLASSES).maps for step in steps)
    reading = read(classifier, image, CLASSES, Views(SCALES), feature_stages=(1, 3))
    unit = unit_features([reading.features[1], reading.features[3]])
    expected = once["gfm"]
    for maps in (once, twice):
        expected = normalise_maps(expected + reactivate(expected, unit, 0.5, 0.2))
        torch.testing.assert_close(maps["prm"], expected)
    assert not torch.allclose(once["prm"], twice["prm"])
