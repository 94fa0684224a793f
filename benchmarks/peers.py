"""The field's CAM methods beside ours, on a finished run's classifier: python -m benchmarks.peers RUN

    python -m benchmarks.peers runs/voc12_compact                       # on the run's validation list
    python -m benchmarks.peers runs/voc12_compact --list train --every 5 --score-cam 0

Same classifier, given labels, images at the size of stage `seeds`, mirror image, grid and sweep of thresholds; one
size (`--scales` for more). No CRF or PAR. The others come from two public libraries as they are, `grad-cam` and
`torchcam`. Each row is at its own best threshold, with the seconds of the processor, of all threads together, that its
maps take an image. Score-CAM runs the network once a channel, so it reads a few images only, and ours is printed for
the same ones. Other methods change the activations of one stage by its gradient, so they see its features whatever
they are; where the last stage is a token map of a transformer, the class token does not take part.
"""

import argparse
import dataclasses
import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.ablation import THRESHOLDS, ReadOnce, open_all, rows_of, update
from data.index import open_index
from models.classifier import Classifier
from models.reading import map_size, normalise_maps, to_grid, views_of
from stages.config import Config, load_config
from stages.files import CLASSIFIER
from stages.networks import load_classifier
from stages.reading import prepare, to_seed, whole_images
from utils.compute import Compute, choose_compute
from utils.errors import UserError, run_script
from utils.metrics import ThresholdSweep

LIBRARIES = {"pytorch_grad_cam": "grad-cam", "torchcam": "torchcam"}
MOST_CHANNELS = 512  # of the stage that Score-CAM masks images by
MaskOf = Callable[[Tensor, int], Tensor]  # images (B, 3, H, W) and a class -> maps (B, h, w)


class Staged(nn.Module):
    """A classifier whose stages pass through modules that a library can hook.

    The graph begins at the first of these stages, as it does in our own reading.
    """

    def __init__(self, classifier: Classifier, first: int):
        super().__init__()
        self.classifier, self.first = classifier, first
        self.stages = nn.ModuleList(nn.Identity() for _ in classifier.backbone.strides)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) -> logits (B, C)."""
        grad_from = self.first if torch.is_grad_enabled() else None
        found = self.classifier.backbone.stages(x, grad_from)
        maps = [stage(map_) for stage, map_ in zip(self.stages, found, strict=True)]
        return self.classifier.logits(maps)


def of_grad_cam(name: str, classifier: Classifier, stages: list[int]) -> MaskOf:
    """A method of `grad-cam`; of several stages it takes the mean."""
    library = importlib.import_module("pytorch_grad_cam")
    target = importlib.import_module("pytorch_grad_cam.utils.model_targets").ClassifierOutputTarget
    staged = Staged(classifier, min(stages))
    method = getattr(library, name)(model=staged, target_layers=[staged.stages[stage] for stage in stages])

    def maps(images: Tensor, class_index: int) -> Tensor:
        return torch.from_numpy(method(images, [target(class_index)] * len(images)))

    return maps


def of_torchcam(name: str, classifier: Classifier, stages: list[int], **options: Any) -> MaskOf:
    """A method of `torchcam`; several stages are fused as it fuses them."""
    methods = importlib.import_module("torchcam.methods")
    staged = Staged(classifier, min(stages))
    method = getattr(methods, name)(staged, [staged.stages[stage] for stage in stages], **options)

    def maps(images: Tensor, class_index: int) -> Tensor:
        logits = staged(images)
        found = method([class_index] * len(images), logits)
        return (method.fuse_cams(found) if len(found) > 1 else found[0]).detach()

    return maps


def peers(classifier: Classifier, cfg: Config) -> dict[str, MaskOf]:
    """Title -> method."""
    last = len(classifier.backbone.strides) - 1
    fused = [*cfg.step("gfm").gradient_stages(classifier.backbone.strides), last]  # all that GFM joins
    found = {
        f"{title} (grad-cam)": of_grad_cam(name, classifier, [last])
        for title, name in {
            "Grad-CAM": "GradCAM",
            "Grad-CAM++": "GradCAMPlusPlus",
            "XGrad-CAM": "XGradCAM",
            "HiResCAM": "HiResCAM",
            "LayerCAM": "LayerCAM",
            "EigenCAM": "EigenCAM",
        }.items()
    }
    found["LayerCAM, stages of GFM (grad-cam)"] = of_grad_cam("LayerCAM", classifier, fused)
    found["Grad-CAM++ (torchcam)"] = of_torchcam("GradCAMpp", classifier, [last])
    found["LayerCAM, stages of GFM (torchcam)"] = of_torchcam("LayerCAM", classifier, fused)
    return found


def score_cam(classifier: Classifier) -> tuple[str, MaskOf]:
    """Score-CAM on the deepest stage that is not too wide for it."""
    channels = classifier.backbone.channels
    stage = max((n for n, width in enumerate(channels) if width <= MOST_CHANNELS), default=len(channels) - 1)
    return f"Score-CAM, stage {stage + 1} of {len(channels)} (torchcam)", of_torchcam("ScoreCAM", classifier, [stage])


def maps_of(method: MaskOf, image: Tensor, classes: list[int], cfg: Config) -> Tensor:
    """Maps (K, h, w) of an image (3, H, W) on our grid: summed over sizes and mirror image, then n(.)."""
    cam = cfg.step("cam")
    size = map_size(*image.shape[-2:])
    total = image.new_zeros((len(classes), *size))
    for scale in cam.scales:
        images = views_of(image, scale, cam.flip)
        for k, class_index in enumerate(classes):
            found = method(images, class_index).to(image)
            total[k] += to_grid(torch.nan_to_num(found)[:, None].clamp_min(0), size)[0]
    return normalise_maps(total)


@dataclasses.dataclass
class Row:
    """The figures of a method so far."""

    sweep: ThresholdSweep
    seconds: float = 0.0
    images: int = 0

    def add(self, make: Callable[[], Tensor], classes: list[int], item: dict[str, Any]) -> None:
        """An image's maps."""
        began = time.process_time()
        maps = make()
        self.seconds += time.process_time() - began
        self.images += 1
        update(self.sweep, to_seed(maps.cpu(), classes, item["image"].shape[-2:]), item["mask"])

    def line(self, title: str) -> str:
        """The row of the table."""
        best = int(np.argmax(self.sweep.curve()))
        matrix = self.sweep.at(best)
        shares = (matrix.miou(), matrix.over_activation(), matrix.under_activation())
        figures = "".join(f"{100 * share:8.1f}" for share in shares)
        return f"{title:48}{figures}{THRESHOLDS[best]:8.2f}{self.seconds / max(1, self.images):9.2f}"


