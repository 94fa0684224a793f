"""What is said with every figure, and the published protocol of the field.

Seeds and pseudo masks are published on VOC's list `train` (1,464 images), segmentation on `val` (1,449). Every figure states
its list and number of images, backbone and weights, scales and mirror image, CRF or other refinement; a seed's figure at its
best threshold was chosen on the truth that it is measured with, and is printed beside the one at the configured threshold.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from data.dataset import Index
from data.index import open_index
from evaluation.ablation import GIVEN, PREDICTED
from evaluation.figures import Evaluation
from evaluation.predictions import evaluate_predictions, write_predictions
from evaluation.scores import evaluate_masks, evaluate_seeds
from stages.config import Config, load_config
from stages.dataset_steps import used_steps
from stages.files import PREDICTIONS, PSEUDO, SEEDS, SEGMENTER
from stages.lists import seed_list
from stages.networks import load_segmenter
from stages.threshold import with_found_threshold
from utils.distributed import from_main, scratch_folder
from utils.errors import UserError
from utils.files import atomic_path, is_whole
from utils.run import RUN_RECORD, RUN_SETTINGS, run_of

PUBLISHED = {  # kind of data -> list -> its images
    "voc": {"train": 1464, "val": 1449},
}
SEED_LISTS = {"voc": "train"}  # kind of data -> the list that seeds and pseudo masks are published on
UNKNOWN = "not known: the files lie in no run folder"
CSV_COLUMNS = (
    "labels",
    "list",
    "n_images",
    "backbone",
    "weights",
    "scales",
    "flip",
    "crf",
    "threshold",
    "miou",
    "threshold_best",
    "miou_best",
    "over_activation",
    "under_activation",
)


def said_of_list(cfg: Config, list_name: str, count: int) -> dict[str, Any]:
    """What to state of the images: list, root, and whether it is the list that figures are published on."""
    known = PUBLISHED.get(cfg.data.kind, {}).get(list_name)
    if known is None:
        published = "no, figures of this list cannot be compared with a paper's"
    elif known == count:
        published = f"yes, {known:,} images"
    else:
        published = f"no, the published '{list_name}' has {known:,} images, this one {count:,}"
    return {"list": list_name, "root": cfg.data.root, "published list": published}


def said_of_folder(folder: Path) -> dict[str, Any]:
    """What the run that a folder of seeds or masks lies in says of how they were made."""
    run = run_of(folder)
    if run is None:
        return {"backbone": UNKNOWN}
    return said_of_run(load_config(run / RUN_SETTINGS), folder.absolute().relative_to(run).parts[0])


def said_of_run(cfg: Config, folder: str) -> dict[str, Any]:
    """What a run's settings say of one of its folders: `seeds`, `pseudo`, `predictions` and the like."""
    network = {"backbone": cfg.model.backbone, "weights": cfg.model.weights}
    if folder == PREDICTIONS:
        return network | {"scales": list(cfg.segment_reading.scales), "flip": cfg.segment_reading.flip, "crf": "none"}
    crf = cfg.pseudo.refine if folder == PSEUDO else "none"
    return network | {
        "scales": list(cfg.step("cam").scales),
        "flip": cfg.step("cam").flip,
        "affinity": cfg.affinity.kind,
        "crf": crf,
    }


