"""The hints of one image, held in the maps of its classes, in their walk and in its mask (docs/hints.md).

hints = ImageHints(values, boxes, classes=[0, 14])
maps = hints.hold(maps)             # (2, h, w), with the hints in their cells
maps = hints.spread(maps, unit)     # similar cells become like cells with a hint
mask = hints.hold_mask(mask, maps)  # (H, W), with the hints in their pixels
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from models.random_walk import feature_walk
from models.segmenter import LOGIT_STRIDE
from utils.distributed import total
from utils.ignore import IGNORE

LEAST = 1e-3  # of a map inside a box; below it the map knows nothing there
LEAST_FILL = 0.4  # of a box; one of which less is its class gets its best pixels, up to this
BOX_POWER = 0.5  # as if the threshold were its square: most of a box is the object (docs/log.md)
HINT_WEIGHT = 1.0  # of all cells with a hint together in a walk, relative to all other cells together


class ImageHints:
    """The hints of one image, for maps of these K classes.

    Values (H, W) uint8 are 0 for background, c + 1 for class c, 255 for pixels without a hint. Boxes are (class, left,
    top, right, bottom) in pixels; a class that has boxes is nowhere outside of them.
    """

    def __init__(self, values: Tensor, boxes: Sequence[tuple[int, ...]], classes: Sequence[int]):
        self.values, self.boxes, self.classes = values, boxes, classes
        self._grids: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # (h, w) -> what `on_grid` gives

    def on_grid(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """On the grid of maps (*, h, w), on their device: known (h, w) bool, and parts (K + 1, h, w) in 0..1.

        A cell is known where any of its pixels has a hint; of these pixels, its parts are background and each class.
        """
        size = (like.shape[-2], like.shape[-1])
        if size not in self._grids:
            values = torch.tensor([0, *(label + 1 for label in self.classes)], dtype=torch.uint8)
            has_hint = (self.values != IGNORE).float()
            is_value = (self.values == values[:, None, None]).float()
            means = interpolate(torch.cat([has_hint[None], is_value])[None], size, mode="area")[0]
            self._grids[size] = means[0] > 0, means[1:] / means[0].clamp_min(torch.finfo(means.dtype).tiny)
        known, parts = self._grids[size]
        return known.to(like.device), parts.to(like.device)

    def hold(self, maps: Tensor) -> Tensor:
        """Maps (K, h, w) in 0..1 with the hints in the cells that are known.

        The map of a class that has boxes is 0 outside of them, and n(.) of itself inside each.
        """
        found = maps.clone()
        for k, label in enumerate(self.classes):
            inside = self._inside(label, maps)
            if len(inside):
                in_each = maps[k] * inside
                highest = in_each.amax(dim=(1, 2), keepdim=True)
                found[k] = torch.where(highest > LEAST, in_each / highest, inside.to(maps)).amax(dim=0)
        known, parts = self.on_grid(maps)
        return torch.where(known, parts[1:].to(maps.dtype), found)

    def hold_to_cut(self, maps: Tensor) -> Tensor:
        """`hold` before maps become a mask: a map of a class that has boxes is raised to the power `BOX_POWER`."""
        held, boxed = self.hold(maps), {box[0] for box in self.boxes}
        for k, label in enumerate(self.classes):
            if label in boxed:
                held[k] **= BOX_POWER
        return held

    def hold_scores(self, scores: Tensor) -> Tensor:
        """Scores (K + 1, h, w) of background and classes, 0 for a class outside of its boxes, with the hints."""
        known, parts = self.on_grid(scores)
        scores = scores.clone()
        for k, label in enumerate(self.classes):
            inside = self._inside(label, scores)
            if len(inside):
                scores[k + 1] *= inside.any(dim=0)
        return torch.where(known, parts.to(scores.dtype), scores)

    def hold_around(self, refiner: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
        """A refinement of scores, or none, with the hints held before it and after it."""
        return lambda scores: self.hold_scores(refiner(self.hold_scores(scores)) if refiner else scores)

    def write_into(self, mask: Tensor) -> Tensor:
        """A new mask (H, W): that one, with the hints in their pixels."""
        return torch.where(self.values == IGNORE, mask, self.values)

    def hold_mask(self, mask: Tensor, maps: Tensor) -> Tensor:
        """The mask (H, W) of held maps (K, H, W), which contradicts no hint; no box is nearly empty."""
        mask = self.write_into(mask)
        for label, left, top, right, bottom in self.boxes:
            box = slice(top, bottom), slice(left, right)
            in_box = mask[box]  # a view: what is written into it is in the mask
            free, is_class = self.values[box] == IGNORE, in_box == label + 1
            if label in self.classes and is_class.float().mean() < LEAST_FILL and free.any():
                score = maps[self.classes.index(label)][box]
                # The value that the best `LEAST_FILL` of the pixels of the box reach.
                least = score.flatten().kthvalue(1 + int((1 - LEAST_FILL) * (score.numel() - 1))).values
                in_box[free & (score >= least)] = label + 1
        return mask

    def spread(self, maps: Tensor, unit: Tensor) -> Tensor:
        """Maps (K, h, w) after a walk over unit features (D, h, w): cells become like similar cells with a hint."""
        return feature_walk(self.hold(maps), unit, hold=self.hold, weights=self.cell_weights(maps))

    def cell_weights(self, maps: Tensor, most: float = math.inf) -> Tensor:
        """w_j (h, w) in 1..`most`, the weight of each cell of maps (K, h, w) in a walk: a single click must count."""
        known, _ = self.on_grid(maps)
        count = int(known.sum())
        weight = HINT_WEIGHT * (known.numel() - count) / max(1, count)
        return torch.where(known, max(1.0, min(most, weight)), 1.0).to(maps)

    def _inside(self, label: int, maps: Tensor) -> Tensor:
        """(N, h, w) bool on the grid of maps, for the N boxes of a class; a cell that a box touches is inside."""
        (height, width), (rows, columns) = maps.shape[-2:], self.values.shape
        own = [box[1:] for box in self.boxes if box[0] == label]
        inside = torch.zeros(len(own), height, width, dtype=torch.bool, device=maps.device)
        for box, (left, top, right, bottom) in zip(inside, own, strict=True):
            # Pixels to cells, rounded outwards: -(-a // b) is a / b rounded up.
            across = slice(left * width // columns, -(-right * width // columns))
            down = slice(top * height // rows, -(-bottom * height // rows))
            box[down, across] = True
        return inside


def hint_loss(logits: Tensor, hints: Tensor) -> Tensor:
    """Cross-entropy of logits (B, C, h, w) at the cells of `LOGIT_STRIDE` that have a hint.

    Hints (B, H, W) int64 are 255 in pixels without one. A cell has the value of its pixels with a hint; 255 where they
    differ. The loss is the mean over the cells of each image, 0 for an image without hints, summed and divided by B.
    With several processes a process gives its own part.
    """
    pixels = hints[:, None].float()
    # Highest and lowest hint of each cell. Pixels without a hint, -1 and 255 here, never decide; alone they differ.
    highest = max_pool2d(torch.where(pixels == IGNORE, -1.0, pixels), LOGIT_STRIDE, ceil_mode=True)
    lowest = -max_pool2d(-pixels, LOGIT_STRIDE, ceil_mode=True)
    cells = torch.where(highest == lowest, lowest, IGNORE)[:, 0].long()
    resized = interpolate(logits.float(), cells.shape[-2:], mode="bilinear", align_corners=False)
    losses = nn.functional.cross_entropy(resized, cells, ignore_index=IGNORE, reduction="none").flatten(1).sum(dim=1)
    counts = (cells != IGNORE).flatten(1).sum(dim=1)
    return (losses / counts.clamp_min(1)).sum() / total(logits.new_full((), len(logits)))
