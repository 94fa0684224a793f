"""Region-CAM: stage by stage; test_random_walk.py has the formula of what spreads a map."""

import pytest
import torch

from models.random_walk import feature_walk
from models.reading import Views, normalise_maps, read, unit_features
from models.steps import RegionPropagation
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, tiny_classifier


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
        unit = unit_features([reading.features[stage]])
        expected = normalise_maps(feature_walk(start, unit, power=power, steps=1, keep=1))
    torch.testing.assert_close(maps["regioncam"], expected, rtol=1e-3, atol=1e-4)
