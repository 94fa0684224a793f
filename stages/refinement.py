"""The refinement of one picture's probabilities by its colours, as settings name it."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from models.refine import refine
from utils.config import PseudoConfig


def refiner(kind: str, settings: PseudoConfig, image: np.ndarray) -> Callable[[Tensor], Tensor] | None:
    """`models.refine.refine` for one (H, W, 3) uint8 picture, or None where `kind` is none."""
    if kind == "none":
        return None
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return partial(refine, kind, pixels, par_iterations=settings.par_iterations, crf_iterations=settings.crf_iterations)
