"""Masks of a segmentation network for a list of images, and their figures."""

import logging
from pathlib import Path
from typing import Any

import torch

from data.artifacts import write_mask
from data.dataset import Index
from data.index import class_palette
from evaluation.ablation import GIVEN, PREDICTED
from evaluation.figures import Evaluation
from evaluation.scores import evaluate_masks
from models.runtime import open_runtime
from models.segmenter import Segmenter, cell_probabilities, most_likely, restrict_to
from stages.config import Config
from stages.lists import require_image_space
from stages.reading import prepare, whole_images
from utils.compute import choose_compute
from utils.distributed import from_main
from utils.files import is_whole

logger = logging.getLogger(__name__)


def has_predictions(index: Index, folder: Path, position: int, given: bool = True) -> bool:
    """Whether an image has the files of `write_predictions`."""
    name = f"{index.records[position].name}.png"
    return all(is_whole(folder / labels / name) for labels in (PREDICTED, GIVEN)[: 1 + given])


def write_predictions(segmenter: Segmenter, index: Index, folder: Path, cfg: Config, given: bool = True) -> int:
    """Write `predicted/ID.png`, and `given/ID.png`, which is limited to the given labels.

    Args:
        given: whether to write the latter; images without labels have none.

    Returns:
        How many images were read; those whose files are there already are not.
    """
    compute = choose_compute(cfg)
    compute.network(segmenter)
    missing = from_main(lambda: [n for n in range(len(index)) if not has_predictions(index, folder, n, given)])
    require_image_space(folder, index, missing, masks=1 + given)
    palette, reading = class_palette(cfg.data, index.class_names), cfg.segment_reading
    runtime = open_runtime(segmenter, compute, cfg.infer.runtime)
    logger.info("computed by %s", runtime.name)

    def predict(item: dict[str, Any]) -> None:
        image = prepare(item["image"], segmenter, compute, cfg.segmenter)
        size = tuple(item["image"].shape[-2:])
        with compute.autocast(), torch.no_grad():
            cells = cell_probabilities(runtime, image[None], reading.scales, reading.flip, size)[0]
        found = {PREDICTED: cells}
        if given:
            found[GIVEN] = restrict_to(cells, item["labels"].nonzero().flatten().tolist())
        for labels, values in found.items():
            mask = most_likely(values, size).cpu().numpy()
            write_mask(folder / labels / f"{item['name']}.png", mask, palette, index.class_names)

    compute.do_each(predict, whole_images(index, missing, cfg.workers, "predict"))
    return len(missing)


def evaluate_predictions(index: Index, folder: Path, cfg: Config, **about: Any) -> dict[str, Evaluation]:
    """The files of `write_predictions`, by title: with the network's own classes, and limited to the given labels."""
    about |= {"scales": list(cfg.segment_reading.scales), "flip": cfg.segment_reading.flip, "crf": "none"}
    return {
        f"segmentation, {labels} labels": evaluate_masks(index, folder / labels, cfg.workers, labels=labels, **about)
        for labels in (PREDICTED, GIVEN)
    }
