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
that have a label. Prints how long a person takes, from the literature (SECONDS).
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from data.artifacts import write_mask
from data.index import open_index
from data.inspection import spread
from stages.config import load_config
from stages.files import seed_list
from utils.config_file import add_setting_options
from utils.console import progress
from utils.errors import UserError, run_script, script_parser
from utils.files import write_json
from utils.ignore import IGNORE

LEAST = 0.0003  # of an image; what is smaller is not seen by a person
DEEP = 0.5  # of the greatest depth of a region: there a person clicks
# A click: Bearman et al., ECCV 2016. A scribbled image: Lin et al. (ScribbleSup), CVPR 2016. A box: between the 7 s of
# extreme clicks and the 35 s of corners, both in Papadopoulos et al., ICCV 2017. The outline of an object: Lin et al.
# (COCO), ECCV 2014.
SECONDS = {"clicks": 2.4, "scribbles": 25.0, "boxes": 10.0, "masks": 79.0}
Points = list[list[float]]  # (x, y) each


def main() -> None:
    parser = script_parser(__doc__)
    add_setting_options(parser)
    parser.add_argument("--kind", required=True, choices=SECONDS, help="what the person does")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="so many images; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of the random pixels")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="for data.hints")
    args = parser.parse_args()
    if (args.output.suffix == ".json") == (args.kind == "masks"):
        raise UserError(f"--output {args.output}: name a folder for masks, and a .json file for the other kinds")
    cfg = load_config(args.config, args.preset, args.set)
    index = open_index(cfg.data, seed_list(cfg), masks=True)
    labels = (cfg.data.background, *index.class_names)
    labelled = [record for record in index.records if record.labels]
    chosen = spread(labelled, args.images or len(labelled))
    random = np.random.default_rng(args.seed)
    records, objects = [], 0
    for record in progress(chosen, len(chosen), args.kind):
        truth = record.read_truth()
        regions = objects_of(truth, labels)
        objects += len(regions)
        if args.kind == "masks":
            write_mask(args.output / f"{record.name}.png", truth, class_names=index.class_names)
            continue
        background = [(labels[0], truth == 0)] if (truth == 0).any() and args.kind != "boxes" else []
        shape, points_of = MAKERS[args.kind]
        shapes = [
            {"shape_type": shape, "label": label, "points": points_of(region, random)}
            for label, region in regions + background
        ]
        image = record.image.relative_to(cfg.data.root) if record.image.is_relative_to(cfg.data.root) else record.image
        size = {"width": truth.shape[1], "height": truth.shape[0]}
        records.append({"image": image.as_posix(), **size, "shapes": shapes})
    if args.kind != "masks":
        write_json(args.output, {"hints": records})
    images = len(chosen)
    counted = {"clicks": objects + images, "scribbles": images, "boxes": objects, "masks": objects}[args.kind]
    time = f"{counted} x {SECONDS[args.kind]} s = {SECONDS[args.kind] * counted / 60:.0f} min of a person"
    print(f"{args.output}: {images} images, {objects} objects; {time}")


def objects_of(truth: np.ndarray, labels: tuple[str, ...]) -> list[tuple[str, np.ndarray]]:
    """Label and (H, W) bool of each connected region that a person sees; of a class without any, of its largest one."""
    found = []
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


def click(region: np.ndarray, random: np.random.Generator) -> Points:
    rows, columns = np.nonzero(well_inside(region))
    chosen = random.integers(len(rows))
    return [[float(columns[chosen]) + 0.5, float(rows[chosen]) + 0.5]]


def scribble(region: np.ndarray, random: np.random.Generator) -> Points:
    """A line through a region, from one end of what is well inside to the other."""
    _, numbers, sizes, _ = cv2.connectedComponentsWithStats(well_inside(region).astype(np.uint8))
    rows, columns = np.nonzero(numbers == 1 + sizes[1:, cv2.CC_STAT_AREA].argmax())
    pixels = np.stack([columns, rows], axis=1).astype(np.float64)
    axis = np.linalg.svd(pixels - pixels.mean(axis=0), full_matrices=False)[2][0]
    along = (pixels - pixels.mean(axis=0)) @ axis
    bins = np.digitize(along, np.linspace(along.min(), along.max(), 6)[1:-1])
    line = []
    for part in (pixels[bins == index] for index in range(5) if (bins == index).any()):
        # The pixel nearest to the middle of each part, so that the line stays in a bent region.
        x, y = part[np.square(part - part.mean(axis=0)).sum(axis=1).argmin()].tolist()
        line.append([x + 0.5, y + 0.5])
    return line if len(line) > 1 else line * 2


def box(region: np.ndarray, random: np.random.Generator) -> Points:
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    return [[int(columns[0]), int(rows[0])], [int(columns[-1]) + 1, int(rows[-1]) + 1]]


MAKERS = {"clicks": ("point", click), "scribbles": ("line", scribble), "boxes": ("rectangle", box)}


if __name__ == "__main__":
    sys.exit(run_script(main))
