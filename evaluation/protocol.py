"""What is stated with every figure, and the published protocol of the field.

Seeds and pseudo masks are published on VOC's list `train` (1,464 images), segmentation on `val` (1,449).
"""

import csv
import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data.dataset import Index
from data.index import open_index
from evaluation.ablation import GIVEN, PREDICTED, classifier_rows, evaluate_row
from evaluation.predictions import about_reading, claim_folder, evaluate_predictions, write_predictions
from evaluation.scores import Evaluation, evaluate_masks, evaluate_seeds
from models.classifier import Classifier
from models.segmenter import Segmenter
from stages.config import Config, load_config, override
from stages.dataset_steps import DATASET_STEPS, used_steps
from stages.files import (
    ABLATION,
    CHANGED_ABLATION,
    PREDICTIONS,
    PSEUDO,
    PSEUDO_ABLATION,
    SEEDS,
    SEGMENTER,
    find_missing,
    seed_list,
)
from stages.networks import load_segmenter
from stages.reading import build_method
from stages.threshold import with_found_threshold
from utils.checkpoint import load_checkpoint
from utils.distributed import from_main, scratch_folder
from utils.errors import UserError
from utils.files import atomic_path, read_json
from utils.pipeline import Stage, stale_stages
from utils.run import RUN_RECORD, RUN_SETTINGS, Run, run_of

logger = logging.getLogger(__name__)

PUBLISHED = {"voc": {"train": 1464, "val": 1449}}  # kind of data -> list -> its images
SEED_LISTS = {"voc": "train"}  # kind of data -> the list that seeds and pseudo masks are published on
MAKERS = {SEEDS: "seeds", PSEUDO: "pseudo", ABLATION: "ablation"}  # folder of a run -> the stage that writes it
MAKERS |= dict.fromkeys((CHANGED_ABLATION, PSEUDO_ABLATION, PREDICTIONS), "report")
EVALUATE = ("ablation", "report")  # stages whose figures are made anew here
PREDICT_BY = ("data", "segment", "pseudo", "infer")  # settings that the masks of a run's network depend on
CSV_COLUMNS = (
    *("labels", "list", "n_images", "backbone", "weights", "scales", "flip", "refine"),
    *("threshold", "miou", "threshold_best", "miou_best", "over_activation", "under_activation"),
)


def about_list(cfg: Config, list_name: str, count: int) -> dict[str, Any]:
    """What to state of the images: list, root, and whether it is the list that figures are published on."""
    known = PUBLISHED.get(cfg.data.kind, {}).get(list_name)
    if known is None:
        published = "no, figures of this list cannot be compared with a paper's"
    elif known == count:
        published = f"yes, {known:,} images"
    else:
        published = f"no, the published '{list_name}' has {known:,} images, this one {count:,}"
    return {"list": list_name, "root": cfg.data.root, "published list": published}


def about_folder(folder: Path, stages: Sequence[Stage]) -> dict[str, Any]:
    """How a folder of seeds or masks was made, by the settings of the run that it lies in; `stages` are all."""
    run = run_of(folder)
    if run is None:
        return {"backbone": "not known: the files lie in no run folder"}
    cfg = override(load_config(run / RUN_SETTINGS), [f"run={run}"])
    name = "".join(folder.absolute().relative_to(run).parts[:1])  # none for the run folder itself
    makers = MAKERS | {step.folder: step.apply.stage for step in DATASET_STEPS}
    skipped = {
        stage.name: f"made with other settings ({reason} now)" for stage in stages if (reason := stage.skip(cfg))
    }
    stale = skipped | stale_stages(stages, cfg, Run.reopen(run), skipped, cfg)
    if reason := stale.get(makers.get(name, "")):
        logger.warning("%s: stage '%s', which wrote it, is stale: %s", folder, makers[name], reason)
        return {"backbone": f"not known: the files were {reason} (see {run / RUN_SETTINGS})"}
    return about_run(cfg, name)


