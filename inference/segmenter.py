"""A segmentation network as a predictor; large images in tiles where that is asked for (inference/tiles.py)."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.predictor import MAX_SIDE, Prediction, Predictor
from inference.tiles import decide, look_at_tiles
from models.segmenter import Segmenter, batch_probabilities, restrict_to
from stages.refinement import refiner
from utils.settings import settings_dict

REFINEMENT = ("refine", "par_iterations", "crf_iterations")  # what a segmenter takes of the section `pseudo`


class SegmenterPredictor(Predictor[Segmenter]):
    """A segmentation network: softmax over scales and mirror image, limited to the given classes."""

    score_is = "mean probability over the class's pixels"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        settings = self.cfg.segment_reading
        self.max_side = self.cfg.segmenter.max_side or MAX_SIDE
        self.settings |= {
            "segment": {"scales": list(settings.scales), "flip": settings.flip, "max_side": self.max_side},
            "pseudo": {name: value for name, value in settings_dict(self.cfg.pseudo).items() if name in REFINEMENT},
        }

    def predict_many(
        self, images: Sequence[np.ndarray], classes: Sequence[Sequence[int] | None] | None = None
    ) -> list[Prediction]:
        """As for any predictor; images longer than `tile` are seen in tiles, one by one."""
        known = list(classes or [None] * len(images))
        large = [place for place, image in enumerate(images) if self.tile and max(image.shape[:2]) > self.tile]
        found = {place: self._predict_tiled(images[place], known[place]) for place in large}
        rest = [place for place in range(len(images)) if place not in found]
        whole = super().predict_many([images[place] for place in rest], [known[place] for place in rest])
        found |= dict(zip(rest, whole, strict=True))
        return [found[place] for place in range(len(images))]

    def _predict_many(
        self, images: list[np.ndarray], tensors: list[Tensor], classes: list[list[int] | None]
    ) -> list[Prediction]:
        shares = self._probabilities(tensors)
        return [self._decide(*each) for each in zip(images, shares, classes, strict=True)]

    def _predict_tiled(self, image: np.ndarray, classes: Sequence[int] | None) -> Prediction:
        def probabilities(window: np.ndarray) -> Tensor:
            small = self._small(window)
            with self.compute.autocast():
                shares = self._restrict(self._probabilities([self._tensor(small)])[0], classes)
                refined = refine_occurring(shares, refiner(self.cfg.pseudo.refine, self.cfg.pseudo, small))
            return refined.float().cpu()

        cells = look_at_tiles(image, self.tile, len(self.class_names) + 1, probabilities)
        values, means = decide(cells, image.shape[:2])
        occurring = [value - 1 for value in sorted(means) if value]
        shown = occurring if classes is None else sorted(set(classes))
        local = np.zeros(len(self.class_names) + 1, np.uint8)
        local[[index + 1 for index in shown]] = np.arange(1, len(shown) + 1)
        maps = cells[[index + 1 for index in shown]].astype(np.float32) / 255
        return Prediction(local[values], tuple(shown), tuple(means.get(index + 1, 0.0) for index in shown), maps)

    def _probabilities(self, tensors: list[Tensor]) -> list[Tensor]:
        """(C + 1, h, w) of each (3, h, w); those of one size pass through the network together."""
        settings = self.cfg.segment_reading
        found: dict[int, Tensor] = {}
        sizes = [(tensor.shape[-2], tensor.shape[-1]) for tensor in tensors]
        for shape in dict.fromkeys(sizes):
            places = [place for place, size in enumerate(sizes) if size == shape]
            batch = torch.stack([tensors[place] for place in places])
            shares = batch_probabilities(self.network, batch, settings.scales, settings.flip, shape)
            found |= dict(zip(places, shares, strict=True))
        return [found[place] for place in range(len(tensors))]

    def _restrict(self, probabilities: Tensor, classes: Sequence[int] | None) -> Tensor:
        if classes is None and len(self.allowed) == len(self.class_names):
            return probabilities
        return restrict_to(probabilities, sorted(self.allowed if classes is None else classes))

    def _decide(self, image: np.ndarray, probabilities: Tensor, classes: list[int] | None) -> Prediction:
        probabilities = self._restrict(probabilities, classes)
        best, values = refine_occurring(probabilities, refiner(self.cfg.pseudo.refine, self.cfg.pseudo, image)).max(
            dim=0
        )
        occurring = [value - 1 for value in values.unique().tolist() if value]
        shown = occurring if classes is None else classes
        local = torch.zeros(len(self.class_names) + 1, dtype=torch.uint8)
        local[[index + 1 for index in shown]] = torch.arange(1, len(shown) + 1, dtype=torch.uint8)
        means = {index: float(best[values == index + 1].mean()) for index in occurring}
        mask = local[values.cpu()].numpy()
        maps = probabilities[[index + 1 for index in shown]].float().cpu().numpy()
        return Prediction(mask, tuple(shown), tuple(means.get(index, 0.0) for index in shown), maps)


def refine_occurring(probabilities: Tensor, refinement: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Probabilities (C + 1, H, W), refined among the values that win somewhere; the others would only cost time."""
    winners = probabilities.argmax(dim=0).unique()
    if refinement is None or len(winners) == 1:
        return probabilities
    among = probabilities[winners]
    refined = torch.zeros_like(probabilities)
    refined[winners] = refinement(among / among.sum(dim=0, keepdim=True)).to(refined)
    return refined
