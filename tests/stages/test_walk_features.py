"""The walk over features leaves small maps alone where it is told to."""

import torch

from models.reading import normalise_maps
from stages.walk import FeatureWalk, walk_over_features


def test_maps_of_small_objects_stay_and_large_ones_walk():
    random = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.rand(6, 10, 10, generator=random), dim=0)
    maps = 0.3 * torch.rand(2, 20, 20, generator=random)
    maps[0, 4:6, 4:6], maps[1, :12] = 1.0, 1.0  # a hundredth and more than half of the image
    maps = normalise_maps(maps)
    walked, some, none = (walk_over_features(maps, unit, FeatureWalk(feature_least=least)) for least in (0.0, 0.1, 1.0))
    assert torch.equal(some[0], maps[0])
    assert torch.equal(some[1], walked[1])
    assert not torch.allclose(walked[0], maps[0])
    assert torch.equal(none, maps)
