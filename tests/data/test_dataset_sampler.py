"""Epochs of a small set go through it several times."""

from collections import Counter

import pytest

from data.dataset import TrainingSampler


def draws(sampler: TrainingSampler, epoch: int = 0, step: int = 0) -> list[tuple[int, int]]:
    sampler.start(epoch, step)
    return list(sampler)


@pytest.mark.parametrize(("length", "passes"), [(12, 5), (16, 3), (37, 4)])
def test_each_pass_has_every_image_once(length, passes):
    sampler = TrainingSampler(length, 16, seed=1, passes=passes)
    found = draws(sampler)
    assert len(found) == sampler.steps_per_epoch * sampler.batch_size
    for start in range(0, len(found) - length + 1, length):
        assert len({position for position, _ in found[start : start + length]}) == length
    assert max(Counter(position for position, _ in found).values()) <= passes
    assert len({seed for _, seed in found}) == len(found)


def test_it_can_start_in_the_middle():
    sampler = TrainingSampler(12, 5, seed=1, passes=3)
    assert draws(sampler, 2, 4) == draws(sampler, 2)[4 * 5 :]
