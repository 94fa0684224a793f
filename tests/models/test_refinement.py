"""Refinements: what they keep and what they repair, and that PAR is its formula; the CRF's package may be missing."""

import importlib.util
import math
import sys
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from models.refinement import dense_crf, has_dense_crf, par
from utils.errors import UserError

HEIGHT, WIDTH, EDGE = 40, 60, 33  # an image whose colour changes at column 33


def random_image(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def random_softmax(labels: int, height: int, width: int, seed: int = 1) -> Tensor:
    logits = 2 * torch.randn(labels, height, width, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=0)


def two_colours() -> tuple[Tensor, Tensor]:
    """An image of two flat colours and where the right one is."""
    right = (torch.arange(WIDTH) >= EDGE).expand(HEIGHT, WIDTH)
    colours = torch.tensor([[70, 90, 60], [180, 120, 150]], dtype=torch.uint8)
    return colours[right.long()].permute(2, 0, 1).contiguous(), right


def assert_probabilities(refined: Tensor, like: Tensor) -> None:
    assert refined.shape == like.shape
    assert refined.dtype == torch.float32
    assert torch.isfinite(refined).all()
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(like.shape[1:]), atol=1e-4, rtol=0)


@pytest.fixture(params=["par", "small par", "crf"])
def refine(request) -> Callable[..., Tensor]:
    if request.param == "crf":
        pytest.importorskip("pydensecrf", reason="needs pydensecrf2: pip install -r requirements-extras.txt")
        return dense_crf
    return par if request.param == "par" else partial(par, max_side=WIDTH // 2)


def test_the_boundary_moves_to_the_colour_edge(refine):
    """Probabilities whose boundary lies beside the edge of the colours are refined to one on it."""
    image, truth = two_colours()
    for column in (EDGE - 6, EDGE + 6):
        right = torch.sigmoid((torch.arange(WIDTH) - column + 0.5) / 4).expand(HEIGHT, WIDTH)
        probabilities = torch.stack([1 - right, right])
        refined = refine(image, probabilities)
        assert_probabilities(refined, probabilities)
        before, after = (((p[1] > 0.5) & truth).sum() / ((p[1] > 0.5) | truth).sum() for p in (probabilities, refined))
        assert before < 0.85
        assert after > (0.95 if isinstance(refine, partial) else 0.99)


def test_no_iterations_change_nothing_and_labels_are_alike(refine):
    image, probabilities, order = random_image(20, 25), random_softmax(3, 20, 25), [2, 0, 1]
    torch.testing.assert_close(refine(image, probabilities, iterations=0), probabilities, atol=1e-4, rtol=0)
    if refine is not dense_crf:
        assert torch.equal(par(image, probabilities, iterations=0, max_side=15), probabilities)
    found = refine(image, probabilities)[order]
    torch.testing.assert_close(refine(image, probabilities[order]), found, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (2, 3), (9, 13)])
def test_images_may_be_smaller_than_the_reach_and_of_one_colour(refine, size):
    probabilities = random_softmax(2, *size)
    sizes = [partial(par, max_side=4), partial(par, max_side=300)] if refine is par else []
    for image in (random_image(*size), torch.zeros(3, *size, dtype=torch.uint8)):
        for each in (refine, *sizes):
            assert_probabilities(each(image, probabilities), probabilities)


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
    monkeypatch.setattr("models.refinement.DILATIONS", (1, 3))
    image, probabilities = random_image(6, 7), random_softmax(3, 6, 7)
    image[:, :3, :4] = 100 + image[:, :3, :4] // 64  # a nearly flat part
    refined = par(image, probabilities, iterations=2)
    np.testing.assert_allclose(refined.numpy(), plain_par(image, probabilities, 2, (1, 3)), atol=1e-5)


@pytest.mark.parametrize("turn", [lambda m: m.flip(1), lambda m: m.flip(2), lambda m: m.transpose(1, 2)])
def test_par_follows_flips_and_turns(turn: Callable[[Tensor], Tensor]):
    image, probabilities = random_image(33, 41), random_softmax(3, 33, 41)
    for refine in (partial(par, iterations=4, max_side=max_side) for max_side in (0, 20)):
        found = refine(turn(image), turn(probabilities))
        torch.testing.assert_close(found, turn(refine(image, probabilities)), atol=1e-5, rtol=0)


def test_certainty_and_views_are_taken(refine):
    """Probabilities of exactly 0 and 1, and tensors that are not contiguous."""
    image, truth = two_colours()
    probabilities = torch.stack([~truth, truth]).float()
    refined = refine(image.transpose(1, 2), probabilities.transpose(1, 2))
    assert_probabilities(refined, probabilities.transpose(1, 2))
    assert torch.equal(refined[1] > 0.5, truth.T)


def test_crf_without_its_package_says_what_to_do_and_knows_without_importing_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UserError, match=r"requirements-extras\.txt.*or use par"):
        dense_crf(random_image(4, 4), random_softmax(2, 4, 4))
    found = {"pydensecrf": object()}
    monkeypatch.setattr(importlib.util, "find_spec", found.get)
    assert has_dense_crf()
    found.clear()
    assert not has_dense_crf()