def measure_run(folder: Path, cfg: Config) -> dict[str, Evaluation]:
    """Seeds and pseudo masks of a finished run on the list that they are published on, segmentation on the validation list.

    On data without a published list, or where the run has not all of its files, seeds are measured on the run's own list.

    Args:
        folder: the run folder.
        cfg: its settings.

    Raises:
        UserError: not a run folder, or a stage that has not run.
    """
    if not (folder / RUN_RECORD).is_file():
        raise UserError(
            f"{folder} is no run folder: it has no {RUN_RECORD}; expected a folder that train.py wrote, such as runs/demo"
        )
    measured = {}
    cfg = with_found_threshold(cfg, folder)
    parts = {SEEDS: "seeds"} | {step.folder: f"seeds + {step.title}" for step in used_steps(cfg)}
    for name, title in (parts | {PSEUDO: "pseudo masks"}).items():
        suffix = ".png" if name == PSEUDO else ".npz"
        list_name, index = _list_of(folder / name, suffix, cfg)
        said = {"labels": "given"} | said_of_list(cfg, list_name, len(index)) | said_of_run(cfg, name)
        if suffix == ".npz":
            measured[title] = evaluate_seeds(
                index, folder / name, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **said
            )
        else:
            measured[title] = evaluate_masks(index, folder / name, cfg.workers, **said)
    if not cfg.data.val_list:
        return measured
    index = open_index(cfg.data, cfg.data.val_list, masks=True)
    said = said_of_list(cfg, cfg.data.val_list, len(index))
    said |= {"backbone": cfg.model.backbone, "weights": cfg.model.weights}
    with scratch_folder() as scratch:
        predictions = folder / PREDICTIONS
        if not from_main(lambda: _is_fresh(folder, index)):
            predictions = scratch
            write_predictions(load_segmenter(folder / SEGMENTER), index, predictions, cfg)
        rows = evaluate_predictions(index, predictions, cfg, **said)
    return measured | {f"segmentation, {labels} labels": row for labels, row in rows.items()}


def _list_of(folder: Path, suffix: str, cfg: Config) -> tuple[str, Index]:
    """The published list, if every image of it has a file, else the run's own; with masks."""
    for list_name in filter(None, (SEED_LISTS.get(cfg.data.kind), seed_list(cfg))):
        try:
            index = open_index(cfg.data, list_name, masks=True)
        except UserError:
            if list_name == seed_list(cfg):
                raise
            continue  # this copy of the data has no such list
        if all((folder / f"{record.name}{suffix}").is_file() for record in index.records):
            return list_name, index
    raise UserError(
        f"{folder} has not a file for each image of list '{seed_list(cfg)}'; run the stages that are missing: python "
        f"train.py --config {folder.parent / RUN_SETTINGS}"
    )


def _is_fresh(folder: Path, index: Index) -> bool:
    """Whether the stage `report` has predicted every image with the network that is there now."""
    try:
        stages = json.loads((folder / RUN_RECORD).read_text(encoding="utf-8"))
        fresh = stages["report"]["finished"] > stages["segment"]["finished"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return fresh and all(
        is_whole(folder / PREDICTIONS / labels / f"{record.name}.png")
        for record in index.records
        for labels in (GIVEN, PREDICTED)
    )


def protocol_table(measured: dict[str, Evaluation]) -> str:
    """A line a evaluation, each with its list and number of images; in per cent."""
    lines = [f"{'':34}{'list':>12}{'images':>10}{'mIoU':>7}{'over':>7}{'under':>7}{'at':>7}{'best':>7}{'at':>7}"]
    for title, row in measured.items():
        matrix = row.matrix
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        line = f"{title:34}{row.evaluated.get('list', ''):>12}{matrix.n_images:>10}" + "".join(
            f"{100 * share:7.1f}" for share in shares
        )
        if row.threshold is not None:
            line += f"{row.threshold:7.2f}{100 * row.best.miou():7.1f}{row.threshold_best:7.2f}"
        lines.append(line)
    return "\n".join(lines)


def write_csv(path: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """A table of figures: one line a evaluation, shares and IoU in 0..1.

    Args:
        rows: `measured` (its name) and what `Evaluation.figures` gives.
    """
    rows = list(rows)
    classes = list(dict.fromkeys(name for row in rows for name in row["per_class"]))
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["measured", *CSV_COLUMNS, *(f"iou {name}" for name in classes)])
        for row in rows:
            values = row["evaluated"] | row
            cells = [_cell(values.get(column)) for column in CSV_COLUMNS]
            each = [_cell(row["per_class"].get(name, {}).get("iou")) for name in classes]
            table.writerow([row["measured"], *cells, *each])


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else value
