"""Refinements by the names that settings have for them."""

import numpy as np
import pytest
import torch

from models.refinement import dense_crf, par
from stages.pseudo import REFINEMENTS, refiner
from stages.settings import PseudoSettings
from tests.models.test_refinement import random_image, random_softmax

SETTINGS = PseudoSettings(par_iterations=4, crf_iterations=3)


@pytest.mark.parametrize("kind", REFINEMENTS)
def test_each_takes_its_own_iterations_and_labellings_of_one_image_share_it(kind: str):
    if kind == "crf":
        pytest.importorskip("pydensecrf", reason="needs pydensecrf2 (requirements-extras.txt)")
    image, both = random_image(24, 31), torch.stack([random_softmax(3, 24, 31, seed) for seed in (1, 2)])
    refine = refiner(kind, SETTINGS, np.ascontiguousarray(image.permute(1, 2, 0)))
    for labelling, refined in zip(both, refine(both), strict=True):
        own = par(image, labelling, 4) if kind == "par" else dense_crf(image, labelling, 3)
        torch.testing.assert_close(refined, own)
        assert torch.equal(refine(labelling), own)
