"""Refinements of probabilities by an image's colours, by their names in the settings."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from models.hints import ImageHints
from models.pseudo import pseudo_mask
from models.refinement import dense_crf, par
from stages.settings import PseudoSettings

ReadImage = Callable[[], np.ndarray]  # -> (H, W, 3) uint8; called only where colours are needed
# Name -> (3, H, W) uint8 image, (..., L, H, W) probabilities that sum to 1 over L, settings -> such probabilities.
REFINEMENTS: dict[str, Callable[[Tensor, Tensor, PseudoSettings], Tensor]] = {
    "par": lambda image, scores, settings: par(image, scores, settings.par_iterations, max_side=settings.par_side),
    "crf": lambda image, scores, settings: dense_crf(image, scores, settings.crf_iterations),
}


def refiner(kind: str, settings: PseudoSettings, image: np.ndarray) -> Callable[[Tensor], Tensor] | None:
    """The refinement of that name for one (H, W, 3) uint8 image, or None where `kind` is none."""
    if kind == "none":
        return None
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return lambda probabilities: REFINEMENTS[kind](pixels, probabilities, settings)


def mask_of(
    maps: Tensor, classes: Tensor, settings: PseudoSettings, read: ReadImage, hints: ImageHints | None = None
) -> Tensor:
    """The mask (H, W) of maps (K, H, W), which contradicts no hint; `read` gives the image whose colours refine it."""
    is_refined = settings.refine != "none" and len(classes) > 0
    refinement = refiner(settings.refine, settings, read()) if is_refined else None
    if hints is not None:
        maps = hints.hold_to_cut(maps)
        refinement = hints.hold_around(refinement)
    mask = pseudo_mask(
        maps,
        classes,
        background=settings.background,
        threshold=settings.threshold,
        power=settings.power,
        ignore_band=settings.ignore_band,
        refiner=refinement,
    )
    return mask if hints is None else hints.hold_mask(mask, maps)