def compare(args: argparse.Namespace, cfg: Config, compute: Compute) -> dict[str, Row]:
    """Title -> row, over the list."""
    classifier = compute.network(load_classifier(args.run / CLASSIFIER))
    index = open_index(cfg.data, args.list or cfg.data.val_list, masks=True)
    steps = open_all(cfg, args.run, classifier, compute)
    names = tuple(steps.titles)
    ours = {title: on for title, on in rows_of(steps).items() if on in ((), *((name,) for name in names), names)}
    others = peers(classifier, cfg)
    score_title, score = score_cam(classifier) if args.score_cam else ("", None)
    rows: dict[str, Row] = {}

    def add(title: str, make: Callable[[], Tensor], classes: list[int], item: dict[str, Any]) -> None:
        if title not in rows:
            rows[title] = Row(ThresholdSweep(len(index.class_names) + 1, THRESHOLDS))
        rows[title].add(make, classes, item)

    positions = range(0, len(index), args.every)
    sample = set(positions[:: max(1, len(positions) // args.score_cam)][: args.score_cam]) if args.score_cam else set()
    for position, item in zip(positions, whole_images(index, positions, cfg.workers, "peers"), strict=True):
        classes = item["labels"].nonzero().flatten().tolist()
        image = prepare(item["image"], classifier, compute, cfg.seeds)
        for title, method in others.items():
            add(title, partial(maps_of, method, image, classes, cfg), classes, item)
        with torch.no_grad():
            for title, on in ours.items():
                make = partial(our_maps, steps, classifier, item, cfg, compute, on)
                add(f"ours: {title}", make, classes, item)
                if position in sample and on == names:
                    add(f"ours: all, the same {len(sample)} images", make, classes, item)
        if position in sample and score is not None:
            add(f"{score_title}, {len(sample)} images", partial(maps_of, score, image, classes, cfg), classes, item)
    return rows


def our_maps(
    steps: Any, classifier: Classifier, item: dict[str, Any], cfg: Config, compute: Compute, on: tuple[str, ...]
) -> Tensor:
    """Maps of a new reading with only these steps, so that the seconds are those of the row."""
    chosen = tuple(step for step in steps.method.steps if step.name in ("cam", *on))
    once = ReadOnce(dataclasses.replace(steps, method=type(steps.method)(chosen)), classifier, item, cfg, compute)
    return once.maps(on)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder with its classifier")
    parser.add_argument("--list", metavar="NAME", help="a list with truth (default: the run's validation list)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every N-th image")
    parser.add_argument("--scales", type=float, nargs="+", default=[1.0], metavar="S", help="sizes that all read at")
    parser.add_argument(
        "--score-cam", type=int, default=3, metavar="N", help="images for Score-CAM (a minute each); 0: none"
    )
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
    missing = [package for module, package in LIBRARIES.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UserError(f"this benchmark needs {' and '.join(missing)}: pip install -r requirements-peers.txt")
    if args.every < 1 or args.score_cam < 0:
        raise UserError("--every must be at least 1, and --score-cam at least 0")
    cfg = load_config(args.run / "config.yaml", overrides=[f"cam.scales={args.scales}"])
    rows = compare(args, cfg, choose_compute(cfg))
    images = max((row.images for row in rows.values()), default=0)
    name, flip = args.list or cfg.data.val_list, cfg.step("cam").flip
    print(f"{name}, {images} images, {cfg.model.backbone}, scales {args.scales}, flip {flip}")
    print(f"{'given labels, best threshold':48}{'mIoU':>8}{'over':>8}{'under':>8}{'at':>8}{'s/image':>9}")
    for title, row in rows.items():
        print(row.line(title))


if __name__ == "__main__":
    sys.exit(run_script(main))
