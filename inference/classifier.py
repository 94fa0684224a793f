"""A classifier as a predictor, by the method: one of train.py, or the packaged one with ImageNet's 1,000 classes."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.predictor import MAX_SIDE, Prediction, Predictor
from models.classifier import Classifier
from models.pseudo import upsample
from models.reading import normalise_maps, read
from stages.dataset_steps import FullMethod
from stages.pseudo import mask_of
from stages.reading import predicted_classes
from stages.threshold import with_found_threshold
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.settings import settings_dict, settings_of

LEAST_SCORE = 0.2  # probability below which a trained classifier's best class does not count: most likely it shows none

# Which of the 1,000 classes an image shows. Their probabilities are a softmax: one object takes most of the 1, and what
# is left goes to its synonyms first. So a second class must be likely by itself and lie somewhere else.
CANDIDATES = 6
MAP_OBJECT = 0.4  # map value from which a cell counts for the overlap
CHOICE = {
    "most_classes": 3,
    "least_probability": 0.075,
    "least_ratio": 0.3,  # to the most likely class
    "most_overlap": 0.5,  # IoU with a likelier class's map
}


class ClassifierPredictor(Predictor):
    """A classifier: its likely classes, maps of every step that its run has, and masks as of stage `pseudo`."""

    network: Classifier

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        if self.tile:
            raise UserError(
                "--tile needs a segmentation network: a classifier's maps are relative to the strongest cell of an "
                "image, so those of tiles do not fit together; leave --tile out or train on to stage segment"
            )
        self.sides = self.cfg.seeds.or_at_most(MAX_SIDE)
        folder = Path(self.about["path"]).parent if self.about["path"] else None
        self.cfg = with_found_threshold(self.cfg, folder)
        self.full = FullMethod(self.cfg, folder, self.network, self.compute, self.cfg.infer.quality == "fast")
        self.method, steps = self.full.method, [step for step, _ in self.full.steps]
        of_steps = (name for step in steps for name in step.apply.reads(self.cfg))
        names = ("steps", "prediction", "infer", *of_steps, "pseudo")
        self.settings |= {name: settings_of(self.cfg, name) for name in names}
        beside = Path(self.about["path"]).with_name
        files = {step.name: map(beside, step.apply.files(self.cfg, self.network)) for step in steps}
        networks = {name: digest_files(list(paths)) for name, paths in files.items()}
        self.settings |= {"seeds": settings_dict(self.sides), "dataset steps": networks}

    def _predict_many(self, images: list[np.ndarray], classes: list[list[int] | None]) -> list[Prediction]:
        return [self._predict(*each) for each in zip(images, classes, strict=True)]

    def _predict(self, image: np.ndarray, classes: list[int] | None) -> Prediction:
        found = classes
        if found is None:
            tensor = self._tensor(image)
            found = self.choose(tensor, read(self.network, tensor, [], self.method.views).logits)
        if not found:
            return Prediction(np.zeros(image.shape[:2], np.uint8), (), (), np.zeros((0, 1, 1), np.float32))
        trace = self.full.trace(torch.from_numpy(image).permute(2, 0, 1), found)
        coarse = list(trace.maps.values())[-1].float().cpu()
        maps = upsample(coarse, image.shape[:2])
        mask = mask_of(maps, torch.arange(len(found)), self.cfg.pseudo, lambda: image)
        scores = self.probabilities(trace.logits)[found].tolist()
        return Prediction(np.asarray(mask, np.uint8), tuple(found), tuple(scores), coarse.numpy())

    def probabilities(self, logits: Tensor) -> Tensor:
        """(C,) logits -> (C,) probabilities, each class by itself."""
        return logits.sigmoid()

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        """The classes that the network predicts; none where all are unlikely."""
        threshold = self.cfg.prediction.class_threshold
        likely = (self.probabilities(logits) >= min(LEAST_SCORE, threshold)).tolist()
        return [index for index in predicted_classes(logits, threshold) if index in self.allowed and likely[index]]


class ImagenetPredictor(ClassifierPredictor):
    """The packaged ImageNet classifier: the most likely class, and few others that are likely and lie elsewhere."""

    score_is = "probability among 1,000 classes; below about 0.2 it is a guess"

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        del self.settings["prediction"]  # is of probabilities of each class by itself
        self.settings["choice"] = CHOICE

    def probabilities(self, logits: Tensor) -> Tensor:
        """(C,) logits -> (C,) probabilities that sum to 1."""
        return logits.softmax(dim=0)

    def choose(self, tensor: Tensor, logits: Tensor) -> list[int]:
        """The most likely class, and of the next ones those that lie apart from likelier ones."""
        values, order = self.probabilities(logits).topk(CANDIDATES)
        least = max(CHOICE["least_probability"], CHOICE["least_ratio"] * float(values[0]))
        likely = [
            index
            for position, (index, value) in enumerate(zip(order.tolist(), values.tolist(), strict=True))
            if index in self.allowed and (position == 0 or value >= least)
        ]
        if len(likely) < 2:
            return likely
        cams = read(self.network, tensor, likely, self.method.views).cam
        return sorted(likely[position] for position in apart(normalise_maps(cams))[: int(CHOICE["most_classes"])])


def apart(maps: Tensor) -> list[int]:
    """Positions of maps (K, h, w) in 0..1 that lie apart from all earlier ones that were taken."""
    cells = (maps > MAP_OBJECT).flatten(1).float()
    common = cells @ cells.T
    sizes = cells.sum(dim=1)
    overlap = common / (sizes[:, None] + sizes - common).clamp_min(1)
    taken: list[int] = []
    for position in range(len(maps)):
        if all(overlap[position, earlier] <= CHOICE["most_overlap"] for earlier in taken):
            taken.append(position)
    return taken
