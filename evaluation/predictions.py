"""Masks of a segmentation network for a list of images, and their figures."""

from pathlib import Path
from typing import Any

import torch

from data.artifacts import write_mask
from data.dataset import Index
from data.index import class_palette
from evaluation.ablation import GIVEN, PREDICTED
from evaluation.figures import Evaluation
from evaluation.scores import evaluate_masks
from models.segmenter import Segmenter, class_probabilities, restrict_to
from stages.config import Config
from stages.reading import prepare, whole_images
from stages.space import require_image_space
from utils.compute import choose_compute
from utils.distributed import from_main
from utils.files import is_whole


def write_predictions(segmenter: Segmenter, index: Index, folder: Path, cfg: Config, given: bool = True) -> int:
    """Write `given/ID.png` (limited to the given labels) and `predicted/ID.png`.

    Args:
        given: whether to write the former, too; without labels there is nothing to write.

    Returns:
        How many images were read; those whose files are there already are not.
    """
    compute = choose_compute(cfg)
    compute.network(segmenter)
    names = [PREDICTED, GIVEN][: 1 + given]
    missing = from_main(
        lambda: [
            position
            for position, record in enumerate(index.records)
            if not all(is_whole(folder / name / f"{record.name}.png") for name in names)
        ]
    )
    require_image_space(folder, index, missing, masks=len(names))
    palette, reading = class_palette(cfg.data, index.class_names), cfg.segment_reading
    for item in whole_images(index, missing, cfg.workers, "predict"):
        image = prepare(item["image"], segmenter, compute, cfg.segmenter.max_side)
        size = tuple(item["image"].shape[-2:])
        with compute.autocast(), torch.no_grad():
            probabilities = class_probabilities(segmenter, image, reading.scales, reading.flip, size)
        if given:
            limited = restrict_to(probabilities, item["labels"].nonzero().flatten().tolist())
            mask = limited.argmax(dim=0).cpu().numpy()
            write_mask(folder / GIVEN / f"{item['name']}.png", mask, palette, index.class_names)
        mask = probabilities.argmax(dim=0).cpu().numpy()
        write_mask(folder / PREDICTED / f"{item['name']}.png", mask, palette, index.class_names)
    return len(missing)


def evaluate_predictions(index: Index, folder: Path, cfg: Config, **about: Any) -> dict[str, Evaluation]:
    """The files of `write_predictions`: with the network's own classes, and limited to the given labels."""
    about |= {"scales": list(cfg.segment_reading.scales), "flip": cfg.segment_reading.flip, "crf": "none"}
    return {
        name: evaluate_masks(index, folder / name, cfg.workers, labels=name, **about) for name in (PREDICTED, GIVEN)
    }
