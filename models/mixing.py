"""Batches whose crops show objects of other crops, so that no class depends on what surrounds it."""

import torch
from torch import Tensor

from utils.ignore import IGNORE


def paste_objects(image: Tensor, mask: Tensor, part: float) -> tuple[Tensor, Tensor]:
    """Copy the objects of the next crop of the batch onto a crop (Copy-Paste, Ghiasi et al., CVPR 2021).

    Args:
        image: (B, 3, H, W).
        mask: (B, H, W) int64, 0 background, 255 ignored.
        part: of the crops, drawn from torch's generator, that get objects.

    Returns:
        Image and mask with the objects in their places; crops that were not drawn stay as they are.
    """
    chosen = (torch.rand(len(image)) < part).to(image.device)[:, None, None]
    objects = mask.roll(1, dims=0)
    pasted = chosen & (objects > 0) & (objects != IGNORE)
    return torch.where(pasted[:, None], image.roll(1, dims=0), image), torch.where(pasted, objects, mask)
