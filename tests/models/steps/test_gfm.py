"""Grad Fusion: its formula, and which stages it takes."""

import pytest
import torch

from models.reading import Views, normalise_maps, read
from models.steps.gfm import GradFusion, fuse_gradients
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, random_maps, tiny_classifier


def test_fusion_is_the_mean_of_the_normalised_gradients_on_top_of_the_map():
    cam = random_maps(3, 4, 5)
    gradients = 100 * torch.rand(3, 3, 4, 5)
    gradients[:, 2] = 0  # changes nothing
    fused = fuse_gradients(cam, gradients)
    for k in range(2):
        plain = cam[k] + sum(gradients[stage, k] / gradients[stage, k].max() for stage in range(3)) / 3
        torch.testing.assert_close(fused[k], plain / plain.max())
    torch.testing.assert_close(fused[2], cam[2])
    assert torch.equal(fuse_gradients(cam, torch.zeros(3, 3, 4, 5)), cam)


@pytest.mark.parametrize(("least", "stages"), [(1, (0, 1, 2, 3)), (4, (1, 2, 3)), (8, (2, 3)), (16, (3,))])
def test_the_stages_fused_are_the_first_of_each_stride_from_the_least_on(least, stages):
    classifier, image = tiny_classifier(), make_image()
    found = make_method(GradFusion(min_stride=least)).trace(classifier, image, CLASSES).maps["gfm"]
    reading = read(classifier, image, CLASSES, Views(SCALES), gradient_stages=stages)
    gradients = torch.stack([reading.gradients[stage] for stage in stages])
    torch.testing.assert_close(found, fuse_gradients(normalise_maps(reading.cam), gradients))
    assert GradFusion(min_stride=1).gradient_stages((4, 8, 16)) == [0, 1]  # never the last one
    assert GradFusion(min_stride=1).gradient_stages((4, 8, 16, 16)) == [0, 1, 2]