def about_run(cfg: Config, folder: str) -> dict[str, Any]:
    """How a folder of a run was made: `seeds`, `pseudo`, `predictions` and the like."""
    network = {"backbone": cfg.model.backbone, "weights": cfg.model.weights}
    if folder == PREDICTIONS:
        return network | about_reading(cfg)
    network |= {"affinity": cfg.part("affinity").kind, "refine": cfg.pseudo.refine if folder == PSEUDO else "none"}
    return network | {"scales": list(cfg.step("cam").scales), "flip": cfg.step("cam").flip}


def evaluate_run(folder: Path, cfg: Config, stages: Sequence[Stage]) -> dict[str, Evaluation]:
    """Seeds and pseudo masks of a finished run on their published list, segmentation on the validation list.

    Without a published list, or without all of its files, seeds are evaluated on the run's own list; where this has not
    all masks, and there is a validation list, they are left out. A run whose files were made with other settings than
    its own, or of other images or labels, is a `UserError`; `stages` are all.
    """
    if not (folder / RUN_RECORD).is_file():
        raise UserError(f"{folder} is no run folder: it has no {RUN_RECORD}; expected a folder that train.py wrote")
    found = {}
    own = load_config(folder / RUN_SETTINGS)  # by which seeds and pseudo masks were made, whatever is asked for
    skipped = [stage.name for stage in stages if from_main(partial(stage.skip, own)) is not None]
    data = replace(cfg, run=str(folder))  # where the digests of its images are
    stale = from_main(lambda: stale_stages(stages, own, Run.reopen(folder), skipped, data))
    if makers := [name for name in stale if name not in EVALUATE]:
        behind = f", and so is that of {', '.join(makers[1:])}" if makers[1:] else ""
        what = f"the output of stage '{makers[0]}' is stale, {stale[makers[0]]}{behind}"
        remedy = (
            f"make it again (python train.py --config {folder / RUN_SETTINGS} --run {folder}), or evaluate a folder"
        )
        raise UserError(f"{folder}: {what}; {remedy} alone (--seeds, --masks) or a network (--model_path)")
    is_as_run = all(cfg.to_dict()[name] == own.to_dict()[name] for name in PREDICT_BY)
    cfg = with_found_threshold(cfg, folder)
    titles = {SEEDS: "seeds"} | {step.folder: f"seeds + {step.title}" for step in used_steps(own)}
    for name, title in (titles | {PSEUDO: "pseudo masks"}).items():
        list_name, index = _list_of(folder / name, ".png" if name == PSEUDO else ".npz", cfg)
        if cfg.data.val_list and (without := index.without_truth()):
            none = f"{len(without)} of the {len(index)} images of list '{list_name}' have no mask"
            logger.warning("%s: left out, because %s", folder / name, none)
            continue
        about = {"labels": "given"} | about_list(cfg, list_name, len(index)) | about_run(own, name)
        if name == PSEUDO:
            found[title] = evaluate_masks(index, folder / name, cfg.workers, **about)
        else:
            thresholds = cfg.pseudo.threshold, cfg.report.thresholds
            found[title] = evaluate_seeds(index, folder / name, *thresholds, cfg.workers, **about)
    if not cfg.data.val_list:
        return found
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    about = about_list(cfg, cfg.data.val_list, len(index)) | about_run(cfg, PREDICTIONS)
    with scratch_folder() as scratch:
        predictions = folder / PREDICTIONS
        if not (is_as_run and "report" not in stale and from_main(lambda: _is_predicted(folder, index))):
            predictions = scratch
            write_predictions(load_segmenter(folder / SEGMENTER, index.class_names), index, predictions, cfg)
        return found | evaluate_predictions(index, predictions, cfg, **about)


