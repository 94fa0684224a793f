"""Stage `ablation`: the maps of the validation list after every step of the method, with given and predicted labels."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from data.artifacts import write_seed
from data.dataset import Index, Record
from data.index import open_index
from models.classifier import Classifier
from models.method import Method
from stages.config import Config
from stages.files import ABLATION, CLASSIFIER
from stages.lists import require_image_space
from stages.networks import load_classifier
from stages.reading import build_method, predicted_classes, prepare, to_seed, whole_images
from utils.compute import reading_compute
from utils.distributed import from_main
from utils.files import atomic_path, is_whole
from utils.run import Run
from utils.visualize import fit

GIVEN, PREDICTED = "given", "predicted"
READ_IMAGES = "shown"  # folder of the images that a step has made and read: STEP/ID.1.webp, ID.2.webp, ...
SIDE, QUALITY = 288, 60  # of these images


def read_validation_list(cfg: Config, run: Run) -> dict[str, Any]:
    """Write the maps of the validation list after every step; files that are there already are kept."""
    index = open_index(cfg.data, cfg.data.val_list)
    classifier = load_classifier(run.path(CLASSIFIER), index.class_names)
    written = write_ablation(classifier, index, run.fresh_folder(ABLATION), cfg, build_method(cfg))
    return {"images": len(index), "written": written}


def ablation_complete(cfg: Config, run: Run) -> bool:
    """Whether every validation image has all its files."""
    index, method = open_index(cfg.data, cfg.data.val_list), build_method(cfg)
    return all(_is_read(record, run.path(ABLATION), method) for record in index.records)


def write_ablation(classifier: Classifier, index: Index, folder: Path, cfg: Config, method: Method) -> int:
    """Write `given/STEP/ID.npz` for each step, and `predicted/STEP/ID.npz` for the last, of the predicted classes.

    One pass gives all steps. Returns how many images were read; those whose files are there already are not.
    """
    compute = reading_compute(cfg)
    compute.network(classifier)
    last = method.steps[-1].name
    missing = from_main(lambda: [n for n, record in enumerate(index.records) if not _is_read(record, folder, method)])
    require_image_space(folder, index, missing, seeds=len(method.steps) + 1, masks=1)

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


def _write_image(path: Path, image: Tensor, classifier: Classifier) -> None:
    """Write a small copy of a normalised image (3, H, W)."""
    backbone = classifier.backbone
    mean, std = (torch.tensor(values, device=image.device)[:, None, None] for values in (backbone.mean, backbone.std))
    pixels = ((image.float() * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    with atomic_path(path) as temporary:
        Image.fromarray(fit(pixels, SIDE)).save(temporary, quality=QUALITY)


def _is_read(record: Record, folder: Path, method: Method) -> bool:
    names = [f"{GIVEN}/{step.name}" for step in method.steps] + [f"{PREDICTED}/{method.steps[-1].name}"]
    return all(is_whole(folder / name / f"{record.name}.npz") for name in names)
