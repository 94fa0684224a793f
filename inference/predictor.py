"""What every network is to infer.py: a predictor, from an image to a mask of its own size."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.index import pixel_rule
from data.pixels import limit_pixels
from data.transforms import AS_IS, Sides
from stages.config import Config
from stages.networks import Network
from stages.reading import prepare, to_seed_grid
from utils.compute import Compute, choose_compute

MAX_SIDE = 512  # pixels, where the settings set no limit: about the largest images that networks are trained on


@dataclass(frozen=True)
class Prediction:
    """The mask of one image.

    Attributes:
        mask: (H, W) uint8; value k + 1 is `classes[k]`, 0 background, 255 too close to call (`pseudo.ignore_band`).
        classes: indices in the predictor's `class_names`; one may have no pixel.
        scores: the network's probability of each class, 0..1.
        maps: (K, ceil(H / 4), ceil(W / 4)) float32 in 0..1, from which the mask was decided, before refinement: a
            segmenter's probabilities, a classifier's activation maps.
    """

    mask: np.ndarray
    classes: tuple[int, ...]
    scores: tuple[float, ...]
    maps: np.ndarray


class Predictor(ABC):
    """A network with its settings.

    Attributes:
        class_names: the C classes it knows.
        about: the network, in plain values: kind, path, digest of its weights, backbone, meaning of its scores.
        settings: what its masks depend on, in plain values.
        pixels: what the values of images mean, as in the data that it was trained on.
    """

    score_is = "probability"
    sides: Sides  # of what the network reads

    def __init__(
        self,
        network: Network,
        class_names: tuple[str, ...],
        cfg: Config,
        about: dict[str, Any],
        allowed: Sequence[str] = (),
        tile: int = 0,
    ):
        """`allowed`: the only classes to find, empty: all; `tile`: longer images are read in tiles, 0: never."""
        limit_pixels(cfg.data.max_pixels)
        self.pixels = pixel_rule(cfg.data)
        self.compute: Compute = choose_compute(cfg)
        self.network = network.requires_grad_(False).eval()
        self.compute.network(network)
        self.class_names, self.cfg = class_names, cfg
        self.about = about | {"classes": len(class_names), "score": self.score_is}
        self.allowed = frozenset(class_names.index(name) for name in allowed) or frozenset(range(len(class_names)))
        self.tile = tile
        self.settings: dict[str, Any] = {"precision": self.compute.precision, "only": sorted(allowed), "tile": tile}
        self.settings["pixels"] = [self.pixels.range, self.pixels.bands]

    def predict(self, image: np.ndarray, classes: Sequence[int] | None = None) -> Prediction:
        """The mask of one image (H, W, 3) uint8 RGB, of these classes (indices), or of those that it predicts."""
        return self.predict_many([image], [classes])[0]

    def predict_many(
        self, images: Sequence[np.ndarray], classes: Sequence[Sequence[int] | None] | None = None
    ) -> list[Prediction]:
        """`predict` for several images of any sizes; a segmenter reads those of one size at once."""
        known = [self._wanted(given) for given in classes or [None] * len(images)]
        with self.compute.autocast():
            found = self._predict_many([self._small(image) for image in images], known)
        predictions = []
        for size, own in zip((image.shape[:2] for image in images), found, strict=True):
            maps = to_seed_grid(torch.from_numpy(own.maps), size).numpy()
            predictions.append(replace(own, mask=resize_mask(own.mask, size), maps=maps))
        return predictions

    def _wanted(self, classes: Sequence[int] | None) -> list[int] | None:
        """The given classes, those that are allowed; None lets the network predict them."""
        return None if classes is None else sorted(self.allowed.intersection(classes))

    def reads(self, section: str, name: str) -> bool:
        """Whether masks depend on a setting."""
        return section != "segment"

    def _small(self, image: np.ndarray) -> np.ndarray:
        """A copy within `sides`; a copy, because torch warns of arrays that it may not write to."""
        height, width = self.sides.size(*image.shape[:2])
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))

    def _tensor(self, image: np.ndarray) -> Tensor:
        """(h, w, 3) uint8 -> (3, h, w), normalised, on the device."""
        return prepare(torch.from_numpy(image).permute(2, 0, 1), self.network, self.compute, AS_IS)

    @abstractmethod
    def _predict_many(self, images: list[np.ndarray], classes: list[list[int] | None]) -> list[Prediction]:
        """As `predict_many`, for images within `sides`; maps (K, *, *) may be of any size."""


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) uint8 at another size (H, W): each value's area is interpolated, and the largest one wins.

    One value at a time, so that large images fit into memory.
    """
    if mask.shape == tuple(size):
        return mask
    best, result = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    for value in np.unique(mask):
        area = Image.fromarray(np.where(mask == value, 255, 0).astype(np.uint8))
        share = np.asarray(area.resize(size[::-1], Image.Resampling.BILINEAR))
        wins = share > best
        best[wins], result[wins] = share[wins], value
    return result
