"""Region-CAM: its formula from slow plain loops, and where it spreads a map to."""

import pytest
import torch

from models.reading import Views, normalise_maps, read, unit_features
from models.steps import RegionPropagation
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
