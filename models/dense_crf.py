"""Refinement of class probabilities by the dense CRF, where its package is installed (requirements-extras.txt)."""

import importlib.util

import numpy as np
import torch
from torch import Tensor

from utils.errors import UserError

# As used by IRN: pairwise terms of position, and of position and colour.
GAUSSIAN = {"sxy": 3, "compat": 3}
BILATERAL = {"sxy": 50, "srgb": 5, "compat": 10}


def has_dense_crf() -> bool:
    """Whether the dense CRF's package is installed."""
    return importlib.util.find_spec("pydensecrf") is not None


def no_dense_crf(what: str) -> UserError:
    """The error where the package is not installed, or cannot be imported; `what` is what needs it."""
    return UserError(
        f"{what} needs the package pydensecrf2: pip install -r requirements-extras.txt (and gcc); or use par"
    )


def dense_crf(image: Tensor, probabilities: Tensor, iterations: int = 10) -> Tensor:
    """Fully connected CRF (Krähenbühl and Koltun, NeurIPS 2011) with IRN's parameters.

    From an image (3, H, W) uint8 and probabilities (..., L, H, W) that sum to 1 over L; computed on the CPU.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
        from pydensecrf.utils import unary_from_softmax
    except ImportError as error:
        raise no_dense_crf("refinement crf") from error
    labels, height, width = probabilities.shape[-3:]
    field = DenseCRF2D(width, height, labels)
    field.addPairwiseGaussian(**GAUSSIAN)
    field.addPairwiseBilateral(**BILATERAL, rgbim=np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    refined = []
    for labelling in probabilities.reshape(-1, labels, height, width).cpu().numpy():
        field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(labelling)))
        refined.append(np.array(field.inference(iterations), dtype=np.float32))
    return torch.from_numpy(np.stack(refined)).reshape(probabilities.shape).to(probabilities.device)
