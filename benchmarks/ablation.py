"""What each module is worth: GFM, PRM, IBB, context, IBB's training and the walk over features, each alone, added and left out.

    python -m benchmarks.ablation runs/voc12_compact                        # on the run's validation list
    python -m benchmarks.ablation runs/voc12_compact --combinations         # all 64 of them, which takes longer
    python -m benchmarks.ablation runs/voc12_compact --list train_official --every 5
    python -m benchmarks.ablation runs/voc12_compact --set cam.scales=[1.0]          # read at one size

Maps of a finished run's classifier with the given labels, its scales and flip, no CRF or PAR, at full resolution; each row at its
own best threshold. What context is was learned once, from the run's own seeds, and so was the network of stage `ibb`
("trained"); "IBB" is the round that reads a blurred image. Settings are chosen on training images; the validation list is for reporting.
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
from models.classifier import Classifier
from models.ibb import IterativeBackgroundBlur, Trace, first_stages, stages_of_strides
from models.pseudo import upsample
from models.reading import Evidence, map_size, read
from stages.config import Config, load_config
from stages.files import IBB, last_classifier, trains_on_blurred
from stages.ibb import class_shares
from stages.networks import load_classifier, load_segmenter
from stages.reading import build_method, prepare, to_seed, whole_images
from stages.walk import walk_along, walk_features
from utils.compute import choose_compute
from utils.errors import run_script
from utils.metrics import ThresholdSweep

READ = ("gfm", "prm", "ibb")  # what can be switched while an image is read; the others come after it
MODULES = (*READ, "context", "trained", "walk")
THRESHOLDS = np.linspace(0, 0.8, 81)


class SharedReading:
    """`read` for one image, read once with everything that any combination of modules wants."""

    def __init__(self, classifier: Classifier, image: Tensor, classes: list[int], cfg: Config):
        strides = classifier.backbone.strides
        self.image = image
        self.fused = [
            n for n in first_stages(strides) if strides[n] >= cfg.step("gfm").min_stride and n < len(strides) - 1
        ]
        self.compared = stages_of_strides(strides, cfg.step("prm").strides, "prm.strides")
        self.evidence = read(
            classifier,
            image,
            classes,
            scales=cfg.step("cam").scales,
            flip=cfg.step("cam").flip,
            gradient_stages=self.fused,
            feature_stages=self.compared,
        )

    def part(self, gfm: bool, prm: bool) -> Evidence:
        """What a method with these modules would have read."""
        whole = self.evidence
        gradients = whole.gradients if gfm else whole.gradients[:0]
        return dataclasses.replace(whole, gradients=gradients, features=whole.features if prm else [])


class Combination(IterativeBackgroundBlur):
    """The method with some of its modules; the sharp image's evidence is given, only blurred images are read."""

    shared: SharedReading

    def _read(self, classifier: Classifier, image: Tensor, classes: Sequence[int], scales: Sequence[float]) -> Evidence:
        if image is self.shared.image:
            return self.shared.part(self.gfm, self.prm)
        return super()._read(classifier, image, classes, scales)


def chosen_rows(cfg: Config, trained: bool) -> dict[str, tuple[str, ...]]:
    """Plain CAM, each module alone, each added to those before it, all, and all but one; titles, and what is switched on.

    Args:
        trained: whether stage `ibb` has trained a network.
    """
    there = modules_of(cfg, trained)
    alone = [(), *((name,) for name in there)]
    added = [there[:count] for count in range(2, len(there) + 1)]
    rows = {title_of(names): names for names in (*alone, *added)}
    without = [(name,) for name in there] + ([("ibb", "trained")] if trained else [])
    for left_out in without:
        title = f"all but {' and '.join(title_of([name]) for name in left_out)}"
        rows[title] = tuple(name for name in there if name not in left_out)
    return rows


def every_row(cfg: Config, trained: bool) -> dict[str, tuple[str, ...]]:
    """Every combination; titles, and what is switched on."""
    there = modules_of(cfg, trained)
    subsets = (names for count in range(len(there) + 1) for names in itertools.combinations(there, count))
    return {title_of(names): names for names in subsets}


