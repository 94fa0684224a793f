"""Average precision, and what chance reaches."""

import numpy as np
import pytest

from utils.ranking import average_precision, chance_level


def test_average_precision_is_the_mean_precision_at_the_right_ones():
    truth, scores = np.array([True, False, True, False]), np.array([0.9, 0.8, 0.7, 0.1])
    assert average_precision(truth, scores) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(truth, -scores) == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert np.isnan(average_precision(np.zeros(4, bool), scores))


@pytest.mark.parametrize("seed", range(3))
def test_random_scores_are_hardly_ever_above_chance(seed):
    random, truth = np.random.default_rng(seed), np.arange(40) < 8
    mean, needed = chance_level([8], 40)
    found = average_precision(truth, random.random((1000, 40)))
    assert (found > needed).mean() < 0.08
    assert found.mean() == pytest.approx(mean, abs=0.02)


def test_no_figure_is_above_chance_where_all_are_right_or_there_is_one_image():
    assert chance_level([5], 5)[1] == 1
    assert chance_level([1], 1)[1] == 1
