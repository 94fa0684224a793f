"""Properties of PAR: what it keeps, what it repairs, and that it is its formula."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from models.par import par
from tests.models.colours import WIDTH, assert_edge_is_found, assert_probabilities, random_image, random_softmax


def plain_par(image: Tensor, probabilities: Tensor, iterations: int, dilations: tuple[int, ...]) -> np.ndarray:
    """The formula pixel by pixel, in double precision."""
    colours, current = image.numpy().astype(float), probabilities.numpy().astype(float)
    height, width = colours.shape[1:]
    around_one = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    offsets = [(dy * dilation, dx * dilation) for dilation in dilations for dy, dx in around_one]
    distances = np.array([math.hypot(*offset) for offset in offsets])
    position = np.exp(-((distances / (0.3 * distances.std(ddof=1))) ** 2))
    position /= position.sum()
    for _ in range(iterations):
        following = np.zeros_like(current)
        for y in range(height):
            for x in range(width):
                places = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy, dx in offsets]
                around = np.array([colours[:, v, u] for v, u in places])
                deviation = np.maximum(around.std(axis=0, ddof=1), 1e-4 * 255)
                exponent = -(((around - colours[:, y, x]) / (0.3 * deviation)) ** 2).mean(axis=1)
                colour = np.exp(exponent - exponent.max())
                kernel = (colour / colour.sum() + 0.01 * position) / 1.01
                for weight, (v, u) in zip(kernel, places, strict=True):
                    following[:, y, x] += weight * current[:, v, u]
        current = following
    return current


def test_par_agrees_with_plain_formula(monkeypatch):
    monkeypatch.setattr("models.par.DILATIONS", (1, 3))
    image, probabilities = random_image(6, 7), random_softmax(3, 6, 7)
    image[:, :3, :4] = 100 + image[:, :3, :4] // 64  # a nearly flat part
    refined = par(image, probabilities, iterations=2)
    np.testing.assert_allclose(refined.numpy(), plain_par(image, probabilities, 2, (1, 3)), atol=1e-5)


def test_par_without_iterations_changes_nothing():
    image, probabilities = random_image(30, 40), random_softmax(3, 30, 40)
    assert torch.equal(par(image, probabilities, iterations=0, max_side=20), probabilities)


@pytest.mark.parametrize(("max_side", "least"), [(0, 0.99), (WIDTH // 2, 0.95)])
def test_par_moves_the_boundary_to_the_colour_edge(max_side, least):
    assert_edge_is_found(partial(par, max_side=max_side), least)


@pytest.mark.parametrize("max_side", [0, 20])
@pytest.mark.parametrize("turn", [lambda m: m.flip(1), lambda m: m.flip(2), lambda m: m.transpose(1, 2)])
def test_par_follows_flips_and_turns(turn: Callable[[Tensor], Tensor], max_side: int):
    image, probabilities = random_image(33, 41), random_softmax(3, 33, 41)
    refined = par(image, probabilities, iterations=4, max_side=max_side)
    torch.testing.assert_close(
        par(turn(image), turn(probabilities), iterations=4, max_side=max_side), turn(refined), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (2, 3), (9, 13)])
def test_par_on_images_smaller_than_its_reach(size):
    probabilities = random_softmax(2, *size)
    for image in (random_image(*size), torch.zeros(3, *size, dtype=torch.uint8)):
        for max_side in (0, 4, 300):
            assert_probabilities(par(image, probabilities, max_side=max_side), probabilities)
