"""A segmentation network on a list of images: its masks, their figures, and the mIoU while it is trained."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from data.artifacts import write_mask
from data.dataset import Index
from data.index import class_palette, open_index
from data.tree import MADE_BY
from evaluation.ablation import GIVEN, PREDICTED, classifier_rows
from evaluation.scores import Evaluation, evaluate_masks
from evaluation.truth import check_truth, why_no_truth
from inference.segmenter import SegmenterPredictor
from models.segmenter import Segmenter, cell_probabilities, most_likely
from stages.config import MACHINE, Config
from stages.files import find_missing, require_image_space
from stages.reading import prepare, whole_images
from utils.code_digest import symbols_of
from utils.compute import choose_compute
from utils.distributed import from_main
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest, read_json, write_json
from utils.metrics import ConfusionMatrix

logger = logging.getLogger(__name__)


def claim_folder(folder: Path, networks: Sequence[Path], index: Index, cfg: Config) -> None:
    """Note what the predictions in a folder depend on, because files that are there are kept.

    Raises:
        UserError: it holds predictions of other networks, by other settings or code, or of other images or labels.
    """
    settings = {name: value for name, value in cfg.to_dict().items() if name not in MACHINE}
    code = digest([symbols_of(write_predictions), symbols_of(classifier_rows)])
    made_by = {"networks": digest(digest_files(networks)), "settings": digest(settings), "code": code}
    found = digest_files([record.image for record in index.records])
    # The masks in `given` are limited to the labels.
    labels = ([index.class_names[label] for label in record.labels] for record in index.records)
    rows = zip(index.records, found, labels, strict=True)
    images = {record.name: digest([content, shown]) for record, content, shown in rows}
    known = read_json(folder / MADE_BY)
    before = known.get("images", {}) if known.items() >= made_by.items() else {}
    is_used = any((folder / labels).exists() for labels in (PREDICTED, GIVEN))
    if is_used and (not before or any(before.get(name, content) != content for name, content in images.items())):
        raise UserError(
            f"{folder} holds predictions of another network, by other settings or code, or of other images or labels, "
            "and files that are there are kept; choose another folder, or remove this one"
        )
    write_json(folder / MADE_BY, made_by | {"images": before | images})


def write_predictions(segmenter: Segmenter, index: Index, folder: Path, cfg: Config, given: bool = True) -> None:
    """Write the masks that infer.py draws: `predicted/ID.png`, and if asked `given/ID.png`, of the given labels."""
    refined = cfg.changed("pseudo", refine=cfg.infer.refine)
    predictor = SegmenterPredictor(segmenter, index.class_names, refined, {})
    folders = [folder / labels for labels in (PREDICTED, GIVEN)[: 1 + given]]
    missing = from_main(lambda: find_missing(index, folders, ".png"))
    require_image_space(folder, index, missing, masks=1 + given)
    palette = class_palette(cfg.data, index.class_names)
    logger.info("computed by %s", predictor.runtime.name)

    def predict(item: dict[str, Any]) -> None:
        known = [None, item["labels"].nonzero().flatten().tolist()][: len(folders)]
        masks = predictor.masks_under(item["image"].permute(1, 2, 0).numpy(), known)
        for own, mask in zip(folders, masks, strict=True):
            write_mask(own / f"{item['name']}.png", mask, palette, index.class_names)

    predictor.compute.do_each(predict, whole_images(index, missing, cfg.workers, "predict"))


def about_reading(cfg: Config) -> dict[str, Any]:
    """How the masks of `write_predictions` are made."""
    reading = cfg.segment_reading.at(cfg.infer.quality)
    return {"scales": list(reading.scales), "flip": reading.flip, "refine": cfg.infer.refine}


def evaluate_predictions(index: Index, folder: Path, cfg: Config, **about: Any) -> dict[str, Evaluation]:
    """The files of `write_predictions`, by title: with the network's own classes, and limited to the given labels."""
    about |= about_reading(cfg)
    return {
        f"segmentation, {labels} labels": evaluate_masks(index, folder / labels, cfg.workers, labels=labels, **about)
        for labels in (PREDICTED, GIVEN)
    }


def check_validation(cfg: Config) -> None:
    """A `UserError` where `segment.validate_every` asks for a validation list that cannot be evaluated."""
    if cfg.segment_watch.validate_every and (reason := why_no_truth(cfg)) is not None:
        asked = f"segment.validate_every is {cfg.segment_watch.validate_every}, but {reason}"
        raise UserError(f"{asked}; set data.val_list to a list with masks, or segment.validate_every=0")


def open_validation(cfg: Config) -> Callable[[Segmenter], float]:
    """A function that gives the mIoU of a network on the validation list, with its own classes, read at one scale."""
    check_validation(cfg)
    index, compute = open_index(cfg.data, cfg.data.val_list, masks=True), choose_compute(cfg)
    check_truth(index, cfg.workers)

    @torch.no_grad()
    def score(segmenter: Segmenter) -> float:
        matrix = ConfusionMatrix(segmenter.num_classes)
        for item in whole_images(index, range(len(index)), cfg.workers, "validate"):
            image = prepare(item["image"], segmenter, compute, cfg.segmenter)
            size = item["mask"].shape
            with compute.autocast():
                cells = cell_probabilities(segmenter, image[None], (1.0,), False, size)[0]
            matrix.update(item["mask"], most_likely(cells, size))
        matrix.sum_processes()
        return matrix.miou()

    return score
