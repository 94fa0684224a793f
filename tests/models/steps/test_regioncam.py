"""Region-CAM: its formula from slow plain loops, and where it spreads a map to."""

import pytest
import torch

from models.reading import Views, normalise_maps, read, unit_features
from models.steps import RegionPropagation
from models.steps.base import Before
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, tiny_classifier


def plain_propagation(maps: torch.Tensor, unit: torch.Tensor, power: float) -> torch.Tensor:
    """Each cell is the mean of all cells, weighted by the similarity to it."""
    cells, values = unit.flatten(1), maps.flatten(1)
    found = torch.zeros_like(values)
    for i in range(cells.shape[1]):
        weights = (cells[:, i] @ cells).clamp_min(0) ** power
        found[:, i] = (values * weights).sum(dim=1) / weights.sum()
    return normalise_maps(found.view(maps.shape))


@pytest.mark.parametrize("power", [1.0, 4.0])
def test_stage_by_stage_from_the_deepest(power):
    classifier, image = tiny_classifier(), make_image()
    maps = (
        make_method(RegionPropagation(enabled=True, min_stride=8, power=power)).trace(classifier, image, CLASSES).maps
    )
    reading = read(classifier, image, CLASSES, Views(SCALES), gradient_stages=[2, 3], feature_stages=[2, 3])
    expected = maps["cam"]
    for stage in (3, 2):
        start = normalise_maps(expected + normalise_maps(reading.gradients[stage]))
        expected = plain_propagation(start, unit_features([reading.features[stage]]), power)
    torch.testing.assert_close(maps["regioncam"], expected, rtol=1e-3, atol=1e-4)


def test_a_part_becomes_the_whole_object_and_nothing_else():
    classifier, image = tiny_classifier(), make_image()
    reading = read(classifier, image, [0], gradient_stages=[2, 3], feature_stages=[2, 3])
    features = torch.zeros(4, *reading.cam.shape[1:])
    features[0, :, :5] = 1
    features[1, :, 5:] = 1
    part = torch.zeros_like(reading.cam)
    part[0, :2, :2] = 1
    for stage in (2, 3):
        reading.features[stage], reading.gradients[stage] = features, part
    found = RegionPropagation(min_stride=8)(part, reading, Before(classifier, (), Views()))
    torch.testing.assert_close(found[0, :, :5], torch.ones_like(found[0, :, :5]))
    assert found[0, :, 5:].max() == 0
