"""What reads and writes many files, against its own work on what lies in memory: python -m benchmarks.stages

    seeds      ours: read an image, CAM, GFM, PRM, IBB, write              limit: the network's passes alone
    walk       ours: read image and seed, boundaries, random walk, write   limit: boundaries and random walk
    pseudo     ours: read image and seed, PAR, write                       limit: PAR, in as many loader processes
    evaluate   ours: decode masks and truth, count, figures                limit: decode masks and truth
    infer.py   ours: read an image, network, PAR, write, page              limit: network and PAR

On generated images of 448 pixels with preset voc12_compact, by turns. Targets: at least 0.85 of the limit's rate,
evaluate 0.8. Ours reads and writes in threads and processes of its own; where no core is idle, the ratio of this
process's time shows what that costs.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils.data import DataLoader

from benchmarks.common import CONFIG, no_options, timed
from data.artifacts import Seed, read_mask, read_seed, seed_size, write_seed
from data.dataset import Index
from data.index import open_index
from evaluation.scores import evaluate_masks
from inference import gallery
from inference.bulk import Options, predict_images
from inference.loading import load_predictor
from inference.segmenter import SegmenterPredictor
from models.affinity import build_affinity_net
from models.classifier import build_classifier
from models.pseudo import upsample
from models.segmenter import build_segmenter
from stages.config import Config, load_config
from stages.files import AFFINITY
from stages.networks import save_network
from stages.pseudo import mask_of, write_pseudo_masks
from stages.reading import SeedFolders, build_method, change_seeds, prepare, to_seed, whole_images
from stages.settings import PseudoSettings
from stages.walk import open_boundary_walk
from utils.compute import Compute, choose_compute
from utils.errors import run_script

IMAGES, PAIRS = 24, 3
EVALUATIONS = 10  # of each mask, so that the timing is of seconds
SETTINGS = ("affinity.kind=learned", "data.kind=shapes", "data.shapes_size=448", f"data.shapes_train={IMAGES}")
Work = Callable[[], Any]


@dataclass(frozen=True)
class Project:
    """Generated images and random seeds of them, in a folder."""

    cfg: Config
    folder: Path
    index: Index
    compute: Compute
    seeds: Path
    targets: Iterator[Path]  # folders; a new one each time, because nothing is written where something is


def main() -> None:
    no_options(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cfg = load_config(CONFIG, "voc12_compact", [*SETTINGS, f"data.root={folder / 'shapes'}"])
        index = open_index(cfg.data, "train", masks=True)
        targets = (folder / f"target{count}" for count in range(100))
        project = Project(cfg, folder, index, choose_compute(cfg), folder / "seeds", targets)
        report("seeds", *of_seeds(project))
        write_random_seeds(project)
        report("walk", *of_walk(project))
        report("pseudo", *of_pseudo(project))
        report("evaluate", *of_evaluation(project))
        report("infer.py", *of_inference(project))


def report(name: str, ours: Work, limit: Work) -> None:
    """Time the two by turns, after a warm-up, and print a line of medians."""
    ours()
    limit()
    times = [(*timed(ours), *timed(limit)) for _ in range(PAIRS)]
    rows = [
        (clock, least, least / clock, computed_least / computed) for clock, computed, least, computed_least in times
    ]
    seconds, least, rate, of_processor = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"{name:28} {seconds:6.2f} s, its limit {least:6.2f} s: {rate:.2f} of the limit's rate, "
        f"{of_processor:.2f} by this process's time",
        flush=True,
    )


def of_seeds(project: Project) -> tuple[Work, Work]:
    """Stage `seeds` on half of the images, and its forward and backward passes on random images of the same shapes."""
    cfg, compute = project.cfg, project.compute
    index = replace(project.index, records=project.index.records[::2])
    network = build_classifier(cfg.model.backbone, len(index.class_names), cfg.model.weights)
    classifier, method, cam = compute.network(network).requires_grad_(False), build_method(cfg), cfg.step("cam")
    stages = cfg.step("gfm").gradient_stages(classifier.backbone.strides)
    size = prepare(next(whole_images(index, [0], 0, ""))["image"], classifier, compute, cfg.seeds).shape[-2:]
    scales = [*cam.scales, *cfg.step("ibb").scales * cfg.step("ibb").iterations]
    shapes = [[max(32, round(side * scale)) for side in size] for scale in scales]
    batches = [compute.image(torch.randn(2 if cam.flip else 1, 3, *shape)) for shape in shapes]

    def ours() -> None:
        target = next(project.targets)
        for item in whole_images(index, range(len(index)), cfg.workers, ""):
            classes = item["labels"].nonzero().flatten().tolist()
            maps = method(classifier, prepare(item["image"], classifier, compute, cfg.seeds), classes)
            write_seed(target / f"{item['name']}.npz", to_seed(maps, classes, item["image"].shape[-2:]))

    def passes() -> None:
        for record in index.records:
            for batch in batches:
                features = classifier.backbone.stages(batch, min(stages))
                logits, inner = classifier.logits(features), [features[stage] for stage in stages]
                for label in record.labels:
                    torch.autograd.grad(logits[:, label].sum(), inner, retain_graph=label != record.labels[-1])

    return ours, passes


def write_random_seeds(project: Project) -> None:
    """Smooth random maps of each image's classes."""
    generator = torch.Generator().manual_seed(0)
    for record in project.index.records:
        height, width = np.asarray(record.read_image()).shape[:2]
        coarse = torch.rand(1, len(record.labels), 6, 6, generator=generator)
        maps = interpolate(coarse, seed_size(height, width), mode="bilinear", align_corners=False)[0].numpy()
        seed = Seed(np.array(record.labels, np.int64), maps, (height, width))
        write_seed(project.seeds / f"{record.name}.npz", seed)


