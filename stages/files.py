"""The files of a run folder (docs/run_folder.md): their names, of which images, which are missing, and their size."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from data.artifacts import SEED_STRIDE, Seed, read_seed
from data.dataset import Index, Record
from data.images import DAMAGED_IMAGE
from data.index import open_index
from data.inspection import spread
from stages.settings import Config
from utils.distributed import from_main
from utils.files import is_whole, require_space
from utils.run import CONTENTS, Run

# Networks.
CLASSIFIER, CONTEXT, IBB = "classifier.pth", "context.pth", "ibb.pth"
AFFINITY, SEGMENTER = "affinity.pth", "segmenter.pth"
# Folders with a file for each image of the seed list; steps over the data set have theirs (`DatasetStep.folder`).
SEEDS, IBB_MASKS, CONFIDENT, PSEUDO = "seeds", "ibb_masks", "confident", "pseudo"
AFFINITY_SHEET = "affinity.jpg"
THRESHOLD, THRESHOLD_SHEET = "threshold.json", "threshold.jpg"  # found without truth, and masks around it
# Folders of the validation list.
ABLATION, CHANGED_ABLATION, PSEUDO_ABLATION = "ablation", "ablation_steps", "ablation_pseudo"
PREDICTIONS = "predictions"
# The report: figures, what the page needs beside them, table, examples, and the page.
REPORT, REPORT_IMAGES = "report.json", "report_images.json"
HINTS_PAGE = "hints.html"  # where a person gives hints
REPORT_TABLE, REPORT_SHEET, REPORT_PAGE = "report.txt", "report.jpg", "report.html"

SAMPLE = 20  # images whose size is read, spread evenly
USUAL_PIXELS = 500 * 375  # where none can be opened
MASK_BYTES = 1 / 30  # a pixel
BLOCK = 4096  # bytes; the smallest file
# Weights and momentum in a resumable state that replaces another one, the network itself and its published copy.
COPIES = 2 * 2 + 2


def last_classifier(cfg: Config) -> str:
    """The classifier that knows most: that with its classes' context, where this is to be learned."""
    return CONTEXT if cfg.part("context").enabled else CLASSIFIER


def trains_on_blurred(cfg: Config) -> bool:
    """Whether stage `ibb` trains a network, which stage `correct` corrects the seeds with."""
    return cfg.step("ibb").enabled and cfg.part("blur_training").epochs > 0


def seed_list(cfg: Config) -> str:
    """`data.seed_list`, or the training list where it is empty."""
    return cfg.data.seed_list or cfg.data.train_list


def seed_index(cfg: Config) -> Index:
    """The images that get seeds and pseudo masks; no masks among them."""
    return open_index(cfg.data, seed_list(cfg))


def list_fingerprint(cfg: Config, list_name: str, masks: bool = False) -> str:
    """Changes with the images or labels of the list; with `masks` (evaluation only) also with its truth."""
    return open_index(cfg.data, list_name, masks).fingerprint(Path(cfg.run) / CONTENTS)


def find_missing(index: Index, folders: Sequence[Path], suffix: str) -> list[int]:
    """Positions of the images without a whole file ID`suffix` in each of the folders."""
    names = [f"{record.name}{suffix}" for record in index.records]
    return [n for n, name in enumerate(names) if not all(is_whole(folder / name) for folder in folders)]


def without_file(index: Index, folder: Path, suffix: str) -> list[int]:
    """Positions without a whole file ID`suffix` in the folder, in all processes; `UserError` without space for them."""
    missing = from_main(lambda: find_missing(index, [folder], suffix))
    require_image_space(folder, index, missing, seeds=suffix == ".npz", masks=suffix == ".png")
    return missing


def list_complete(folder: str, suffix: str, cfg: Config, run: Run) -> bool:
    """Whether every image of the seed list has a whole file ID`suffix` in that folder of the run."""
    return not find_missing(seed_index(cfg), [run.path(folder)], suffix)


def some_seeds(records: Sequence[Record], folder: Path, most: int) -> Iterator[tuple[Record, Seed]]:
    """At most `most` seeds of these images, evenly over them, without those of images without classes."""
    for record in spread(records, most):
        seed = read_seed(folder / f"{record.name}.npz")
        if len(seed.classes):
            yield record, seed


def require_image_space(folder: Path, index: Index, positions: Sequence[int], seeds: int = 0, masks: int = 0) -> None:
    """Raise a `UserError` unless `folder` has space for so many seed files and masks for each of these images.

    Both are compressed: a seed takes at most a byte for each class and cell, a mask half of what is required here.
    """
    sizes = []
    for position in spread(positions, SAMPLE):
        with contextlib.suppress(*DAMAGED_IMAGE), Image.open(index.records[position].image) as image:
            sizes.append(image.width * image.height)  # the reader of the image reports what is damaged
    pixels = float(np.mean(sizes)) if sizes else USUAL_PIXELS
    maps = sum(len(index.records[position].labels) for position in positions)
    cells = maps * pixels / SEED_STRIDE**2
    needed = seeds * (cells + BLOCK * len(positions)) + masks * (pixels * MASK_BYTES + BLOCK) * len(positions)
    require_space(folder, needed, f"{folder.name} of {len(positions):,} images")


def require_network_space(folder: Path, network: nn.Module) -> None:
    """The same for what training this network writes."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    require_space(folder, COPIES * size, "a network and its resumable state")
