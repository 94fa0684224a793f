"""Hints simulated from the truth of TRAINING images only, to see what a person's time is worth; no way to train.

    python -m benchmarks.hints --preset voc12_compact --set data.root=VOC --kind clicks --images 200 --output hints.json
    python train.py --config config.yaml --preset voc12_compact --set data.root=VOC --set data.hints=hints.json
    python evaluate.py --masks runs/voc12_compact/pseudo --split train ...      # what they are worth

    clicks      one on each object, and one on the background; a random pixel well inside
    scribbles   a line through each object and one through the background: the long axis of what is well inside
    boxes       one around each object; nothing else
    masks       the truth of the whole image; --output is then a folder

An object is a connected region of a class, above LEAST of the image: the truth has no instances. So touching objects
are one, and one that is cut in two by what is before it counts twice. Images are drawn evenly over those of the list
that have a label.

Prints how long a person takes, from the literature (SECONDS).
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.common import parser_of
from data.artifacts import write_mask
from data.dataset import Record
from data.index import open_index
from stages.config import load_config
from stages.lists import evenly, seed_list
from utils.config_file import add_setting_options
from utils.console import progress
from utils.errors import UserError, run_script
from utils.files import write_json
from utils.ignore import IGNORE

LEAST = 0.0003  # of an image; what is smaller is not seen by a person
DEEP = 0.5  # of the greatest depth of a region: there a person clicks
# A click: Bearman et al., ECCV 2016. A scribbled image: Lin et al. (ScribbleSup), CVPR 2016. A box: between the 7 s of
# extreme clicks and the 35 s of corners, both in Papadopoulos et al., ICCV 2017. The outline of an object: Lin et al.
# (COCO), ECCV 2014.
SECONDS = {"clicks": 2.4, "scribbles": 25.0, "boxes": 10.0, "masks": 79.0}
Shapes = list[dict[str, Any]]
Region = tuple[str, np.ndarray]  # label, (H, W) bool


def main() -> None:
    """The command."""
    args = parse_args()
    cfg = load_config(args.config, args.preset, args.set)
    index = open_index(cfg.data, seed_list(cfg), masks=True)
    labels = (cfg.data.background, *index.class_names)
    labelled = replace(index, records=tuple(record for record in index.records if record.labels))
    chosen = [labelled.records[position] for position in evenly(labelled, args.images or len(labelled))]
    random = np.random.default_rng(args.seed)
    records, objects = [], 0
    for record in progress(chosen, len(chosen), args.kind):
        truth = record.read_truth()
        regions = objects_of(truth, labels)
        objects += len(regions)
        if args.kind == "masks":
            write_mask(args.output / f"{record.name}.png", truth, class_names=index.class_names)
            continue
        shapes = MAKERS[args.kind](regions, (labels[0], truth == 0), random)
        records.append(record_of(record, truth, shapes, cfg.data.root))
    if args.kind != "masks":
        write_json(args.output, {"hints": records})
    print(f"{args.output}: {len(chosen)} images, {objects} objects; {person(args.kind, len(chosen), objects)}")


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add_setting_options(parser)
    parser.add_argument("--kind", required=True, choices=SECONDS, help="what the person does")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="so many images; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the random pixels")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="for data.hints")
    args = parser.parse_args()
    if (args.output.suffix == ".json") == (args.kind == "masks"):
        raise UserError(f"--output {args.output}: name a folder for masks, and a .json file for the other kinds")
    return args


def person(kind: str, images: int, objects: int) -> str:
    """How long a person takes."""
    counted = {"clicks": objects + images, "scribbles": images, "boxes": objects, "masks": objects}[kind]
    minutes = SECONDS[kind] * counted / 60
    return f"{counted} x {SECONDS[kind]} s = {minutes:.0f} min of a person"


def objects_of(truth: np.ndarray, labels: tuple[str, ...]) -> list[Region]:
    """The connected regions of each class, those that a person sees; of a class without any, its largest one."""
    found: list[Region] = []
    for value in np.unique(truth[(truth > 0) & (truth != IGNORE)]).tolist():
        count, numbers = cv2.connectedComponents((truth == value).astype(np.uint8))
        sizes = np.bincount(numbers.ravel(), minlength=count)[1:]
        kept = np.flatnonzero(sizes >= LEAST * truth.size)
        for number in kept.tolist() or [int(sizes.argmax())]:
            found.append((labels[value], numbers == number + 1))
    return found


def well_inside(region: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels of a region that are at least `DEEP` of its greatest depth inside."""
    depth = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return (depth >= DEEP * depth.max()) & region


def clicks(regions: list[Region], background: Region, random: np.random.Generator) -> Shapes:
    """A point on each region and on the background."""
    found = []
    for label, region in with_background(regions, background):
        rows, columns = np.nonzero(well_inside(region))
        chosen = random.integers(len(rows))
        point = [float(columns[chosen]) + 0.5, float(rows[chosen]) + 0.5]
        found.append({"shape_type": "point", "label": label, "points": [point]})
    return found


def scribbles(regions: list[Region], background: Region, random: np.random.Generator) -> Shapes:
    """A line through each region and through the background: from one end of what is well inside to the other."""
    found = []
    for label, region in with_background(regions, background):
        _, numbers, sizes, _ = cv2.connectedComponentsWithStats(well_inside(region).astype(np.uint8))
        rows, columns = np.nonzero(numbers == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax())
        pixels = np.stack([columns, rows], axis=1).astype(np.float64)
        axis = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[2][0]
        along = (pixels - pixels.mean(axis=0)) @ axis
        bins = np.digitize(along, np.linspace(along.min(), along.max(), 6)[1:-1])
        # The pixel nearest to the middle of each part, so that the line stays in a bent region.
        line = [nearest(pixels[bins == part]) for part in range(5) if (bins == part).any()]
        found.append({"shape_type": "line", "label": label, "points": line if len(line) > 1 else line * 2})
    return found


def nearest(pixels: np.ndarray) -> list[float]:
    """The pixel that is nearest to the mean of some."""
    x, y = pixels[np.square(pixels - pixels.mean(axis=0)).sum(axis=1).argmin()].tolist()
    return [x + 0.5, y + 0.5]


def boxes(regions: list[Region], background: Region, random: np.random.Generator) -> Shapes:
    """A box around each region."""
    found = []
    for label, region in regions:
        rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
        corners = [[int(columns[0]), int(rows[0])], [int(columns[-1]) + 1, int(rows[-1]) + 1]]
        found.append({"shape_type": "rectangle", "label": label, "points": corners})
    return found


def with_background(regions: list[Region], background: Region) -> list[Region]:
    """The regions, and the background where the image has any."""
    return [*regions, *([background] if background[1].any() else [])]


MAKERS: dict[str, Callable[[list[Region], Region, np.random.Generator], Shapes]] = {
    "clicks": clicks,
    "scribbles": scribbles,
    "boxes": boxes,
}


def record_of(record: Record, truth: np.ndarray, shapes: Shapes, root: str) -> dict[str, Any]:
    """The record of an image in a file of hints."""
    inside = record.image.relative_to(root) if record.image.is_relative_to(root) else record.image
    return {"image": inside.as_posix(), "width": truth.shape[1], "height": truth.shape[0], "shapes": shapes}


if __name__ == "__main__":
    sys.exit(run_script(main))
