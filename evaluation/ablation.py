"""Maps of a list of images after every step: their files, and the rows of tables; stage `ablation` writes them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data.artifacts import write_seed
from data.dataset import Index
from data.index import open_index
from evaluation.scores import Evaluation, evaluate_seeds
from models.classifier import Classifier
from models.method import Method, Step
from stages.config import Config
from stages.dataset_steps import open_steps
from stages.files import ABLATION, CLASSIFIER, find_missing, require_image_space
from stages.networks import load_classifier
from stages.reading import (
    Change,
    DatasetStep,
    SeedFolders,
    build_method,
    change_seeds,
    predicted_classes,
    prepare,
    to_seed,
    whole_images,
)
from utils.compute import reading_compute
from utils.distributed import from_main
from utils.files import atomic_path
from utils.run import Run
from utils.visualize import fit

GIVEN, PREDICTED = "given", "predicted"
READ_IMAGES = "shown"  # folder of the images that a step has made and read: STEP/ID.1.webp, ID.2.webp, ...
SIDE, QUALITY = 288, 60  # of these images
PSEUDO_ROW = "pseudo masks"


def read_validation_list(cfg: Config, run: Run) -> dict[str, Any]:
    """Write the maps of the validation list after every step; files that are there already are kept."""
    index = open_index(cfg.data, cfg.data.val_list)
    classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
    written = write_ablation(classifier, index, run.fresh_folder(ABLATION), cfg, build_method(cfg))
    return {"images": len(index), "written": written}


def ablation_complete(cfg: Config, run: Run) -> bool:
    """Whether every validation image has all its files."""
    rows = method_rows(build_method(cfg), run.path(ABLATION))
    return not find_missing(open_index(cfg.data, cfg.data.val_list), [row.folder for row in rows], ".npz")


def write_ablation(classifier: Classifier, index: Index, folder: Path, cfg: Config, method: Method) -> int:
    """Write `given/STEP/ID.npz` for each step, and `predicted/STEP/ID.npz` for the last, of the predicted classes.

    Returns how many images were read: those whose files are not there already.
    """
    compute = reading_compute(cfg)
    compute.network(classifier)
    last = method.steps[-1].name
    folders = [row.folder for row in method_rows(method, folder)]
    missing = from_main(lambda: find_missing(index, folders, ".npz"))
    require_image_space(folder, index, missing, seeds=len(folders), masks=1)

    def read(item: dict[str, Any]) -> None:
        name, size = f"{item['name']}.npz", item["image"].shape[-2:]
        classes = item["labels"].nonzero().flatten().tolist()
        image = prepare(item["image"], classifier, compute, cfg.seeds)
        with compute.autocast():
            trace = method.trace(classifier, image, classes)
            predicted = predicted_classes(trace.logits, cfg.prediction.class_threshold)
            maps = trace.maps[last] if predicted == classes else method(classifier, image, predicted)
        for step, images in trace.shown.items():
            for number, made in enumerate(images, 1):
                _write_image(folder / READ_IMAGES / step / f"{item['name']}.{number}.webp", made, classifier)
        write_seed(folder / PREDICTED / last / name, to_seed(maps, predicted, size), index.class_names)
        for step, found in trace.maps.items():  # in order, so that the last file stands for all
            write_seed(folder / GIVEN / step / name, to_seed(found, classes, size), index.class_names)

    compute.do_each(read, whole_images(index, missing, cfg.workers, "ablation"))
    return len(missing)


@dataclass(frozen=True)
class SeedRow:
    """A row whose files `folder/ID.npz` are maps; `labels` is `given` or `predicted`."""

    title: str
    labels: str
    folder: Path


def method_rows(method: Method, folder: Path) -> list[SeedRow]:
    """The rows of what `write_ablation` has written into a folder."""
    rows = [step_rows(step, folder) for step in method.steps]
    rows[0][GIVEN] = replace(rows[0][GIVEN], title=method.steps[0].title)  # added to nothing
    return [*(row[GIVEN] for row in rows), rows[-1][PREDICTED]]


def step_rows(step: Step | DatasetStep, folder: Path) -> dict[str, SeedRow]:
    """The rows of a step by labels, with the files `folder/LABELS/STEP/ID.npz`."""
    titles = {GIVEN: f"+ {step.title}", PREDICTED: f"{step.title}, predicted labels"}
    return {labels: SeedRow(title, labels, folder / labels / step.name) for labels, title in titles.items()}


def change_rows(
    rows: Sequence[SeedRow], steps: Sequence[tuple[DatasetStep, Change]], cfg: Config, index: Index, folder: Path
) -> list[SeedRow]:
    """Take the last maps of each kind of labels through opened steps over the data set; all rows, the new ones last."""
    found, last, compute = list(rows), {row.labels: row for row in rows}, reading_compute(cfg)
    for step, change in steps:
        for labels, row in step_rows(step, folder).items():
            change_seeds(cfg, SeedFolders(index, last[labels].folder, row.folder), change, compute, step.apply.stage)
            found.append(row)
            last[labels] = row
    return found


def evaluate_row(row: SeedRow, index: Index, cfg: Config, method: Method, **about: Any) -> Evaluation:
    """The figures of a row, whose maps the method has read."""
    about |= {"labels": row.labels, "scales": list(method.views.scales), "flip": method.views.flip, "refine": "none"}
    return evaluate_seeds(index, row.folder, cfg.pseudo.threshold, cfg.report.thresholds, cfg.workers, **about)


def classifier_rows(network: Classifier, source: Path, index: Index, folder: Path, cfg: Config) -> list[SeedRow]:
    """Write the maps of a classifier after every step whose networks lie beside its file `source`; all rows."""
    fast = cfg.infer.quality == "fast"
    method = build_method(cfg, fast)
    write_ablation(network, index, folder, cfg, method)
    steps = open_steps(cfg, source.parent, network, reading_compute(cfg), fast)
    return change_rows(method_rows(method, folder), steps, cfg, index, folder / "steps")


def _write_image(path: Path, image: Tensor, classifier: Classifier) -> None:
    backbone = classifier.backbone
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (backbone.mean, backbone.std))
    pixels = ((image.float() * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(fit(pixels, SIDE)).save(temporary, quality=QUALITY)
