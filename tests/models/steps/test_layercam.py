"""LayerCAM: its formula from slow plain loops, and what it adds to maps."""

import pytest
import torch

from models.reading import map_size, normalise_maps, read, to_grid, views_of
from models.steps import GradFusion, LayerFusion
from models.steps.layercam import fuse_layers
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, random_maps, tiny_classifier


@pytest.mark.parametrize("flip", [False, True])
def test_a_layer_is_its_features_weighted_by_positive_gradients(flip):
    classifier, image, stage = tiny_classifier(), make_image(), 2
    found = read(classifier, image, CLASSES, scales=SCALES, flip=flip, gradient_stages=[stage]).weighted[stage]
    expected = torch.zeros_like(found)
    for scale in SCALES:
        views = views_of(image, scale, flip)
        for k, class_index in enumerate(CLASSES):
            stages = classifier.backbone.stages(views, stage)
            (gradient,) = torch.autograd.grad(classifier.logits(stages)[:, class_index].sum(), stages[stage])
            weighted = sum(gradient[:, d].clamp_min(0) * stages[stage][:, d] for d in range(gradient.shape[1]))
            expected[k] += to_grid(weighted.clamp_min(0)[:, None].detach(), map_size(*image.shape[1:]))[0]
    assert expected.amax() > 0
    torch.testing.assert_close(found, expected)


def test_the_larger_value_wins_and_earlier_stages_are_lifted():
    maps, layers = random_maps(2, 4, 5), 100 * random_maps(3, 2, 4, 5, seed=1)
    found = fuse_layers(maps, layers, gamma=2.0)
    for k in range(2):
        plain = maps[k]
        for layer in layers[:, k]:
            plain = torch.maximum(plain, (2 * layer / layer.max()).tanh())
        torch.testing.assert_close(found[k], plain / plain.max())
    assert torch.equal(fuse_layers(maps, torch.zeros_like(layers), 2.0), normalise_maps(maps))


def test_it_reads_the_stages_of_gfm_and_follows_the_step_before():
    assert LayerFusion(min_stride=4).gradient_stages((2, 4, 8, 16, 16)) == [1, 2, 3]
    classifier, image = tiny_classifier(), make_image()
    maps = make_method(GradFusion(), LayerFusion(enabled=True, gamma=1.5)).trace(classifier, image, CLASSES).maps
    reading = read(classifier, image, CLASSES, scales=SCALES, gradient_stages=[2, 3])
    layers = torch.stack([reading.weighted[stage] for stage in (2, 3)])
    torch.testing.assert_close(maps["layercam"], fuse_layers(maps["gfm"], layers, 1.5))


def test_without_an_earlier_stage_the_maps_stay():
    step = LayerFusion(enabled=True, min_stride=32)
    maps = make_method(step).trace(tiny_classifier(), make_image(), CLASSES).maps
    assert torch.equal(maps["layercam"], maps["cam"])
