"""What each step is worth: every step of the method and over the data set, alone, added and left out.

    python -m benchmarks.ablation runs/voc12_compact                        # on the run's validation list
    python -m benchmarks.ablation runs/voc12_compact --combinations         # all of them, which takes longer
    python -m benchmarks.ablation runs/voc12_compact --list train_official --every 5
    python -m benchmarks.ablation runs/voc12_compact --set cam.scales=[1.0]          # read at one size

Maps of a finished run's classifier with the given labels, its scales and flip, no CRF or PAR, at full resolution; each
row at its own best threshold. What the steps over the data set have learned, they have learned once, in the run.
Settings are chosen on training images; the validation list is for reporting.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import parser_of
from data.artifacts import Seed
from data.index import open_index
from models.classifier import Classifier
from models.method import Method
from models.pseudo import upsample
from stages.config import Config, load_config
from stages.dataset_steps import open_steps
from stages.files import CLASSIFIER
from stages.networks import load_classifier
from stages.reading import Change, build_method, prepare, to_seed, to_seed_grid, whole_images
from utils.compute import Compute, choose_compute
from utils.errors import run_script
from utils.metrics import ThresholdSweep

THRESHOLDS = np.linspace(0, 0.8, 81)
Names = tuple[str, ...]


@dataclass(frozen=True)
class Steps:
    """The steps of a run that can be switched, by name, in order; the first step of the method is always on."""

    titles: dict[str, str]  # what the table calls them
    method: Method  # with all its steps
    changes: dict[str, Change]  # the opened steps over the data set


def open_all(cfg: Config, folder: Path, classifier: Classifier, compute: Compute) -> Steps:
    """The steps of a run, with the networks of its folder."""
    method = build_method(cfg)
    opened = open_steps(cfg, folder, classifier, compute)
    titles = {step.name: step.title for step in method.steps[1:]} | {step.name: step.title for step, _ in opened}
    return Steps(titles, method, {step.name: change for step, change in opened})


def chosen_rows(names: Names) -> Iterator[tuple[str, Names]]:
    """Plain CAM, each step alone, each added to those before it, all, and all but one; titles in terms of names."""
    yield "", ()
    yield from (("", (name,)) for name in names)
    yield from (("", names[:count]) for count in range(2, len(names) + 1))
    yield from (("all but ", tuple(name for name in names if name != left_out)) for left_out in names)


def every_row(names: Names) -> Iterator[tuple[str, Names]]:
    """Every combination."""
    subsets = (chosen for count in range(len(names) + 1) for chosen in itertools.combinations(names, count))
    yield from (("", chosen) for chosen in subsets)


def rows_of(steps: Steps, choose: Callable[[Names], Iterator[tuple[str, Names]]] = chosen_rows) -> dict[str, Names]:
    """Title -> the names of the steps that are on."""
    names, rows = tuple(steps.titles), {}
    for prefix, on in choose(names):
        shown = [steps.titles[name] for name in names if (name in on) != bool(prefix)]
        rows[prefix + " + ".join(shown) if shown else "CAM"] = on
    return rows


class ReadOnce:
    """The maps of one image for any steps; what networks say of the sharp image is asked once."""

    def __init__(self, steps: Steps, classifier: Classifier, item: dict[str, Any], cfg: Config, compute: Compute):
        self.steps, self.classifier, self.pixels = steps, classifier, item["image"]
        self.compute = compute
        self.classes = item["labels"].nonzero().flatten().tolist()
        self.image = prepare(self.pixels, classifier, compute, cfg.seeds)
        self.reading = steps.method.read(classifier, self.image, self.classes)
        self.traces: dict[Names, Tensor] = {}
        self.seen: dict[str, Any] = {}

    def maps(self, on: Names) -> Tensor:
        """(K, *, *) after the steps of these names."""
        read = tuple(name for name in on if name not in self.steps.changes)
        if read not in self.traces:
            method = Method([step for step in self.steps.method.steps if step.name in ("cam", *read)])
            trace = method.trace(self.classifier, self.image, self.classes, self.reading)
            self.traces[read] = list(trace.maps.values())[-1]
        maps = self.traces[read]
        for name in on:
            if name in self.steps.changes and self.classes:
                maps = self._change(name, to_seed_grid(maps, self.pixels.shape[-2:]))
        return maps

    def _change(self, name: str, maps: Tensor) -> Tensor:
        change = self.steps.changes[name]
        if name not in self.seen:
            image = prepare(self.pixels, change.network, self.compute, change.sides)
            self.seen[name] = change.see(image, self.classes, (maps.shape[1], maps.shape[2]))
        return change.change(maps, self.seen[name]).float()


def main() -> None:
    """The command."""
    parser = parser_of(__doc__, on_list=True)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    parser.add_argument("--combinations", action="store_true", help="every combination of the steps")
    args = parser.parse_args()
    cfg = load_config(args.run / "config.yaml", overrides=args.set)
    compute = choose_compute(cfg)
    classifier = compute.network(load_classifier(args.run / CLASSIFIER))
    list_name = args.list or cfg.data.val_list
    index = open_index(cfg.data, list_name, masks=True)
    positions = range(0, len(index), args.every)
    steps = open_all(cfg, args.run, classifier, compute)
    rows = rows_of(steps, every_row if args.combinations else chosen_rows)
    sweeps = {title: ThresholdSweep(len(index.class_names) + 1, THRESHOLDS) for title in rows}
    for item in whole_images(index, positions, cfg.workers, "ablation"):
        with compute.autocast(), torch.no_grad():
            image = ReadOnce(steps, classifier, item, cfg, compute)
            for title, on in rows.items():
                update(sweeps[title], to_seed(image.maps(on), image.classes, item["image"].shape[-2:]), item["mask"])
    scales, flip = list(steps.method.views.scales), steps.method.views.flip
    print(f"{list_name}, {len(positions)} images, {cfg.model.backbone}, scales {scales}, flip {flip}")
    print_table(sweeps)


def print_table(sweeps: dict[str, ThresholdSweep]) -> None:
    """A line a row, at its best threshold."""
    print(f"{'given labels, best threshold':64}{'mIoU':>7}{'over':>8}{'under':>8}{'at':>7}")
    for title, sweep in sweeps.items():
        best = int(np.argmax(sweep.curve()))
        matrix = sweep.at(best)
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        print(f"{title:64}{100 * shares[0]:7.1f}{100 * shares[1]:8.1f}{100 * shares[2]:8.1f}{THRESHOLDS[best]:7.2f}")


def update(sweep: ThresholdSweep, seed: Seed, target: Tensor) -> None:
    """Add one image's maps."""
    if not len(seed.classes):
        sweep.update(target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64))
        return
    value, winner = upsample(torch.as_tensor(seed.maps), seed.size).max(dim=0)
    sweep.update(target, value, torch.as_tensor(seed.classes)[winner] + 1)


if __name__ == "__main__":
    run_script(main)
