"""The pipeline: every stage, in order, with what it does, which settings it reads and which stages it waits for."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from evaluation.ablation import ablation_complete, read_validation_list
from evaluation.predictions import open_validation
from evaluation.report import make_report, no_truth
from models.steps import STEPS
from stages.cam import train_classifier
from stages.dataset_steps import DATASET_STEPS, change_list, fit_step, last_seeds
from stages.files import (
    CLASSIFIER,
    PSEUDO,
    REPORT,
    REPORT_IMAGES,
    SEEDS,
    SEGMENTER,
    list_complete,
    list_fingerprint,
    seed_list,
)
from stages.hints import with_hints
from stages.pseudo import make_pseudo_masks
from stages.reading import DatasetStep
from stages.seeds import make_seeds
from stages.segment import train_segmenter
from stages.settings import Config
from utils.file_digests import digest_files
from utils.files import is_whole, read_json
from utils.pipeline import Stage
from utils.run import CONTENTS


def pipeline() -> list[Stage]:
    """Every stage, in order."""
    return [*_first_stages(), *_stages_of_steps(), *_mask_stages(), *_report_stages()]


def _first_stages() -> list[Stage]:
    return [
        Stage(
            "cam",
            "train the classifier on image-level labels",
            train_classifier,
            reads=("seed", "precision", "model", "cam", "head"),
            inputs=_images_and_weights,
            complete=lambda cfg, run: is_whole(run.path(CLASSIFIER)),
            writes_checkpoint=CLASSIFIER,
        ),
        replace(
            Stage("seeds", "read the seed list with the steps of the method", make_seeds, reads=("steps", "seeds")),
            upstream=("cam",),
            code=tuple(STEPS),
            inputs=lambda cfg: list_fingerprint(cfg, seed_list(cfg)),
            complete=partial(list_complete, SEEDS, ".npz"),
        ),
    ]


def _images_and_weights(cfg: Config) -> Any:
    images, weights = list_fingerprint(cfg, cfg.data.train_list), cfg.model.weights
    is_file = weights not in ("imagenet", "none")
    return [images, digest_files([weights], Path(cfg.run) / CONTENTS)] if is_file else images


def _stages_of_steps() -> list[Stage]:
    stages: list[Stage] = []
    for position, step in enumerate(DATASET_STEPS):
        stages += _stages_of(step, DATASET_STEPS[:position], stages[-1].name if stages else "seeds")
    return stages


def _stages_of(step: DatasetStep, before: Sequence[DatasetStep], upstream: str) -> list[Stage]:
    fit, apply = step.fit, step.apply
    learns = replace(
        Stage(fit.stage, fit.title, partial(fit_step, fit, before), reads=fit.reads),
        upstream=(upstream,),
        code=(fit.run,),
        complete=lambda cfg, run: is_whole(run.path(fit.writes)),
        skip=lambda cfg: step.skip(cfg) or fit.skip(cfg),
        writes_checkpoint=fit.writes if fit.publishes else None,
    )
    changes = replace(
        Stage(apply.stage, apply.title, partial(change_list, step, before), reads=apply.reads),
        upstream=(fit.stage,),
        code=(apply.open,),
        complete=partial(list_complete, step.folder, ".npz"),
        skip=step.skip,
    )
    return [with_hints(learns, fit.reads_with_hints), with_hints(changes)]


def _mask_stages() -> list[Stage]:
    pseudo = Stage(
        "pseudo",
        "turn seeds into pseudo masks",
        partial(make_pseudo_masks, partial(last_seeds, DATASET_STEPS)),
        reads=("pseudo",),
        looks=("data.colors",),
        upstream=(DATASET_STEPS[-1].apply.stage if DATASET_STEPS else "seeds",),
        complete=partial(list_complete, PSEUDO, ".png"),
    )
    segment = Stage(
        "segment",
        "train the segmentation network on the pseudo masks",
        partial(train_segmenter, open_validation),
        reads=lambda cfg: ("seed", "precision", "model", "segmenter", "segment", *_watched(cfg)),
        upstream=("pseudo",),
        inputs=lambda cfg: list_fingerprint(cfg, cfg.data.val_list, masks=True) if _watched(cfg) else None,
        complete=lambda cfg, run: is_whole(run.path(SEGMENTER)),
    )
    return [with_hints(pseudo), with_hints(replace(segment, writes_checkpoint=SEGMENTER), ("hint_loss",))]


def _watched(cfg: Config) -> tuple[str, ...]:
    """What stage `segment` reads of the validation: it decides which network is kept, or nothing."""
    return ("segment_watch",) if cfg.segment_watch.keep == "best" else ()


def _report_stages() -> list[Stage]:
    reads, title = ("steps", "seeds", "prediction"), "evaluate against the truth of the validation list"
    return [
        replace(
            Stage("ablation", "read the validation list with every step", read_validation_list, reads=reads),
            upstream=("cam",),
            code=tuple(STEPS),
            inputs=lambda cfg: list_fingerprint(cfg, cfg.data.val_list),
            complete=ablation_complete,
            skip=no_truth,
        ),
        replace(
            Stage("report", title, make_report, reads=("report", "segment_reading", "infer"), looks=("data.colors",)),
            upstream=("ablation", "segment"),
            inputs=lambda cfg: list_fingerprint(cfg, cfg.data.val_list, masks=True),
            complete=lambda cfg, run: all(read_json(run.path(name)) for name in (REPORT, REPORT_IMAGES)),
            skip=no_truth,
            shows_result=False,
        ),
    ]
