"""What each step is worth: every step of the method and over the data set, alone, added and left out.

    python -m benchmarks.ablation runs/voc12_compact                        # on the run's validation list
    python -m benchmarks.ablation runs/voc12_compact --combinations         # all of them, which takes longer
    python -m benchmarks.ablation runs/voc12_compact --list train --every 5 --set cam.scales=[1.0]   # at one size
    python -m benchmarks.ablation runs/voc12_compact --every 10 --seconds            # and what each costs

Maps of a finished run's classifier with the given labels, its scales and flip, no CRF or PAR, at full resolution; each
row at its own best threshold. What the steps over the data set have learned, they have learned once, in the run.
Seconds are those of the processor. Settings are chosen on training images; the validation list is for reporting.
"""

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import list_parser
from data.index import open_index
from models.method import Method
from models.pseudo import upsample
from stages.config import Config, load_config
from stages.dataset_steps import FullMethod
from stages.files import CLASSIFIER
from stages.networks import load_classifier
from stages.reading import prepare, to_seed, to_seed_grid, whole_images
from utils.compute import choose_compute
from utils.errors import run_script
from utils.metrics import ThresholdSweep
from utils.run import RUN_SETTINGS

THRESHOLDS = np.linspace(0, 0.8, 81)
Item = dict[str, Any]  # of `whole_images`, with the truth
Names = tuple[str, ...]  # of the steps that are on
Readers = Mapping[str, Callable[[], Tensor]]  # title of a row -> maps (K, *, *) of an image


def title_of(run: FullMethod, on: Names) -> str:
    return " + ".join(run.titles[name] for name in on) or "CAM"


def switched(run: FullMethod) -> Names:
    """The steps that can be switched by name; the first step of the method is always on."""
    return tuple(run.titles)[1:]


def chosen_rows(run: FullMethod) -> dict[str, Names]:
    """Plain CAM, each step alone, each added to those before it, all, and all but one."""
    names = switched(run)
    rows = [(), *((name,) for name in names), *(names[:count] for count in range(2, len(names) + 1))]
    all_but = {run.titles[name]: tuple(other for other in names if other != name) for name in names}
    return {title_of(run, on): on for on in rows} | {f"all but {title}": on for title, on in all_but.items()}


def every_row(run: FullMethod) -> dict[str, Names]:
    names = switched(run)
    return {title_of(run, on): on for count in range(len(names) + 1) for on in itertools.combinations(names, count)}


class ReadOnce:
    """The maps of one image for any steps; what networks say of the sharp image is asked once."""

    def __init__(self, run: FullMethod, item: Item, method: Method | None = None):
        self.run, self.method, self.pixels = run, method or run.method, item["image"]
        self.changes = {step.name: change for step, change in run.steps}
        self.classes = item["labels"].nonzero().flatten().tolist()
        self.image = prepare(self.pixels, run.classifier, run.compute, run.sides)
        with run.compute.autocast(), torch.no_grad():
            self.reading = self.method.read(run.classifier, self.image, self.classes)
        self.traces: dict[Names, Tensor] = {}
        self.seen: dict[str, Any] = {}

    @torch.no_grad()
    def maps(self, on: Names) -> Tensor:
        """(K, *, *) after the steps of these names."""
        run, read = self.run, tuple(name for name in on if name not in self.changes)
        with run.compute.autocast():
            if read not in self.traces:
                trace = method_of(self.method, read).trace(run.classifier, self.image, self.classes, self.reading)
                self.traces[read] = list(trace.maps.values())[-1]
            maps = self.traces[read]
            for name in on:
                if name in self.changes and self.classes:
                    maps = self._change(name, to_seed_grid(maps, self.pixels.shape[-2:]))
            return maps

    def _change(self, name: str, maps: Tensor) -> Tensor:
        change = self.changes[name]
        if name not in self.seen:
            image = prepare(self.pixels, change.network, self.run.compute, change.sides)
            self.seen[name] = change.see(image, self.classes, (maps.shape[1], maps.shape[2]))
        return change.change(maps, self.seen[name]).float()


def method_of(method: Method, on: Names) -> Method:
    """The method with CAM and the steps of these names."""
    return Method([step for step in method.steps if step.name in ("cam", *on)])


def read_anew(run: FullMethod, item: Item, on: Names) -> Tensor:
    """Maps of a reading of its own, so that the seconds are those of these steps."""
    return ReadOnce(run, item, method_of(run.method, on)).maps(on)


class Row:
    """A row of the table: a sweep of thresholds over the images so far, and seconds of the processor."""

    def __init__(self, num_classes: int):
        self.sweep = ThresholdSweep(num_classes, THRESHOLDS)
        self.seconds, self.images = 0.0, 0

    def add(self, read: Callable[[], Tensor], item: Item) -> None:
        """An image, of which `read` gives the maps."""
        began = time.process_time()
        maps = read()
        self.seconds += time.process_time() - began
        self.images += 1
        target, classes = item["mask"], item["labels"].nonzero().flatten()
        if not len(classes):
            self.sweep.update(target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64))
            return
        seed = to_seed(maps, classes.tolist(), item["image"].shape[-2:])
        value, winner = upsample(torch.as_tensor(seed.maps), seed.size).max(dim=0)
        self.sweep.update(target, value, classes[winner] + 1)

    def figures(self) -> str:
        best = int(np.argmax(self.sweep.curve()))
        matrix = self.sweep.at(best)
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        return "".join(f"{100 * share:8.1f}" for share in shares) + f"{THRESHOLDS[best]:8.2f}"


def print_table(
    args: argparse.Namespace, cfg: Config, readers_of: Callable[[FullMethod, Item], Readers], seconds: bool
) -> None:
    """Read the images of the list with the run that the command line names, and print the rows."""
    compute = choose_compute(cfg)
    run = FullMethod(cfg, args.run, compute.network(load_classifier(args.run / CLASSIFIER)), compute)
    name, views, rows = args.list or cfg.data.val_list, run.method.views, dict[str, Row]()
    index = open_index(cfg.data, name, masks=True)
    positions = range(0, len(index), args.every)
    for item in whole_images(index, positions, cfg.workers, "images"):
        for title, read in readers_of(run, item).items():
            rows.setdefault(title, Row(len(index.class_names) + 1)).add(read, item)
    print(f"{name}, {len(positions)} images, {cfg.model.backbone}, scales {list(views.scales)}, flip {views.flip}")
    head = f"{'given labels, best threshold':64}{'mIoU':>8}{'over':>8}{'under':>8}{'at':>8}"
    print(head + (f"{'s/image':>9}" if seconds else ""))
    for title, row in rows.items():
        print(f"{title:64}{row.figures()}" + (f"{row.seconds / row.images:9.2f}" if seconds else ""))


def main() -> None:
    parser = list_parser(__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    parser.add_argument("--combinations", action="store_true", help="every combination of the steps")
    parser.add_argument("--seconds", action="store_true", help="read images anew for each row, and print how long")
    args = parser.parse_args()

    def readers_of(run: FullMethod, item: Item) -> Readers:
        rows = every_row(run) if args.combinations else chosen_rows(run)
        if args.seconds:
            return {title: partial(read_anew, run, item, on) for title, on in rows.items()}
        image = ReadOnce(run, item)
        return {title: partial(image.maps, on) for title, on in rows.items()}

    print_table(args, load_config(args.run / RUN_SETTINGS, overrides=args.set), readers_of, args.seconds)


if __name__ == "__main__":
    sys.exit(run_script(main))