def modules_of(cfg: Config, trained: bool) -> tuple[str, ...]:
    """Those of `MODULES` that a run with these settings has."""
    missing = {"context": not cfg.context.enabled, "trained": not trained}
    return tuple(name for name in MODULES if not missing.get(name))


def title_of(names: Sequence[str]) -> str:
    """What is switched on, for people."""
    return " + ".join(name.upper() if name in READ else name for name in names) or "CAM"


def combination(cfg: Config, names: Sequence[str]) -> Combination:
    """The method with those of `READ` that are named."""
    switched = {name: dataclasses.replace(getattr(cfg, name), enabled=name in names) for name in READ}
    return build_method(dataclasses.replace(cfg, **switched), Combination)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    parser.add_argument("--list", metavar="NAME", help="a list with truth (default: the run's validation list)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th image")
    parser.add_argument("--combinations", action="store_true", help="every combination of the modules")
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
    rows = (every_row if args.combinations else chosen_rows)(cfg, segmenter is not None)
    sweeps = {title: ThresholdSweep(len(index.class_names) + 1, THRESHOLDS) for title in rows}
    for item in whole_images(index, positions, cfg.workers, "ablation"):
        classes = item["labels"].nonzero().flatten().tolist()
        image = prepare(item["image"], classifier, compute, cfg.seeds.max_side)
        with compute.autocast():
            shares = None
            if segmenter is not None:
                seen = prepare(item["image"], segmenter, compute, cfg.segmenter.max_side)
                shares = class_shares(cfg, segmenter, seen, classes, map_size(*image.shape[-2:]))
            for title, maps in read_rows(rows, classifier, image, classes, cfg, shares):
                update(sweeps[title], to_seed(maps, classes, item["image"].shape[-2:]), item["mask"])
    print(
        f"{list_name}, {len(positions)} images, {cfg.model.backbone}, scales {list(cfg.step('cam').scales)}, flip {cfg.step('cam').flip}"
    )
    print_table(sweeps)


def read_rows(
    rows: dict[str, tuple[str, ...]],
    classifier: Classifier,
    image: Tensor,
    classes: list[int],
    cfg: Config,
    shares: Tensor | None,
) -> Iterator[tuple[str, Tensor]]:
    """Title and maps (K, *, *) of each row.

    Args:
        shares: p, (K, h, w), of the network that stage `ibb` has trained, on the maps' grid; None where there is none.
    """
    shared = SharedReading(classifier, image, classes, cfg)
    unit = walk_features(classifier, image, cfg.affinity, cfg.step("cam").scales, cfg.step("cam").flip)
    traces: dict[tuple[str, ...], Trace] = {}
    for title, names in rows.items():
        read = tuple(name for name in READ if name in names)
        if read not in traces:
            method = combination(cfg, read)
            method.shared = shared
            traces[read] = method.trace(classifier, image, classes)
        maps = traces[read].context if "context" in names else traces[read].ibb
        if "trained" in names and shares is not None:
            maps = torch.lerp(maps, shares, cfg.correction.weight)
        yield title, walk_along(unit, maps, cfg.affinity) if "walk" in names else maps


def print_table(sweeps: dict[str, ThresholdSweep]) -> None:
    """A line a row, at its best threshold."""
    print(f"{'given labels, best threshold':46}{'mIoU':>7}{'over':>8}{'under':>8}{'at':>7}")
    for title, sweep in sweeps.items():
        best = int(np.argmax(sweep.curve()))
        matrix = sweep.at(best)
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        print(f"{title:46}{100 * shares[0]:7.1f}{100 * shares[1]:8.1f}{100 * shares[2]:8.1f}{THRESHOLDS[best]:7.2f}")


def update(sweep: ThresholdSweep, seed: Seed, target: Tensor) -> None:
    """Add one image's maps."""
    if not len(seed.classes):
        sweep.update(target, torch.zeros(target.shape), torch.zeros(target.shape, dtype=torch.int64))
        return
    value, winner = upsample(torch.as_tensor(seed.maps), seed.size).max(dim=0)
    sweep.update(target, value, torch.as_tensor(seed.classes)[winner] + 1)


if __name__ == "__main__":
    run_script(main)
