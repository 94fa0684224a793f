"""LayerCAM: its formula from slow plain loops, and both ways of adding it to maps."""

import pytest
import torch

from models.reading import Views, map_size, read, to_grid, views_of
from models.steps import GradFusion, LayerFusion
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, tiny_classifier


def test_a_layer_is_its_features_weighted_by_positive_gradients():
    classifier, image, stage = tiny_classifier(), make_image(), 2
    found = read(classifier, image, CLASSES, Views(SCALES), gradient_stages=[stage]).weighted[stage]
    expected = torch.zeros_like(found)
    for scale in SCALES:
        views = views_of(image[None], scale, True)
        for k, class_index in enumerate(CLASSES):
            stages = classifier.backbone.stages(views, stage)
            (gradient,) = torch.autograd.grad(classifier.logits(stages)[:, class_index].sum(), stages[stage])
            weighted = sum(gradient[:, d].clamp_min(0) * stages[stage][:, d] for d in range(gradient.shape[1]))
            expected[k] += to_grid(weighted.clamp_min(0)[:, None].detach(), map_size(*image.shape[1:]))[0]
    assert expected.amax() > 0
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("fusion", "gamma"), [("max", 2.0), ("max", 0.7), ("mean", 2.0)])
def test_it_follows_the_step_before_with_the_stages_of_gfm(fusion, gamma):
    classifier, image = tiny_classifier(), make_image()
    step = LayerFusion(enabled=True, fusion=fusion, gamma=gamma)
    maps = make_method(GradFusion(), step).trace(classifier, image, CLASSES).maps
    reading = read(classifier, image, CLASSES, Views(SCALES), gradient_stages=[2, 3])
    for k in range(len(CLASSES)):
        layers = [reading.weighted[stage][k] / reading.weighted[stage][k].max().clamp_min(1e-30) for stage in (2, 3)]
        plain = maps["gfm"][k]
        if fusion == "mean":
            plain = plain + sum(layers) / 2
        else:
            for layer in layers:
                plain = torch.maximum(plain, (gamma * layer).tanh())
        torch.testing.assert_close(maps["layercam"][k], plain / plain.max())
