"""Training from files against training from memory: python -m benchmarks.training

Ours: the loop of stages `cam` and `segment` with decoding, augmentation, loader processes and logging. Limit: the same
step (forward, loss, backward, update) on a batch that lies in memory. Target: at least 0.95 of its images a second,
once the first steps have asked the system for the memory that all need. The ratio of this process's time tells what
other work on the machine does not change, with OMP_NUM_THREADS=1 (several threads wait for each other by spinning).

Then what one loader process gives: images a second that are decoded and augmented. A GPU that trains at R images a
second needs R divided by this many `workers`. The images are generated, of 448 pixels.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.common import CONFIG, no_options, timed
from data.dataset import TrainingImages, TrainingSampler
from data.index import open_index
from data.transforms import RandomCrop
from models.classifier import build_classifier
from models.segmenter import build_segmenter
from stages.cam import classification_losses
from stages.config import Config, load_config
from stages.networks import Network, plan_of, train_on_crops
from stages.segment import mask_losses
from utils.engine import Losses
from utils.errors import run_script
from utils.optimisation import Optimisation
from utils.run import Run

STEPS, PAIRS, BATCH = 12, 3, 16
FIRST = 3  # steps that are not timed
DECODED = 48  # images


def main() -> None:
    no_options(__doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = ("data.kind=shapes", f"data.root={folder}", "data.shapes_size=448", f"data.shapes_train={BATCH * STEPS}")
        cfg = load_config(CONFIG, "voc12_compact", [*data, f"run={folder / 'run'}"])
        index, own = open_index(cfg.data, "train", masks=True), cfg.segmenter
        classifier = build_classifier(cfg.model.backbone, len(index.class_names), cfg.model.weights)
        mean, std = classifier.backbone.mean, classifier.backbone.std
        crop = RandomCrop(cfg.cam.crop_size, mean, std, resize_long=cfg.cam.resize_long)
        classifier.backbone.freeze(cfg.cam.frozen_stride)
        compare_training(cfg, "cam", cfg.cam, classifier, TrainingImages(index, crop), classification_losses)

        count = len(index.class_names) + 1
        segmenter = build_segmenter(cfg.model.backbone, count, cfg.model.weights, own.stage, own.decoder_strides)
        sizes, jitter = own.scale_range, own.color_jitter
        crop = RandomCrop(own.crop_size, mean, std, scale_range=sizes, color_jitter=jitter, sides=own)
        segmenter.backbone.freeze(own.frozen_stride)
        images = TrainingImages(index, crop, folder / "SegmentationClass")
        compare_training(cfg, "segment", own, segmenter, images, mask_losses)


class StepClock:
    """Losses that note when each step begins, by the clock and in the processor's seconds."""

    def __init__(self, losses: Losses):
        self.losses = losses
        self.begins: list[tuple[float, float]] = []

    def __call__(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        self.begins.append((time.perf_counter(), time.process_time()))
        return self.losses(network, batch)

    def a_step(self, work: Callable[[], None]) -> tuple[float, float]:
        """Seconds of a step by the clock and by the processor."""
        self.begins.clear()
        work()
        first, last, count = self.begins[FIRST], self.begins[-1], len(self.begins) - 1 - FIRST
        return (last[0] - first[0]) / count, (last[1] - first[1]) / count


def compare_training(
    cfg: Config, stage: str, settings: Optimisation, network: Network, images: TrainingImages, losses: Losses
) -> None:
    """Time both by turns, and what a loader process gives, and print a line."""
    settings = replace(settings, lr=1e-4, lr_head_factor=1.0, least_steps=0, batch_size=BATCH)
    plan, clock = plan_of(cfg, stage, stage, 1, settings), StepClock(losses)
    plan.compute.network(network)
    sampler = TrainingSampler(len(images), BATCH, cfg.seed)
    draws = [draw for draw, _ in zip(sampler, range(DECODED), strict=False)]
    batch = images.transform.unpack(default_collate([images[draw] for draw in draws[:BATCH]]))
    batch["image"] = plan.compute.image(batch["image"])
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-4)

    def ours() -> None:
        run = Run(cfg)
        run.path(f"{stage}.last.pth").unlink(missing_ok=True)
        train_on_crops(run, plan, network, images, clock)

    def bare() -> None:
        network.train()
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(clock(network, batch).values())).sum().backward()
            optimizer.step()

    bare()
    pairs = [(clock.a_step(ours), clock.a_step(bare)) for _ in range(PAIRS)]
    ratio, of_processor = (statistics.median(least[kind] / step[kind] for step, least in pairs) for kind in (0, 1))
    rates = [BATCH / statistics.median(pair[which][0] for pair in pairs) for which in (0, 1)]
    loaded = DECODED / timed(lambda: [images[draw] for draw in draws])[0]
    print(
        f"{stage:8} from files {rates[0]:.2f} images/s, from memory {rates[1]:.2f}: ratio {ratio:.2f}, of this "
        f"process's time {of_processor:.2f}; a loader process gives {loaded:.0f} images/s",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
