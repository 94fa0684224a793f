"""Instances from a displacement, drawn."""

import numpy as np
import torch

from stages.affinity_sheet import direction_image, instance_mask


def test_two_centres_are_two_instances_the_larger_is_the_first_and_directions_have_colours():
    y, x = torch.meshgrid(torch.arange(12.0), torch.arange(20.0), indexing="ij")
    towards = torch.stack([6 - y, torch.where(x < 9, 3, 14) - x])  # each cell points to the nearer centre
    labels = np.zeros((48, 80), np.uint8)
    labels[8:40, 4:76] = 3
    labels[8:12] = 255
    mask = instance_mask(towards, labels)
    assert set(np.unique(mask)) == {0, 1, 2}
    assert (mask[labels != 3] == 0).all()
    assert mask[24, 70] == 1
    assert mask[24, 6] == 2
    image = direction_image(torch.tensor([[[0.0, 0.0, 20.0]], [[0.0, 20.0, 0.0]]]))
    assert image.shape == (1, 3, 3)
    assert image[0, 0].tolist() == [255, 255, 255]
    assert not np.array_equal(image[0, 1], image[0, 2])
