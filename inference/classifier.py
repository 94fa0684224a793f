"""A classifier as a predictor, by the method: one of ours, or the packaged one that knows ImageNet's 1,000 classes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.predictor import MAX_SIDE, Prediction, Predictor
from models.classifier import Classifier
from models.pseudo import upsample
from models.reading import normalise_maps, read
from stages.full_method import FullMethod
from stages.reading import predicted_classes
from stages.refinement import mask_of
from stages.threshold import with_found_threshold
from utils.errors import UserError
from utils.settings import settings_of

LEAST_SCORE = (
    0.2  # probability below which a trained classifier's best class is not shown: most likely it is none of them
)

# Which of the 1,000 classes an image shows. Their probabilities are a softmax: one object takes most of the 1, and what
# is left goes to its synonyms first. So a second class must be likely by itself and lie somewhere else.
MOST_CLASSES = 3
CANDIDATES = 6
LEAST_PROBABILITY = 0.075
LEAST_RATIO = 0.3  # to the most likely class
MOST_OVERLAP = 0.5  # IoU with a likelier class's map
MAP_OBJECT = 0.4  # map value from which that IoU counts a cell


class ClassifierPredictor(Predictor[Classifier]):
    """A classifier: its likely classes, the method's maps of them, and masks as stage `pseudo` makes them."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        self.max_side = self.cfg.seeds.max_side or MAX_SIDE
        fast, path = self.cfg.infer.quality == "fast", self.about["path"]
        folder = Path(path).parent if path else None
        self.cfg = with_found_threshold(self.cfg, folder)
        self.full = FullMethod(self.cfg, folder, self.network, self.compute, fast)
        self.method, steps = self.full.method, [step for step, _ in self.full.steps]
        names = (
            "steps",
            "prediction",
            "infer",
            *(name for step in steps for name in step.apply.reads(self.cfg)),
            "pseudo",
        )
        self.settings |= {name: settings_of(self.cfg, name) for name in names}
        self.settings |= {"seeds": {"max_side": self.max_side}, "dataset steps": [step.name for step in steps]}
        if self.tile:
            raise UserError(
                "--tile needs a segmentation network: a classifier's activation maps say how strong a place is beside the "
                "rest of the image, so they cannot be put together from parts; leave --tile out or train on to stage "
                "segment"
            )

    def _predict_many(
        self, images: list[np.ndarray], tensors: list[Tensor], classes: list[list[int] | None]
    ) -> list[Prediction]:
        return [self._predict(*each) for each in zip(images, tensors, classes, strict=True)]

    def _predict(self, image: np.ndarray, tensor: Tensor, classes: list[int] | None) -> Prediction:
        logits = read(self.network, tensor, [], scales=self.method.scales, flip=self.method.flip).logits
        scores = self.probabilities(logits)
        shown = self.choose(tensor, logits) if classes is None else classes
        if not shown:
            return Prediction(np.zeros(image.shape[:2], np.uint8), (), (), np.zeros((0, 1, 1), np.float32))
        trace = self.full.trace(torch.from_numpy(image).permute(2, 0, 1), shown)
        coarse = list(trace.maps.values())[-1].float().cpu()
        maps = upsample(coarse, image.shape[:2])
        mask = mask_of(maps, torch.arange(len(shown)), self.cfg.pseudo, lambda: image)
        return Prediction(np.asarray(mask, np.uint8), tuple(shown), tuple(scores[shown].tolist()), coarse.numpy())

    def probabilities(self, logits: Tensor) -> Tensor:
        """(C,) logits -> (C,) probabilities, each class by itself."""
        return logits.sigmoid()

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        """The classes that the image shows, by the network's own judgement; none where it holds all for unlikely."""
        threshold = self.cfg.prediction.class_threshold
        likely = (self.probabilities(logits) >= min(LEAST_SCORE, threshold)).tolist()
        return [index for index in predicted_classes(logits, threshold) if index in self.allowed and likely[index]]


class ImagenetPredictor(ClassifierPredictor):
    """The packaged ImageNet classifier: the most likely class, and few others that are likely and lie elsewhere."""

    score_is = "probability among 1,000 classes; below about 0.2 it is a guess"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        del self.settings["prediction"]  # is of probabilities that stand each by itself
        self.settings["choice"] = {
            "most_classes": MOST_CLASSES,
            "least_probability": LEAST_PROBABILITY,
            "least_ratio": LEAST_RATIO,
            "most_overlap": MOST_OVERLAP,
        }

    def probabilities(self, logits: Tensor) -> Tensor:
        """(C,) logits -> (C,) probabilities that sum to 1."""
        return logits.softmax(dim=0)

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        """The most likely class, and of the next ones those that lie apart from likelier ones."""
        values, order = self.probabilities(logits).topk(CANDIDATES)
        least = max(LEAST_PROBABILITY, LEAST_RATIO * float(values[0]))
        likely = [
            index
            for position, (index, value) in enumerate(zip(order.tolist(), values.tolist(), strict=True))
            if index in self.allowed and (position == 0 or value >= least)
        ]
        if len(likely) < 2:
            return likely
        cams = read(self.network, tensor, likely, scales=self.method.scales, flip=self.method.flip).cam
        return sorted(likely[position] for position in apart(normalise_maps(cams))[:MOST_CLASSES])


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
