"""What each module is worth: every combination of GFM, PRM, IBB, context, IBB's training, and the walk over features after it.

    python -m benchmarks.ablation runs/voc12_compact                        # on the run's validation list
    python -m benchmarks.ablation runs/voc12_compact --list train_official --every 5
    python -m benchmarks.ablation runs/voc12_compact --set cam.scales=[1.0]          # read at one size

Maps of a finished run's classifier with the given labels, its scales and flip, no CRF or PAR, at full resolution; each row at its
own best threshold. What context is was learned once, from the run's own seeds, and so was the network of stage `ibb`
("trained"). Settings are chosen on training pictures; the validation list is for reporting.
"""

import argparse
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from data.artifacts import Seed
from data.index import open_index
from models.cam import Evidence, gather_evidence, map_size
from models.classifier import Classifier
from models.ibb import IterativeBackgroundBlur, first_stages, stages_of_strides
from models.pseudo import upsample
from stages.files import IBB, last_classifier, trains_on_blurred
from stages.ibb import class_shares
from stages.networks import load_classifier, load_segmenter
from stages.seeds import build_method, prepare, to_seed, whole_pictures
from stages.walk import walk_along, walk_features
from utils.config import Config
from utils.config_file import load_config
from utils.engine import choose_compute
from utils.errors import run_script
from utils.metrics import ThresholdSweep

MODULES = ("gfm", "prm", "ibb")  # what can be switched while a picture is read; context comes after each combination
THRESHOLDS = np.linspace(0, 0.8, 81)


class SharedReading:
    """`gather_evidence` for one picture, read once with everything that any combination of modules wants."""

    def __init__(self, classifier: Classifier, image: Tensor, classes: list[int], cfg: Config):
        strides = classifier.backbone.strides
        self.image = image
        self.fused = [n for n in first_stages(strides) if strides[n] >= cfg.gfm.min_stride and n < len(strides) - 1]
        self.compared = stages_of_strides(strides, cfg.prm.strides, "prm.strides")
        self.evidence = gather_evidence(
            classifier,
            image,
            classes,
            scales=cfg.cam.scales,
            flip=cfg.cam.flip,
            gradient_stages=self.fused,
            feature_stages=self.compared,
        )

    def part(self, gfm: bool, prm: bool) -> Evidence:
        """What a method with these modules would have read."""
        whole = self.evidence
        gradients = whole.gradients if gfm else whole.gradients[:0]
        return dataclasses.replace(whole, gradients=gradients, features=whole.features if prm else [])


class Combination(IterativeBackgroundBlur):
    """The method with some of its modules; the sharp picture's evidence is given, only blurred pictures are read."""

    shared: SharedReading

    def _read(self, classifier: Classifier, image: Tensor, classes: Sequence[int], scales: Sequence[float]) -> Evidence:
        if image is self.shared.image:
            return self.shared.part(self.gfm, self.prm)
        return super()._read(classifier, image, classes, scales)


def combinations(cfg: Config) -> dict[tuple[str, ...], Combination]:
    """The method with every subset of `MODULES`, those that are switched on by name."""
    found = {}
    for count in range(len(MODULES) + 1):
        for names in itertools.combinations(MODULES, count):
            switched = dataclasses.replace(
                cfg,
                **{name: dataclasses.replace(getattr(cfg, name), enabled=name in names) for name in MODULES},
            )
            found[names] = build_method(switched, Combination)
    return found


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    parser.add_argument("--list", metavar="NAME", help="a list with truth (default: the run's validation list)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th picture")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another setting than the run's"
    )
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    cfg = load_config(args.run / "config.yaml", overrides=args.set)
    compute = choose_compute(cfg)
    classifier = load_classifier(args.run / last_classifier(cfg))
    compute.network(classifier)
    list_name = args.list or cfg.data.val_list
    index = open_index(cfg.data, list_name, masks=True)
    positions = range(0, len(index), args.every)
    trained = args.run / IBB
    segmenter = compute.network(load_segmenter(trained)) if trained.is_file() and trains_on_blurred(cfg) else None
    sweeps: dict[str, ThresholdSweep] = {}
    methods = combinations(cfg)
    for item in whole_pictures(index, positions, cfg.workers, "ablation"):
        classes = item["labels"].nonzero().flatten().tolist()
        image = prepare(item["image"], classifier, compute, cfg.seeds.max_side)
        with compute.autocast():
            shares = None
            if segmenter is not None:
                seen = prepare(item["image"], segmenter, compute, cfg.segment.max_side)
                shares = class_shares(cfg, segmenter, seen, classes, map_size(*image.shape[-2:]))
            for title, maps in every_row(methods, classifier, image, classes, cfg, shares):
                sweep = sweeps.setdefault(title, ThresholdSweep(len(index.class_names) + 1, THRESHOLDS))
                update(sweep, to_seed(maps, classes, item["image"].shape[-2:]), item["mask"])
    print(
        f"{list_name}, {len(positions)} pictures, {cfg.model.backbone}, scales {list(cfg.cam.scales)}, flip {cfg.cam.flip}"
    )
    print_table(sweeps)


def every_row(
    methods: dict[tuple[str, ...], Combination],
    classifier: Classifier,
    image: Tensor,
    classes: list[int],
    cfg: Config,
    shares: Tensor | None,
) -> Iterator[tuple[str, Tensor]]:
    """Title and maps (K, *, *) of each combination, without and with context, IBB's training and the walk.

    Args:
        shares: p, (K, h, w), of the network that stage `ibb` has trained, on the maps' grid; None where there is none.
    """
    shared = SharedReading(classifier, image, classes, cfg)
    unit = walk_features(classifier, image, cfg.affinity, cfg.cam.scales, cfg.cam.flip)
    for names, method in methods.items():
        method.shared = shared
        trace = method.trace(classifier, image, classes)
        title = " + ".join(name.upper() for name in names) or "CAM"
        rows = {title: trace.ibb}
        if classifier.context is not None:
            rows[f"{title} + context"] = trace.context
        if shares is not None:
            rows |= {f"{row} + trained": torch.lerp(maps, shares, cfg.ibb.weight) for row, maps in rows.items()}
        for row, maps in rows.items():
            yield row, maps
            yield f"{row} + walk", walk_along(unit, maps, cfg.affinity)


def print_table(sweeps: dict[str, ThresholdSweep]) -> None:
    """A line a row, at its best threshold."""
    print(f"{'given labels, best threshold':34}{'mIoU':>7}{'over':>8}{'under':>8}{'at':>7}")
    for title, sweep in sweeps.items():
        best = int(np.argmax(sweep.curve()))
        matrix = sweep.at(best)
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        print(f"{title:34}{100 * shares[0]:7.1f}{100 * shares[1]:8.1f}{100 * shares[2]:8.1f}{THRESHOLDS[best]:7.2f}")


def update(sweep: ThresholdSweep, seed: Seed, target: Tensor) -> None:
    """Add one picture's maps."""
    if not len(seed.classes):
        sweep.update(target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64))
        return
    value, winner = upsample(torch.as_tensor(seed.maps), seed.size).max(dim=0)
    sweep.update(target, value, torch.as_tensor(seed.classes)[winner] + 1)


if __name__ == "__main__":
    run_script(main)
