"""Properties of the dense CRF: what it keeps and what it repairs; skipped where its package is not installed."""

import importlib.util
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.dense_crf import dense_crf, has_dense_crf
from tests.models.colours import assert_edge_is_found, assert_probabilities, random_image, random_softmax, two_colours
from utils.errors import UserError


@pytest.fixture
def crf() -> Callable[..., Tensor]:
    pytest.importorskip("pydensecrf", reason="needs pydensecrf2: pip install -r requirements-extras.txt")
    return dense_crf


def test_crf_moves_the_boundary_to_the_colour_edge(crf):
    assert_edge_is_found(crf)


def test_crf_without_iterations_changes_nothing_and_labels_are_alike(crf):
    image, probabilities, order = random_image(20, 25), random_softmax(3, 20, 25), [2, 0, 1]
    torch.testing.assert_close(crf(image, probabilities, iterations=0), probabilities, atol=1e-4, rtol=0)
    torch.testing.assert_close(crf(image, probabilities[order]), crf(image, probabilities)[order], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (9, 13)])
def test_crf_on_small_images(crf, size):
    probabilities = random_softmax(2, *size)
    assert_probabilities(crf(random_image(*size), probabilities), probabilities)
    assert_probabilities(crf(torch.zeros(3, *size, dtype=torch.uint8), probabilities), probabilities)


def test_crf_takes_certainty_and_views(crf):
    """Probabilities of exactly 0 and 1, and tensors that are not contiguous."""
    image, truth = two_colours()
    probabilities = torch.stack([~truth, truth]).float()
    refined = crf(image.transpose(1, 2), probabilities.transpose(1, 2))
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