def evaluate_network(
    network: Classifier | Segmenter, source: Path, index: Index, folder: Path, cfg: Config, about: dict[str, Any]
) -> dict[str, Evaluation]:
    """Run a network over a list and evaluate it, with predicted classes (first) and limited to the given labels.

    Its masks or maps go into `folder` (`claim_folder`); `source` is its file, beside that of its steps' networks.
    """
    networks = {source} if isinstance(network, Segmenter) else {source, *source.parent.glob("*.pth")}
    from_main(lambda: claim_folder(folder, sorted(networks), index, cfg))
    if isinstance(network, Segmenter):
        write_predictions(network, index, folder, cfg)
        return evaluate_predictions(index, folder, cfg, **about)
    cfg = with_found_threshold(cfg, source.parent)
    rows = classifier_rows(network, source, index, folder, cfg)
    last = [row for row in rows if row.labels == PREDICTED][-1]
    method = build_method(cfg, cfg.infer.quality == "fast")
    chosen = [last, *(row for row in rows if row.labels == GIVEN)]
    return {row.title: evaluate_row(row, index, cfg, method, **about) for row in chosen}


def _list_of(folder: Path, suffix: str, cfg: Config) -> tuple[str, Index]:
    """The published list, if every image of it has a file, else the run's own; with masks."""
    for list_name in filter(None, (SEED_LISTS.get(cfg.data.kind), seed_list(cfg))):
        try:
            index = open_index(cfg.data, list_name, masks=True)
        except UserError:
            if list_name == seed_list(cfg):
                raise
            continue  # this copy of the data has no such list
        if not find_missing(index, [folder], suffix):
            return list_name, index
    run, name = folder.parent, seed_list(cfg)  # the folder is named, because the settings of a copied run name another
    command = f"python train.py --config {run / RUN_SETTINGS} --run {run}"
    raise UserError(f"{folder} has not a file for each image of '{name}'; run the stages that are missing: {command}")


def _is_predicted(folder: Path, index: Index) -> bool:
    """Whether stage `report`, as the last one, has predicted every image with the network that is there now."""
    stages, network = read_json(folder / RUN_RECORD), folder / SEGMENTER
    if list(stages)[-1:] != ["report"]:
        return False
    if network.is_file() and not load_checkpoint(network).figures.items() <= stages["segment"]["result"].items():
        return False  # another one, which was put there
    return not find_missing(index, [folder / PREDICTIONS / labels for labels in (PREDICTED, GIVEN)], ".png")


def protocol_table(evaluations: dict[str, Evaluation]) -> str:
    """A line for each evaluation, with its list and number of images; in per cent."""
    lines = [f"{'':34}{'list':>12}{'images':>10}{'mIoU':>7}{'over':>7}{'under':>7}{'at':>7}{'best':>7}{'at':>7}"]
    for title, row in evaluations.items():
        figures = (row.matrix.miou(), row.matrix.over_activation(), row.matrix.under_activation())
        line = f"{title:34}{row.about.get('list', ''):>12}{row.matrix.n_images:>10}"
        line += "".join(f"{100 * figure:7.1f}" for figure in figures)
        if row.threshold is not None:
            line += f"{row.threshold:7.2f}{100 * row.best.miou():7.1f}{row.threshold_best:7.2f}"
        lines.append(line)
    return "\n".join(lines)


def write_csv(path: str | Path, figures: dict[str, dict[str, Any]]) -> None:
    """A table of what `Evaluation.figures` returns, by title: a line for each evaluation, ratios and IoU in 0..1."""
    classes = list(dict.fromkeys(name for row in figures.values() for name in row["per_class"]))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["measured", *CSV_COLUMNS, *(f"iou {name}" for name in classes)])
        for title, row in figures.items():
            values = row["evaluated"] | row
            cells = [values.get(column) for column in CSV_COLUMNS]
            cells += [row["per_class"].get(name, {}).get("iou") for name in classes]
            texts = (" ".join(map(str, cell)) if isinstance(cell, list | tuple) else cell for cell in cells)
            table.writerow([title or row["evaluated"]["kind"], *texts])  # None is an empty cell