def of_walk(project: Project) -> tuple[Work, Work]:
    """Stage `walk`, and the walk over images and seeds that are read here and now."""
    cfg, index, compute = project.cfg, project.index, project.compute
    network = build_affinity_net(cfg.model.backbone, cfg.model.weights, displacement=False)
    save_network(project.folder / AFFINITY, "affinity", network, index.class_names, cfg, {})
    classifier = build_classifier(cfg.model.backbone, len(index.class_names), "none")
    walk = open_boundary_walk(cfg, project.folder, classifier)
    compute.network(walk.network)
    pairs = []
    for item in whole_images(index, range(len(index)), 0, ""):
        maps = torch.from_numpy(read_seed(project.seeds / f"{item['name']}.npz").maps)
        pairs.append((prepare(item["image"], walk.network, compute, walk.sides), maps.to(compute.device)))

    @torch.no_grad()
    def over_all() -> None:
        for image, maps in pairs:
            with compute.autocast():
                walk.change(maps, walk.see(image, [], (maps.shape[1], maps.shape[2])))

    def ours() -> None:
        change_seeds(cfg, SeedFolders(index, project.seeds, next(project.targets)), walk, compute, "walk")

    return ours, over_all


def mask_in_memory(settings: PseudoSettings, read: tuple[Seed, np.ndarray]) -> Tensor:
    """What stage `pseudo` computes for a seed and an image (H, W, 3)."""
    seed, image = read
    maps, classes = upsample(torch.from_numpy(seed.maps), seed.size), torch.from_numpy(seed.classes)
    return mask_of(maps, classes, settings, lambda: image)


def of_pseudo(project: Project) -> tuple[Work, Work]:
    """Stage `pseudo`, and its work in memory."""
    cfg, records = project.cfg, project.index.records
    read = [(read_seed(project.seeds / f"{record.name}.npz"), np.array(record.read_image())) for record in records]
    make = partial(mask_in_memory, cfg.pseudo)
    loader = DataLoader[Any](read, batch_size=None, num_workers=cfg.workers, collate_fn=make)  # type: ignore[arg-type]
    write = partial(write_pseudo_masks, cfg, project.index, project.seeds)
    return lambda: write(next(project.targets)), lambda: list(loader)


def of_evaluation(project: Project) -> tuple[Work, Work]:
    """The figures of masks, and the decoding of them and of their truth."""
    cfg, masks = project.cfg, next(project.targets)
    write_pseudo_masks(cfg, project.index, project.seeds, masks)
    index = replace(project.index, records=project.index.records * EVALUATIONS)

    def decode() -> None:
        for record in index.records:
            assert record.mask is not None
            read_mask(record.mask), read_mask(masks / f"{record.name}.png")

    return lambda: evaluate_masks(index, masks, cfg.workers), decode


def of_inference(project: Project) -> tuple[Work, Work]:
    """infer.py with a network of random weights, and that network on images in memory."""
    cfg, path = project.cfg, project.folder / "segmenter.pth"
    settings, names = cfg.segmenter, project.index.class_names
    network = build_segmenter(cfg.model.backbone, len(names) + 1, "none", settings.stage, settings.decoder_strides)
    save_network(path, "segmenter", network, names, cfg, {})
    predictor = load_predictor(path)
    assert isinstance(predictor, SegmenterPredictor)
    paths = [record.image for record in project.index.records]
    images = [predictor._small(np.array(record.read_image())) for record in project.index.records]
    gallery.MOST_ITEMS = round(0.4 * IMAGES)  # as if they were 1,000, of which the page holds 400

    def passes() -> None:
        for image in images:
            with predictor.compute.autocast():
                predictor._predict_many([image], [None])

    return lambda: predict_images(paths, next(project.targets), predictor, Options()), passes


if __name__ == "__main__":
    sys.exit(run_script(main))
