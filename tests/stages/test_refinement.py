"""Refinements by the names that settings have for them."""

import numpy as np
import pytest
import torch

from models.dense_crf import dense_crf
from models.par import par
from stages.refinement import REFINEMENTS, refiner
from stages.settings import PseudoSettings
from tests.models.colours import random_image, random_softmax

SETTINGS = PseudoSettings(par_iterations=4, crf_iterations=3)


def refine(kind: str, image: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    refinement = refiner(kind, SETTINGS, np.ascontiguousarray(image.permute(1, 2, 0)))
    assert refinement is not None
    return refinement(probabilities)


def test_each_takes_its_own_iterations():
    image, probabilities = random_image(20, 25), random_softmax(2, 20, 25)
    assert torch.equal(refine("par", image, probabilities), par(image, probabilities, 4))
    pytest.importorskip("pydensecrf", reason="needs pydensecrf2 (requirements-extras.txt)")
    assert torch.equal(refine("crf", image, probabilities), dense_crf(image, probabilities, 3))


@pytest.mark.parametrize("kind", REFINEMENTS)
def test_labellings_of_one_image_share_it(kind: str):
    if kind == "crf":
        pytest.importorskip("pydensecrf")
    image = random_image(24, 31)
    both = torch.stack([random_softmax(3, 24, 31, seed) for seed in (1, 2)])
    together = refine(kind, image, both)
    for labelling, refined in zip(both, together, strict=True):
        torch.testing.assert_close(refined, refine(kind, image, labelling))
