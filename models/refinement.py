"""Refinements of class probabilities by colours: PAR in plain torch, and the dense CRF (requirements-extras.txt)."""

import importlib.util
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from utils.errors import UserError

DILATIONS = (1, 2, 4, 8, 12, 24)  # of the 8 neighbours (Ru et al., CVPR 2022, section 3.3)
COLOUR_WEIGHT, POSITION_WEIGHT, POSITION_SHARE = 0.3, 0.3, 0.01  # w1, w2, w3 of the same
LEAST_DEVIATION = 1e-4  # of colours in 0..1, so that an image of one colour divides by something
PAR_SIDE = 250  # pixels of the long side at which PAR works: the maps are no finer, and its neighbours reach further
# Of the dense CRF, as used by IRN: pairwise terms of position, and of position and colour.
GAUSSIAN = {"sxy": 3, "compat": 3}
BILATERAL = {"sxy": 50, "srgb": 5, "compat": 10}


def par(image: Tensor, probabilities: Tensor, iterations: int = 10, max_side: int = PAR_SIDE) -> Tensor:
    """Each pixel takes the mean of its dilated neighbours, weighted by similarity of colour.

    With I the image in 0..1, j the 8 neighbours of i at each dilation and sigma_i the colours' deviation among them:

        kappa_ij = softmax_j(-mean_c (|I_i - I_j| / (w1 sigma_i))^2) + w3 softmax_j(-(|i - j| / (w2 sigma_pos))^2)
        P_i <- sum_j kappa_ij P_j / (1 + w3)

    Args:
        image: (3, H, W) uint8.
        probabilities: (..., L, H, W), sums to 1 over L.
        iterations: 0 gives the probabilities back.
        max_side: it works on an image made this small; 0 takes it as it is.

    Returns:
        As `probabilities`. Several labellings of one image (the leading axes) share what depends on the image alone.
    """
    if not iterations:
        return probabilities
    size = probabilities.shape[-2:]
    small = [max(1, round(side * min(1.0, max_side / max(size)))) for side in size] if max_side else list(size)
    pixels = image.to(probabilities.device, torch.float32)[None] / 255
    pixels = interpolate(pixels, small, mode="bilinear", align_corners=False, antialias=True)[0]
    maps = probabilities.reshape(1, -1, *size)
    values = interpolate(maps, small, mode="bilinear", align_corners=False, antialias=True)[0]

    offsets = [(d * y, d * x) for d in DILATIONS for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    colour = torch.softmax(_minus_squared_differences(pixels, offsets), dim=0)
    distance = torch.tensor([math.hypot(*offset) for offset in offsets], device=pixels.device)
    position = torch.softmax(-(distance / (POSITION_WEIGHT * distance.std())).square(), dim=0)
    kernel = colour.add_(POSITION_SHARE * position[:, None, None]).div_(1 + POSITION_SHARE)
    for _ in range(iterations):
        refined = torch.zeros_like(values)
        for weight, neighbour in zip(kernel, _neighbours(values, offsets), strict=True):
            refined.addcmul_(weight, neighbour)
        values = refined
    return interpolate(values[None], size, mode="bilinear", align_corners=False).reshape(probabilities.shape)


def _minus_squared_differences(pixels: Tensor, offsets: Sequence[tuple[int, int]]) -> Tensor:
    """-mean_c (|I_i - I_j| / (w1 sigma_i))^2 of an image (3, H, W) for each offset: (offsets, H, W).

    One offset at a time, in the processor's cache, which is 2.5 times as fast as all at once. Of differences, not
    colours, so that flat areas lose no digits.
    """
    neighbours, count = _neighbours(pixels, offsets), len(offsets)
    total, squares, difference = torch.zeros_like(pixels), torch.zeros_like(pixels), torch.empty_like(pixels)
    for neighbour in neighbours:
        torch.sub(neighbour, pixels, out=difference)
        total.add_(difference)
        squares.addcmul_(difference, difference)
    variance = (squares - total.square() / count).clamp_min(0) / (count - 1)
    factor = len(pixels) ** -0.5 / (COLOUR_WEIGHT * variance.sqrt().clamp_min(LEAST_DEVIATION))
    found = pixels.new_empty((count, *pixels.shape[-2:]))
    for row, neighbour in zip(found, neighbours, strict=True):
        red, green, blue = torch.sub(neighbour, pixels, out=difference).mul_(factor).square_()
        torch.add(red, green, out=row).add_(blue).neg_()
    return found


def _neighbours(maps: Tensor, offsets: Sequence[tuple[int, int]]) -> list[Tensor]:
    """(C, H, W) shifted by each offset, edges repeated; views of one padded copy."""
    reach = max(max(abs(y), abs(x)) for y, x in offsets)
    height, width = maps.shape[-2:]
    padded = pad(maps[None], (reach, reach, reach, reach), mode="replicate")[0]
    return [padded[:, reach + y : reach + y + height, reach + x : reach + x + width] for y, x in offsets]


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
