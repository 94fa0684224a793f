"""Training from files against training from memory: python -m benchmarks.training

Ours: the loop of stages `cam` and `segment` with decoding, augmentation, loader processes and logging. Limit: the same
step (forward, loss, backward, update) on a batch that lies in memory. Target: at least 0.95 of its images a second,
once the first steps have asked the system for the memory that all need. What a call takes besides (these, starting
loader processes, the state to resume from) is printed by itself. The ratio of this process's time tells what other
work on the machine does not change, with OMP_NUM_THREADS=1 (several threads wait for each other by spinning).

Then what one loader process gives: images a second that are decoded and augmented. A GPU that trains at R images a
second needs R divided by this many `workers`.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from benchmarks.common import CONFIG, generated_index, no_options, scratch_folder
from data.artifacts import write_mask
from data.dataset import Index, TrainingImages, TrainingSampler
from data.transforms import RandomCrop
from models.classifier import build_classifier
from models.segmenter import build_segmenter
from stages.cam import classification_losses
from stages.config import Config, load_config
from stages.networks import Network
from stages.segment import mask_losses
from stages.training import plan_of, train_on_crops
from utils.engine import Losses, Plan
from utils.optimisation import Optimisation
from utils.run import Run

STEPS, PAIRS = 12, 3
FIRST = 3  # steps that are not timed
CLASSES = 20
BACKBONE = "efficientnet_lite0"
DECODED = 48  # images


def main() -> None:
    """The command."""
    no_options(__doc__)
    with scratch_folder() as name:
        folder = Path(name)
        cfg = load_config(CONFIG, "voc12_compact", [f"run={folder / 'run'}"])
        index = generated_index(folder, cfg.cam.batch_size * STEPS)
        write_random_masks(index, folder / "masks")

        classifier = build_classifier(BACKBONE, CLASSES, "imagenet")
        mean, std = classifier.backbone.mean, classifier.backbone.std
        crop = RandomCrop(cfg.cam.crop_size, mean, std, resize_long=cfg.cam.resize_long)
        plan = short_plan(cfg, "cam", cfg.cam)
        classifier.backbone.freeze(cfg.cam.frozen_stride)
        compare_training(cfg, plan, classifier, TrainingImages(index, crop), classification_losses)

        own = cfg.segmenter
        segmenter = build_segmenter(BACKBONE, CLASSES + 1, "imagenet", own.stage, own.decoder_strides)
        crop = RandomCrop(
            own.crop_size,
            mean,
            std,
            scale_range=own.scale_range,
            color_jitter=own.color_jitter,
            sides=own,
        )
        plan = short_plan(cfg, "segment", own)
        segmenter.backbone.freeze(own.frozen_stride)
        compare_training(cfg, plan, segmenter, TrainingImages(index, crop, folder / "masks"), mask_losses)


def short_plan(cfg: Config, stage: str, settings: Optimisation) -> Plan:
    """One epoch at a low rate."""
    settings = dataclasses.replace(settings, lr=1e-4, lr_head_factor=1.0, least_steps=0)
    return plan_of(cfg, stage, stage, 1, settings)


class StepClock:
    """Losses that note when each step begins, by the clock and in the processor's seconds."""

    def __init__(self, losses: Losses):
        self.losses = losses
        self.begins: list[tuple[float, float]] = []

    def __call__(self, network: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
        self.begins.append((time.perf_counter(), time.process_time()))
        return self.losses(network, batch)

    def a_step(self, work: Callable[[], None]) -> tuple[float, float, float]:
        """Seconds of a step by the clock and by the processor, and the seconds that the call takes besides."""
        self.begins.clear()
        started = time.perf_counter()
        work()
        first, last, count = self.begins[FIRST], self.begins[-1], len(self.begins)
        step, processor = ((last[clock] - first[clock]) / (count - 1 - FIRST) for clock in (0, 1))
        return step, processor, time.perf_counter() - started - step * count


def compare_training(cfg: Config, plan: Plan, network: Network, dataset: TrainingImages, losses: Losses) -> None:
    """Time both by turns, and what a loader process gives, and print a line."""
    compute, clock, batch_size = plan.compute, StepClock(losses), plan.optimisation.batch_size
    compute.network(network)
    sampler = TrainingSampler(len(dataset), batch_size, cfg.seed)
    items = [dataset[draw] for draw, _ in zip(sampler, range(DECODED), strict=False)]  # a warm-up, too
    batch = dataset.transform.unpack(default_collate(items[:batch_size]))
    batch["image"] = compute.image(batch["image"])
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-4)

    def ours() -> None:
        run = Run(cfg)
        run.path(f"{plan.stage}.last.pth").unlink(missing_ok=True)
        train_on_crops(run, plan, network, dataset, clock)

    def bare() -> None:
        network.train()
        for _ in range(sampler.steps_per_epoch):
            optimizer.zero_grad(set_to_none=True)
            torch.stack(list(clock(network, batch).values())).sum().backward()
            optimizer.step()

    bare()
    pairs = [(clock.a_step(ours), clock.a_step(bare)) for _ in range(PAIRS)]
    ratio, of_processor = (statistics.median(least[kind] / step[kind] for step, least in pairs) for kind in (0, 1))
    step, least = (statistics.median(pair[which][0] for pair in pairs) for which in (0, 1))
    started = time.perf_counter()
    for draw, _ in zip(sampler, range(DECODED), strict=False):
        dataset[draw]
    rate = DECODED / (time.perf_counter() - started)
    print(
        f"{plan.stage:8} from files {sampler.batch_size / step:.2f} images/s, from memory "
        f"{sampler.batch_size / least:.2f}: ratio {ratio:.2f}, of this process's time {of_processor:.2f}; "
        f"{statistics.median(ours[2] for ours, _ in pairs):.1f} s a call besides; "
        f"a loader process gives {rate:.0f} images/s",
        flush=True,
    )


def write_random_masks(index: Index, folder: Path) -> None:
    """A mask for each image: its first class in a rectangle."""
    folder.mkdir()
    for record in index.records:
        width, height = record.read_image().size
        mask = np.zeros((height, width), np.uint8)
        mask[height // 4 : height // 2, width // 4 : width // 2] = record.labels[0] + 1
        write_mask(folder / f"{record.name}.png", mask)


if __name__ == "__main__":
    main()
