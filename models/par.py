"""Pixel-adaptive refinement (PAR) of class probabilities by an image's colours, in plain torch; always there."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

DILATIONS = (1, 2, 4, 8, 12, 24)  # of the 8 neighbours (Ru et al., CVPR 2022, section 3.3)
COLOUR_WEIGHT, POSITION_WEIGHT, POSITION_SHARE = 0.3, 0.3, 0.01  # w1, w2, w3 of the same
LEAST_DEVIATION = 1e-4  # of colours in 0..1, so that an image of one colour divides by something
PAR_SIDE = 250  # pixels of the long side at which PAR works: the maps are no finer, and its neighbours reach further


def par(
    image: Tensor,
    probabilities: Tensor,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    max_side: int = PAR_SIDE,
) -> Tensor:
    """Pixel-adaptive refinement: each pixel takes the mean of its dilated neighbours, weighted by similarity of colour.

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

    offsets = [(d * y, d * x) for d in dilations for y in (-1, 0, 1) for x in (-1, 0, 1) if y or x]
    differences = torch.stack([neighbour - pixels for neighbour in _neighbours(pixels, offsets)])
    deviation = _deviation(differences).clamp_min(LEAST_DEVIATION)
    colour = torch.softmax(-(differences / (COLOUR_WEIGHT * deviation)).square().mean(dim=1), dim=0)
    distance = torch.tensor([math.hypot(*offset) for offset in offsets], device=pixels.device)
    position = torch.softmax(-(distance / (POSITION_WEIGHT * distance.std())).square(), dim=0)
    kernel = (colour + POSITION_SHARE * position[:, None, None]) / (1 + POSITION_SHARE)
    for _ in range(iterations):
        refined = torch.zeros_like(values)
        for weight, neighbour in zip(kernel, _neighbours(values, offsets), strict=True):
            refined.addcmul_(weight, neighbour)
        values = refined
    return interpolate(values[None], size, mode="bilinear", align_corners=False).reshape(probabilities.shape)


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
