"""Refinements by the names that settings have for them."""

import numpy as np
import pytest
import torch

from models.refinement import dense_crf, par
from stages.pseudo import REFINEMENTS, refiner
from stages.settings import PseudoSettings
from tests.models.test_refinement import random_image, random_softmax

SETTINGS = PseudoSettings(par_iterations=4, crf_iterations=3)


def refine(kind: str, image: torch.Tensor, probabilities: torch.Tensor) -> torch.Tensor:
    refinement = refiner(kind, SETTINGS, np.ascontiguousarray(image.permute(1, 2, 0)))
    assert refinement is not None
    return refinement(probabilities)


@pytest.mark.parametrize("kind", REFINEMENTS)
def test_each_takes_its_own_iterations_and_labellings_of_one_image_share_it(kind: str):
    if kind == "crf":
        pytest.importorskip("pydensecrf", reason="needs pydensecrf2 (requirements-extras.txt)")
    image, own = random_image(24, 31), {"par": (par, 4), "crf": (dense_crf, 3)}
    both = torch.stack([random_softmax(3, 24, 31, seed) for seed in (1, 2)])
    refinement, iterations = own[kind]
    for labelling, refined in zip(both, refine(kind, image, both), strict=True):
        torch.testing.assert_close(refined, refine(kind, image, labelling))
        assert torch.equal(refine(kind, image, labelling), refinement(image, labelling, iterations))
