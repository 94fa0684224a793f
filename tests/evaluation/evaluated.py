"""A run folder as before stage `report`, made without a network: seeds and masks are the truth with faults."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import Seed, read_mask, read_seed, seed_size, write_mask, write_seed
from data.dataset import Index
from data.images import read_image
from data.index import open_index
from evaluation import report
from evaluation.ablation import GIVEN, PREDICTED, READ_IMAGES
from stages.config import Config, load_config
from stages.dataset_steps import used_steps
from stages.files import SEGMENTER
from stages.reading import SeedFolders
from utils.files import atomic_path
from utils.ignore import IGNORE
from utils.run import Run

SETTINGS = [
    *("data.kind=voc", "data.train_list=train", "data.val_list=val", "workers=0", "affinity.kind=none"),
    *("ibb.iterations=2", "ibb.epochs=1", "pseudo.refine=none", "pseudo.background=threshold"),
    *("pseudo.threshold=0.4", "report.thresholds=7"),
]
COMMAND = ["train.py", "--preset", "<made>"]


def evaluated_run(tmp_path: Path, make_voc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> tuple[Config, Run]:
    """A run whose stage `report` has run on the images of `make_voc`, each step better than the one before."""
    root = make_voc(count=30, size=(60, 80))
    cfg = load_config(None, overrides=[*SETTINGS, f"run={tmp_path / 'run'}", f"data.root={root}"])
    run = Run(cfg, COMMAND)
    index = open_index(cfg.data, "val", masks=True)
    random = np.random.default_rng(0)
    for record in index.records:
        truth = read_mask(record.mask)
        for count, folder in enumerate([*(f"{GIVEN}/{step.name}" for step in cfg.steps), f"{PREDICTED}/ibb"]):
            seed = faulty_seed(truth, record.labels, 0.5 - 0.1 * count, random)
            write_seed(run.path("ablation", folder, f"{record.name}.npz"), seed)
        for round_ in (1, 2):
            with atomic_path(run.path("ablation", READ_IMAGES, "ibb", f"{record.name}.{round_}.webp")) as temporary:
                read_image(record.image).save(temporary)
    for record in open_index(cfg.data, "train").records:
        size = Image.open(record.image).size[::-1]
        maps = np.full((len(record.labels), *seed_size(*size)), 0.5, np.float32)
        for folder in ("seeds", "seeds_context", "seeds_trained"):
            write_seed(run.path(folder, f"{record.name}.npz"), Seed(np.array(record.labels), maps, size))
        write_mask(run.path("pseudo", f"{record.name}.png"), np.full(size, record.labels[0] + 1, np.uint8))
    monkeypatch.setattr(report, "load_classifier", lambda path, class_names: None)
    monkeypatch.setattr(report, "open_steps", lambda cfg, *_: [(step, None) for step in used_steps(cfg)])
    monkeypatch.setattr("evaluation.ablation.change_seeds", sharpen_seeds)
    run.path(SEGMENTER).write_bytes(b"")
    monkeypatch.setattr(report, "load_segmenter", lambda path, class_names: None)
    monkeypatch.setattr(report, "write_predictions", write_faulty_masks)
    for stage in ("cam", "seeds", "context", "remove", "ibb", "correct", "pseudo", "segment", "ablation", "report"):
        made = {"images": 20, "loss": 0.3, "note": "a <b>result</b>"}
        result = report.make_report(cfg, run) if stage == "report" else made
        run.finish(stage, seconds=61.0, peak_memory_mb={"memory": 512}, result=result)
        if stage in ("cam", "segment"):
            for epoch, loss in enumerate((0.7, 0.4, 0.3), 1):
                run.record(stage, epoch=epoch, step=5 * epoch, images_per_second=9.5, terms=loss, loss=loss)
    return cfg, run


def faulty_seed(truth: np.ndarray, labels: tuple[int, ...], noise: float, random: np.random.Generator) -> Seed:
    """Maps that are high where the truth is, with noise of that strength."""
    height, width = seed_size(*truth.shape)
    small = truth[::4, ::4][:height, :width]
    maps = np.stack([(small == label + 1) * 0.8 for label in labels])
    maps = maps + noise * random.random(maps.shape)
    return Seed(np.array(labels), np.clip(maps, 0, 1).astype(np.float32), truth.shape)


def sharpen_seeds(cfg: Config, folders: SeedFolders, *_: object) -> int:
    """As `change_seeds`: what is weak becomes weaker."""
    for record in folders.index.records:
        seed = read_seed(folders.source / f"{record.name}.npz")
        write_seed(folders.target / f"{record.name}.npz", Seed(seed.classes, seed.maps**2, seed.size))
    return len(folders.index)


def write_faulty_masks(network: object, index: Index, folder: Path, cfg: Config) -> None:
    """As `write_predictions`: the truth, where every third image lacks its last class."""
    for number, record in enumerate(index.records):
        mask = read_mask(record.mask)
        mask[mask == IGNORE] = 0
        if number % 3 == 0:
            mask[mask == mask.max()] = 0
        for labels in (GIVEN, PREDICTED):
            write_mask(folder / labels / f"{record.name}.png", mask)
