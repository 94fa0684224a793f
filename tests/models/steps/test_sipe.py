"""Image-specific prototypes: their formula from slow plain loops, and which cells make them."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from models.reading import Views, normalise_maps, read, unit_features
from models.steps import ImagePrototypes
from models.steps.sipe import compare, structure_seeds
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, random_features, random_maps, tiny_classifier


def plain_seeds(maps: torch.Tensor, unit: torch.Tensor, background: float, power: float) -> torch.Tensor:
    """The map with the largest intersection over union with the similarity to the cell, for one cell after another."""
    cells = unit.flatten(1)
    found = torch.zeros(cells.shape[1], dtype=torch.int64)
    for i in range(cells.shape[1]):
        similar = (cells[:, i] @ cells).clamp_min(0) ** power
        fits = []
        for k, map_ in enumerate([1 - maps.amax(dim=0), *maps]):
            both = (similar * map_.flatten()).sum()
            fits.append((background if k == 0 else 1) * both / (similar.sum() + map_.sum() - both))
        found[i] = torch.stack(fits).argmax()
    return found.view(maps.shape[1:])


@pytest.mark.parametrize(("background", "power"), [(0.5, 1.0), (1.0, 3.0)])
def test_seeds_and_similarity_agree_with_the_formula(background, power):
    maps = torch.cat([random_maps(3, 6, 7), torch.zeros(1, 6, 7)])  # a class that fits no cell best adds nothing
    unit = unit_features([random_features(5, 6, 7) - 1])
    seeds = structure_seeds(maps, unit, background, power)
    assert torch.equal(seeds, plain_seeds(maps, unit, background, power))
    assert len(seeds.unique()) > 2
    means = [unit[:, seeds == k].mean(dim=1) if (seeds == k).any() else torch.zeros(5) for k in range(5)]
    likeness = torch.stack([cosine_similarity(unit, mean[:, None, None], dim=0) for mean in means])
    expected = (likeness[1:] - likeness[:1]).relu()
    expected[[k for k in range(4) if not (seeds == k + 1).any()]] = 0
    found = compare(maps, unit, background, power)
    torch.testing.assert_close(found, normalise_maps(expected), rtol=1e-3, atol=1e-4)
    assert found[3].abs().max() == 0


def test_it_is_added_to_the_maps_of_the_step_before():
    classifier, image = tiny_classifier(), make_image()
    maps = make_method(ImagePrototypes(enabled=True)).trace(classifier, image, CLASSES).maps
    unit = unit_features([read(classifier, image, CLASSES, Views(SCALES), feature_stages=(3,)).features[3]])
    torch.testing.assert_close(maps["sipe"], normalise_maps(maps["cam"] + compare(maps["cam"], unit, 1.0, 1.0)))
