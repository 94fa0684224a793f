"""A segmentation network as a predictor; with `tile` it reads large images in tiles (inference/tiles.py)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.predictor import MAX_SIDE, Prediction, Predictor, resize_mask
from inference.tiles import decide, read_tiles
from models.pseudo import upsample
from models.runtime import open_runtime
from models.segmenter import Segmenter, cell_probabilities, may_win, restrict_to
from stages.pseudo import refiner
from utils.settings import settings_dict

# What a segmenter takes of the section `pseudo`.
REFINEMENT = ("refine", "par_iterations", "par_side", "crf_iterations")


class SegmenterPredictor(Predictor):
    """A segmentation network: softmax over scales and mirror image, limited to the given classes."""

    network: Segmenter
    score_is = "mean probability over the class's pixels"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        quality = self.cfg.infer.quality
        self.sides = self.cfg.segmenter.or_at_most(MAX_SIDE)
        self.reading = self.cfg.segment_reading.at(quality)
        self.refining = self.cfg.pseudo.at(quality)
        if self.compute.is_fastest and (
            quality == "best" or (quality == "normal" and self.compute.device.type == "cpu")
        ):
            # bf16 moves one pixel of 400, and at one size there is time for float32. `best` is the reference: PyTorch.
            self.compute = replace(self.compute, precision="off", is_fastest=quality != "best")
            self.settings["precision"] = "off"
        self.runtime = open_runtime(self.network, self.compute, self.cfg.infer.runtime)
        self.about["computed_by"] = self.runtime.name
        reading = {"scales": list(self.reading.scales), "flip": self.reading.flip} | settings_dict(self.sides)
        refining = {name: value for name, value in settings_dict(self.refining).items() if name in REFINEMENT}
        self.settings |= {"segment": reading, "pseudo": refining}
        self.settings["infer"] = {"least_probability": self.cfg.infer.least_probability}

    def predict_many(
        self, images: Sequence[np.ndarray], classes: Sequence[Sequence[int] | None] | None = None
    ) -> list[Prediction]:
        """As for any predictor; images longer than `tile` are read in tiles, one by one."""
        known = [self._wanted(given) for given in classes or [None] * len(images)]
        large = [index for index, image in enumerate(images) if self.tile and max(image.shape[:2]) > self.tile]
        found = {index: self._predict_tiled(images[index], known[index]) for index in large}
        rest = [index for index in range(len(images)) if index not in found]
        whole = super().predict_many([images[index] for index in rest], [known[index] for index in rest])
        found |= dict(zip(rest, whole, strict=True))
        return [found[index] for index in range(len(images))]

    def reads(self, section: str, name: str) -> bool:
        """Whether masks depend on a setting."""
        return section == "infer" or name in self.settings.get(section, ())

    def masks_under(self, image: np.ndarray, label_sets: Sequence[Sequence[int] | None]) -> list[np.ndarray]:
        """Masks (H, W) of the network's own values, with each of several sets of classes; the image is read once."""
        small = self._small(image)
        with self.compute.autocast():
            cells = self._cells([small])[0]
            masks = [self._mask(small, cells, self._wanted(known))[1].byte().cpu().numpy() for known in label_sets]
        return [resize_mask(mask, image.shape[:2]) for mask in masks]

    def _predict_many(self, images: list[np.ndarray], classes: list[list[int] | None]) -> list[Prediction]:
        return [self._decide(*each) for each in zip(images, self._cells(images), classes, strict=True)]

    def _predict_tiled(self, image: np.ndarray, classes: Sequence[int] | None) -> Prediction:
        def probabilities(window: np.ndarray) -> Tensor:
            small = self._small(window)
            with self.compute.autocast():
                cells = self._restrict(self._cells([small])[0], classes)
                found = upsample(cells, small.shape[:2])
                occurring, refined = self._refine(found, small)
                is_refined = len(occurring) > 1 and self.cfg.pseudo.refine != "none"
                others = torch.zeros_like(found) if is_refined else found  # add to what neighbouring tiles see
                return others.index_copy(0, occurring, refined).float().cpu()

        cells = read_tiles(image, self.tile, len(self.class_names) + 1, probabilities)
        values, means = decide(cells, image.shape[:2])
        found = [value - 1 for value in sorted(means) if value] if classes is None else list(classes)
        maps = cells[[index + 1 for index in found]].astype(np.float32) / 255
        return self._prediction(values, found, means, maps)

    def _cells(self, images: list[np.ndarray]) -> list[Tensor]:
        """(C + 1, h / 4, w / 4) of each (h, w, 3); those of one size pass through the network together."""
        found: dict[int, Tensor] = {}
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        for shape in dict.fromkeys(sizes):
            same = [index for index, size in enumerate(sizes) if size == shape]
            batch = torch.stack([self._tensor(images[index]) for index in same])
            cells = cell_probabilities(self.runtime.forward, batch, self.reading.scales, self.reading.flip, shape)
            found |= dict(zip(same, cells, strict=True))
        return [found[index] for index in range(len(images))]

    def _restrict(self, cells: Tensor, classes: Sequence[int] | None, least: float = 0.0) -> Tensor:
        """The cells of the given classes, or of the likeliest one and all that are somewhere as probable as `least`."""
        if classes is None:
            classes = sorted(self.allowed)
            highest = cells[1:].flatten(1).amax(dim=1)[classes].tolist()
            least = min(least, max(highest))
            classes = [index for index, value in zip(classes, highest, strict=True) if value >= least]
        return cells if len(classes) == len(self.class_names) else restrict_to(cells, classes)

    def _refine(self, probabilities: Tensor, image: np.ndarray) -> tuple[Tensor, Tensor]:
        """The K values that win somewhere in (C + 1, H, W), and their probabilities (K, H, W), refined among these."""
        # As argmax, but three times as fast on a CPU.
        winners = torch.tensor(_occurring(probabilities.max(dim=0).indices), device=probabilities.device)
        among = probabilities[winners]
        refinement = refiner(self.refining.refine, self.refining, image)
        if refinement is None or len(winners) == 1:
            return winners, among
        return winners, refinement(among / among.sum(dim=0, keepdim=True)).to(probabilities)

    def _mask(self, image: np.ndarray, cells: Tensor, classes: Sequence[int] | None) -> tuple[Tensor, Tensor, Tensor]:
        """The cells of the classes that may be drawn, the mask (H, W) of the network's values, its probabilities."""
        cells = self._restrict(cells, classes, self.cfg.infer.least_probability)
        candidates = may_win(cells)
        occurring, refined = self._refine(upsample(cells[candidates], image.shape[:2]), image)
        best, indices = refined.max(dim=0)
        return cells, candidates[occurring][indices], best

    def _decide(self, image: np.ndarray, cells: Tensor, classes: list[int] | None) -> Prediction:
        cells, values, best = self._mask(image, cells, classes)
        means = {value: float(best[values == value].mean()) for value in _occurring(values) if value}
        found = [value - 1 for value in means] if classes is None else classes
        maps = cells[[index + 1 for index in found]].float().cpu().numpy()
        return self._prediction(values.cpu().numpy(), found, means, maps)

    def _prediction(
        self, values: np.ndarray, found: list[int], means: dict[int, float], maps: np.ndarray
    ) -> Prediction:
        """A prediction of the classes `found`, from the network's own mask values and the mean probability of each."""
        own = [index + 1 for index in found]
        local = np.zeros(len(self.class_names) + 1, np.uint8)
        local[own] = np.arange(1, len(found) + 1)
        return Prediction(local[values], tuple(found), tuple(means.get(value, 0.0) for value in own), maps)


def _occurring(values: Tensor) -> list[int]:
    return values.flatten().bincount().nonzero().flatten().tolist()
