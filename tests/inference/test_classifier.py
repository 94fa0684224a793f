"""Which classes a classifier shows."""

import torch

from inference.classifier import apart


def test_maps_that_lie_upon_each_other_count_once():
    maps = torch.zeros(4, 10, 10)
    maps[0, :5], maps[1, :4], maps[2, 6:], maps[3] = 1, 0.9, 0.8, 0.3  # the last lies nowhere
    assert apart(maps) == [0, 2, 3]
