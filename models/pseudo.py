"""Seeds -> masks: the highest score of background and classes wins; near ties are 255 (docs/method.md 6 and 7)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from utils.ignore import IGNORE

CONFIDENCE = 0.7  # of a hard label that goes into a refinement; the other labels share the rest (IRN's CRF on labels)


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (K, h, w) at image size (K, H, W), bilinear; all maps and probabilities become pixels in this way."""
    if not len(maps):
        return maps.new_zeros((0, *size))
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def pseudo_mask(
    maps: Tensor,
    classes: Tensor,
    *,
    background: Literal["threshold", "power"] = "threshold",
    threshold: float = 0.25,
    power: float = 4.0,
    ignore_band: float = 0.0,
    refiner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The mask of one image from maps (K, H, W) in 0..1 of these classes (K,), 0 the first foreground class.

    Args:
        background: the background's score is `threshold` everywhere, or (1 - max_k A_k) ^ `power`.
        ignore_band: pixels where the background's score and the highest map differ by less are 255; 0 marks none.
        refiner: turns the scores, normalised to sum 1 over background and classes, (K + 1, H, W), into refined ones.

    Returns:
        (H, W) uint8: 0 background, class c is c + 1, 255 not decided. Without classes all background.
    """
    if not len(maps):
        return torch.zeros(maps.shape[1:], dtype=torch.uint8, device=maps.device)
    highest = maps.amax(dim=0, keepdim=True)
    score = torch.full_like(highest, threshold) if background == "threshold" else (1 - highest) ** power
    scores = torch.cat([score, maps])
    if refiner is not None:
        # Dividing by the sum keeps each pixel's order, so that a refinement of no iterations changes nothing.
        scores = refiner(scores / scores.sum(dim=0, keepdim=True).clamp_min(torch.finfo(scores.dtype).tiny))
    values = torch.cat([classes.new_zeros(1), classes + 1]).to(torch.uint8)
    mask = values[scores.argmax(dim=0)]
    if ignore_band:
        mask = mask.masked_fill((scores[1:].amax(dim=0) - scores[0]).abs() < ignore_band, IGNORE)
    return mask


def confident_labels(
    maps: Tensor,
    classes: Tensor,
    *,
    fg_threshold: float = 0.30,
    bg_threshold: float = 0.05,
    refiner: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """The confident cells of a seed, for the affinity network to learn from (IRN, section 4.2).

    The seed, maps (K, H, W) in 0..1 of classes (K,), is cut twice, with the high background score `fg_threshold` and
    with the low one `bg_threshold`, and `refiner` refines the probabilities (2, K + 1, H, W) of both cuts. Object in
    the first is confident object. Background in the second is confident background.

    Returns:
        (H, W) uint8: 0 background, class c is c + 1, 255 not confident. Without classes all background.
    """
    if not len(maps):
        return torch.zeros(maps.shape[1:], dtype=torch.uint8, device=maps.device)
    background = maps.new_tensor([fg_threshold, bg_threshold])[:, None, None, None].expand(2, 1, *maps.shape[1:])
    cuts = torch.cat([background, maps.expand(2, *maps.shape)], dim=1).argmax(dim=1)
    if refiner is not None:
        hard = nn.functional.one_hot(cuts, len(maps) + 1).movedim(-1, 1).to(maps.dtype)
        rest = (1 - CONFIDENCE) / len(maps)
        cuts = refiner(rest + (CONFIDENCE - rest) * hard).argmax(dim=1)
    values = torch.cat([classes.new_full((1,), IGNORE), classes + 1]).to(torch.uint8)
    return values[cuts[0]].masked_fill((cuts == 0).all(dim=0), 0)
