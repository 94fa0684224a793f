"""The hints of an image, held in the maps of its classes, in their walk and in its mask (docs/hints.md)."""

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
HEAVY = 1.0  # how much the cells of which something is said count together in the walk, of all others


class Told:
    """What is said of one image, for maps of these K classes.

    Values (H, W) uint8 are 0 for background, c + 1 for class c, 255 where nothing is said. Boxes are (class, left, top,
    right, bottom) in pixels; a class that has boxes is nowhere outside of them.
    """

    def __init__(self, values: Tensor, boxes: Sequence[tuple[int, ...]], classes: Sequence[int]):
        self.values, self.boxes, self.classes = values, boxes, classes
        self._grids: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}

    def on_grid(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """On the grid of maps (*, h, w), on their device: known (h, w) bool, and told (K + 1, h, w) in 0..1.

        A cell is known where any of its pixels is; told is the part of those that are background, and each class.
        """
        size = (like.shape[-2], like.shape[-1])
        if size not in self._grids:
            values = torch.tensor([0, *(label + 1 for label in self.classes)], dtype=torch.uint8)
            each = (self.values == values[:, None, None]).float()
            parts = torch.cat([(self.values != IGNORE).float()[None], each])
            parts = interpolate(parts[None], size, mode="area")[0]
            self._grids[size] = parts[0] > 0, parts[1:] / parts[0].clamp_min(torch.finfo(parts.dtype).tiny)
        known, told = self._grids[size]
        return known.to(like.device), told.to(like.device)

    def bound(self, maps: Tensor) -> Tensor:
        """Maps (K, h, w) with each class that has boxes 0 outside of them, and n(.) of its map inside each."""
        if not self.boxes:
            return maps
        found = maps.clone()
        for k, label in enumerate(self.classes):
            inside = self._inside(label, maps)
            if len(inside):
                parts = maps[k] * inside
                highest = parts.amax(dim=(1, 2), keepdim=True)
                found[k] = torch.where(highest > LEAST, parts / highest, inside.to(maps)).amax(dim=0)
        return found

    def hold(self, maps: Tensor) -> Tensor:
        """Maps (K, h, w) in 0..1, inside their boxes, with what is told in the cells that are known."""
        known, told = self.on_grid(maps)
        return torch.where(known, told[1:].to(maps.dtype), self.bound(maps))

    def hold_to_cut(self, maps: Tensor) -> Tensor:
        """`hold` before maps become a mask: inside of its boxes a map has the power `BOX_POWER`."""
        held = self.hold(maps)
        boxed = {box[0] for box in self.boxes}
        return torch.stack(
            [held[k] ** BOX_POWER if label in boxed else held[k] for k, label in enumerate(self.classes)]
        )

    def hold_scores(self, scores: Tensor) -> Tensor:
        """Scores (K + 1, h, w) of background and classes, with 0 for a class outside of its boxes, and what is told."""
        known, told = self.on_grid(scores)
        scores = scores.clone()
        for k, label in enumerate(self.classes):
            inside = self._inside(label, scores)
            if len(inside):
                scores[k + 1] *= inside.any(dim=0)
        return torch.where(known, told.to(scores.dtype), scores)

    def around(self, refiner: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor]:
        """A refinement of scores that holds them before and after."""
        return lambda scores: self.hold_scores(refiner(self.hold_scores(scores)) if refiner else scores)

    def over(self, mask: Tensor) -> Tensor:
        """The mask (H, W) with what is told."""
        return torch.where(self.values == IGNORE, mask, self.values)

    def hold_mask(self, mask: Tensor, maps: Tensor) -> Tensor:
        """The mask (H, W) of held maps (K, H, W), which nothing that is told contradicts; no box is nearly empty."""
        mask = self.over(mask)
        for label, left, top, right, bottom in self.boxes:
            part, known = (each[top:bottom, left:right] for each in (mask, self.values))
            free, is_class = known == IGNORE, part == label + 1
            if label in self.classes and is_class.float().mean() < LEAST_FILL and free.any():
                score = maps[self.classes.index(label), top:bottom, left:right]
                least = score.flatten().kthvalue(1 + int((1 - LEAST_FILL) * (score.numel() - 1))).values
                part[free & (score >= least)] = label + 1
        return mask

    def spread(self, maps: Tensor, unit: Tensor) -> Tensor:
        """Maps (K, h, w) after a walk over unit features (D, h, w): what is similar to what is told becomes like it."""
        return feature_walk(self.hold(maps), unit, hold=self.hold, heavy=self.heavy(maps))

    def heavy(self, maps: Tensor) -> Tensor:
        """(h, w) how much each cell of maps (K, h, w) counts among others: what is told, as much as the rest."""
        known, _ = self.on_grid(maps)
        count = int(known.sum())
        weight = HEAVY * (known.numel() - count) / max(1, count)
        return torch.where(known, max(1.0, weight), 1.0).to(maps)

    def _inside(self, label: int, maps: Tensor) -> Tensor:
        """(N, h, w) bool on the grid of maps, for the N boxes of a class; a cell that a box touches is inside."""
        (height, width), (rows, columns) = maps.shape[-2:], self.values.shape
        own = [box[1:] for box in self.boxes if box[0] == label]
        inside = torch.zeros(len(own), height, width, dtype=torch.bool, device=maps.device)
        for box, (left, top, right, bottom) in zip(inside, own, strict=True):
            across = slice(left * width // columns, -(-right * width // columns))
            box[top * height // rows : -(-bottom * height // rows), across] = True
        return inside


def hint_loss(logits: Tensor, hints: Tensor) -> Tensor:
    """Cross-entropy of logits (B, C, h, w) at the cells of `LOGIT_STRIDE` of which something is said.

    Hints (B, H, W) int64 are 255 where nothing is said. A cell has what its pixels say; 255 where they differ. The loss
    is the mean over the cells of each image, 0 of one without hints, summed and divided by B. With several processes a
    process gives its own part.
    """
    pixels = hints[:, None].float()
    highest = max_pool2d(torch.where(pixels == IGNORE, -1.0, pixels), LOGIT_STRIDE, ceil_mode=True)
    lowest = -max_pool2d(-pixels, LOGIT_STRIDE, ceil_mode=True)
    cells = torch.where(highest == lowest, lowest, IGNORE)[:, 0].long()
    resized = interpolate(logits.float(), cells.shape[-2:], mode="bilinear", align_corners=False)
    each = nn.functional.cross_entropy(resized, cells, ignore_index=IGNORE, reduction="none").flatten(1).sum(dim=1)
    counts = (cells != IGNORE).flatten(1).sum(dim=1)
    return (each / counts.clamp_min(1)).sum() / total(logits.new_full((), len(logits)))
