"""Masks at the image's own size."""

import numpy as np
import pytest

from inference.predictor import resize_mask
from utils.ignore import IGNORE


def test_a_mask_keeps_its_values_and_areas_at_another_size():
    mask = np.zeros((20, 30), np.uint8)
    mask[:10], mask[10:, 15:] = 7, IGNORE
    large = resize_mask(mask, (63, 95))
    assert large.shape == (63, 95)
    assert set(np.unique(large)) == {0, 7, IGNORE}
    for value in (0, 7, IGNORE):
        assert (large == value).mean() == pytest.approx((mask == value).mean(), abs=0.03)
    assert np.array_equal(resize_mask(mask, mask.shape), mask)
