"""Instances from a displacement, drawn."""

import numpy as np
import torch

from stages.affinity_sheet import direction_image, instance_mask


def towards(*centres: tuple[int, int], size: tuple[int, int] = (12, 20)) -> torch.Tensor:
    """A displacement by which each cell points to the nearest centre."""
    y, x = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    ways = torch.stack([torch.stack([cy - y, cx - x]) for cy, cx in centres])
    nearest = ways.square().sum(dim=1).argmin(dim=0)
    return ways.gather(0, nearest.expand(1, 2, *size))[0].float()


def test_two_centres_are_two_instances_and_the_larger_is_the_first():
    labels = np.zeros((48, 80), np.uint8)
    labels[8:40, 4:76] = 3
    labels[8:12] = 255
    mask = instance_mask(towards((6, 3), (6, 14)), labels)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert (mask[labels != 3] == 0).all()
    assert mask[24, 70] == 1
    assert mask[24, 6] == 2


def test_directions_have_colours():
    image = direction_image(torch.tensor([[[0.0, 0.0, 20.0]], [[0.0, 20.0, 0.0]]]))
    assert image.shape == (1, 3, 3)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert not np.array_equal(image[0, 1], image[0, 2])
