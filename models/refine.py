"""Colour-aware refinement of class probabilities: PAR in plain torch, and the dense CRF where its package is installed.

Both take a picture (3, H, W) uint8 and probabilities (..., L, H, W) that sum to 1 over the L labels, and give the same back.
Several labellings of one picture (the leading axes) share what depends on the picture alone.
"""

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
LEAST_DEVIATION = 1e-4  # of colours in 0..1, so that a picture of one colour divides by something
PAR_SIDE = 250  # pixels of the long side at which PAR works: the maps are no finer, and its neighbours reach further

# Dense CRF as used by IRN: pairwise terms of position, and of position and colour.
GAUSSIAN = {"sxy": 3, "compat": 3}
BILATERAL = {"sxy": 50, "srgb": 5, "compat": 10}


def refine(kind: str, image: Tensor, probabilities: Tensor, *, par_iterations: int, crf_iterations: int) -> Tensor:
    """The refinement named `kind`: none, par or crf.

    Raises:
        ValueError: another name.
        UserError: crf, and its package is not installed.
    """
    if kind == "par":
        return par(image, probabilities, par_iterations)
    if kind == "crf":
        return dense_crf(image, probabilities, crf_iterations)
    if kind != "none":
        raise ValueError(f"refinement must be none, par or crf, found '{kind}'")
    return probabilities


def has_dense_crf() -> bool:
    """Whether the dense CRF's package is installed."""
    return importlib.util.find_spec("pydensecrf") is not None


def par(
    image: Tensor,
    probabilities: Tensor,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    max_side: int = PAR_SIDE,
) -> Tensor:
    """Pixel-adaptive refinement: each pixel takes the mean of its dilated neighbours, weighted by likeness of colour.

    With I the picture in 0..1, j the 8 neighbours of i at each dilation and sigma_i the colours' deviation among them:

        kappa_ij = softmax_j(-mean_c (|I_i - I_j| / (w1 sigma_i))^2) + w3 softmax_j(-(|i - j| / (w2 sigma_pos))^2)
        P_i <- sum_j kappa_ij P_j / (1 + w3)

    Args:
        image: (3, H, W) uint8.
        probabilities: (..., L, H, W), sums to 1 over L.
        iterations: 0 gives the probabilities back.
        max_side: it works on a picture made this small; 0 takes it as it is.
    """
    if not iterations:
        return probabilities
    size = probabilities.shape[-2:]
    small = [max(1, round(side * min(1.0, max_side / max(size)))) for side in size] if max_side else list(size)
    picture = image.to(probabilities.device, torch.float32)[None] / 255
    picture = interpolate(picture, small, mode="bilinear", align_corners=False, antialias=True)[0]
    maps = probabilities.reshape(1, -1, *size)
    values = interpolate(maps, small, mode="bilinear", align_corners=False, antialias=True)[0]

    offsets = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    differences = torch.stack([neighbour - picture for neighbour in _neighbours(picture, offsets)])
    deviation = _deviation(differences).clamp_min(LEAST_DEVIATION)
    colour = torch.softmax(-(differences / (COLOUR_WEIGHT * deviation)).square().mean(dim=1), dim=0)
    distance = torch.tensor([math.hypot(*offset) for offset in offsets], device=picture.device)
    position = torch.softmax(-(distance / (POSITION_WEIGHT * distance.std())).square(), dim=0)
    kernel = (colour + POSITION_SHARE * position[:, None, None]) / (1 + POSITION_SHARE)
    for _ in range(iterations):
        refined = torch.zeros_like(values)
        for weight, neighbour in zip(kernel, _neighbours(values, offsets), strict=True):
            refined.addcmul_(weight, neighbour)
        values = refined
    return interpolate(values[None], size, mode="bilinear", align_corners=False).reshape(probabilities.shape)


def dense_crf(image: Tensor, probabilities: Tensor, iterations: int = 10) -> Tensor:
    """Fully connected CRF (Krähenbühl and Koltun, NeurIPS 2011) with IRN's parameters.

    Raises:
        UserError: the package is not installed.
    """
    try:
        from pydensecrf.densecrf import DenseCRF2D
        from pydensecrf.utils import unary_from_softmax
    except ImportError as error:
        raise UserError("pseudo.refine crf needs the package pydensecrf2: pip install -r requirements-extras.txt (it compiles, gcc "
                        "needed); or use pseudo.refine: par, which is always there") from error  # fmt: skip
    labels, height, width = probabilities.shape[-3:]
    field = DenseCRF2D(width, height, labels)
    field.addPairwiseGaussian(**GAUSSIAN)
    field.addPairwiseBilateral(**BILATERAL, rgbim=np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy()))
    refined = []
    for labelling in probabilities.reshape(-1, labels, height, width).cpu().numpy():
        field.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(labelling)))
        refined.append(np.array(field.inference(iterations), dtype=np.float32))
    return torch.from_numpy(np.stack(refined)).reshape(probabilities.shape).to(probabilities.device)


def _deviation(values: Tensor) -> Tensor:
    """`values.std(dim=0)`, eight times faster on a CPU, where torch's reads along the first dimension."""
    mean = values.mean(dim=0)
    squares = torch.zeros_like(mean)
    for value in values:
        squares.addcmul_(value - mean, value - mean)
    return (squares / (len(values) - 1)).sqrt()


def _neighbours(maps: Tensor, offsets: Sequence[tuple[int, int]]) -> list[Tensor]:
    """(C, H, W) shifted by each offset, edges repeated; views of one padded copy."""
    reach = max(max(abs(y), abs(x)) for y, x in offsets)
    height, width = maps.shape[-2:]
    padded = pad(maps[None], (reach, reach, reach, reach), mode="replicate")[0]
    return [padded[:, reach + y : reach + y + height, reach + x : reach + x + width] for y, x in offsets]
