"""mIoU of the validation list while stage `segment` trains; the stage itself knows no truth."""

from collections.abc import Callable
from typing import Any

import torch

from data.index import open_index
from evaluation.truth import check_truth, why_no_truth
from models.segmenter import Segmenter, cell_probabilities, most_likely
from stages.lists import list_fingerprint
from stages.reading import prepare, whole_images
from stages.settings import Config
from utils.compute import choose_compute
from utils.errors import UserError
from utils.metrics import ConfusionMatrix


def watched(cfg: Config) -> tuple[str, ...]:
    """What stage `segment` reads of the validation: it decides which network is kept, or nothing."""
    return ("segment_watch",) if cfg.segment_watch.keep == "best" else ()


def validation_inputs(cfg: Config) -> Any:
    """The data that decide which network is kept."""
    return list_fingerprint(cfg, cfg.data.val_list, masks=True) if watched(cfg) else None


def open_validation(cfg: Config) -> Callable[[Segmenter], float]:
    """A function that gives the mIoU of a network on the validation list, with its own classes, read at one scale.

    Raises:
        UserError: there is no truth; names the setting that asked for it.
    """
    if (reason := why_no_truth(cfg)) is not None:
        raise UserError(
            f"segment.validate_every is {cfg.segment_watch.validate_every}, but {reason}; set data.val_list to a list "
            "with masks, or segment.validate_every=0"
        )
    index, compute = open_index(cfg.data, cfg.data.val_list, masks=True), choose_compute(cfg)
    check_truth(index, cfg.workers)

    @torch.no_grad()
    def score(segmenter: Segmenter) -> float:
        matrix = ConfusionMatrix(segmenter.num_classes)
        for item in whole_images(index, range(len(index)), cfg.workers, "validate"):
            image = prepare(item["image"], segmenter, compute, cfg.segmenter)
            size = (item["mask"].shape[0], item["mask"].shape[1])
            with compute.autocast():
                cells = cell_probabilities(segmenter, image[None], (1.0,), False, size)[0]
            matrix.update(item["mask"], most_likely(cells, size))
        matrix.sum_processes()
        return matrix.miou()

    return score
