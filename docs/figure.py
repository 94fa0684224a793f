"""Figures of the documents, from a finished run of the demo, and from a network of photographs.

python docs/figure.py runs/demo result method threshold
    result.jpg      for the README: the first whole rows of the run's report.jpg, small enough for a repository
    method.jpg      for method.md: the maps after each step, and the image that the round of blur has read
    threshold.jpg   for method.md: one seed cut at several background thresholds
python docs/figure.py checkpoints/voc12_compact.pth photographs
    photographs.jpg for the README: masks of sample images of scikit-image, which are free (CC0 or public domain)

The images of the demo are generated, and they are not in the lists of the run.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.artifacts import voc_palette
from data.shapes import SHAPES_CLASSES, Scene, scenes
from infer import predict
from models.classifier import Classifier
from models.method import Trace
from models.pseudo import upsample
from stages.config import Config, config_from_dict
from stages.dataset_steps import FullMethod
from stages.files import CONTEXT
from stages.networks import load_network
from stages.refinement import mask_of
from utils.compute import choose_compute
from utils.errors import UserError, run_script
from utils.files import atomic_path
from utils.visualize import Tile, contact_sheet, heatmap, overlay

HEIGHT, WIDTH, GAP = 940, 1000, 6  # pixels: at most so high, made so wide; blank lines between two rows
SPLIT, SIZE, TILE = 7, 192, 132  # another sequence of images than training's and validation's (0 and 1)
SHOWN = ("train", "owl", "boat")  # an image of each
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "motorcycle_left.png", "coffee.png")  # of skimage/data
PHOTOGRAPH = 240  # pixels of a tile
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = "a finished run of preset demo; for photographs, a network"
    parser.add_argument("source", type=Path, metavar="RUN", help=source)
    parser.add_argument("figures", nargs="+", metavar="FIGURE", help="result, method, threshold, photographs")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: docs/")
    args = parser.parse_args()
    for name in args.figures:
        if name not in FIGURES:
            raise UserError(f"there is no figure '{name}'; known: {', '.join(FIGURES)}")
        with atomic_path(args.output / f"{name}.jpg") as temporary:
            FIGURES[name](args.source).save(temporary, quality=85, optimize=True)
        print(args.output / f"{name}.jpg")


def result(run: Path) -> Image.Image:
    """Rows of the report, cut where they end."""
    sheet = Image.open(run / "report.jpg").convert("L")
    blank = np.all(np.asarray(sheet)[:HEIGHT] > 230, axis=1)
    ends = [y for y in range(GAP, len(blank)) if blank[y - GAP : y].all()]
    figure = Image.open(run / "report.jpg").crop((0, 0, sheet.width, ends[-1] - GAP // 2))
    figure.thumbnail((WIDTH, HEIGHT))
    return figure


def method(run: Path) -> Image.Image:
    """A row for each image: the maps of its first class after each step, and what the first round of blur has read."""
    full, cfg = trained(run)
    rows, titles = [], list(full.titles.values())
    for scene in chosen():
        trace = traced(full, scene)
        maps = [heatmap(scene.image, found[0].cpu().numpy()) for found in trace.maps.values()]
        last = list(trace.maps.values())[-1].cpu()
        masks = [overlay(scene.image, mask, voc_palette()) for mask in (cut(last, scene, cfg), scene.mask)]
        blurred = shown(trace.shown["ibb"][0], full.classifier)
        rows.append([Tile(np.asarray(image)) for image in (scene.image, blurred, *maps, *masks)])
        rows[-1][2] = Tile(maps[0], SHAPES_CLASSES[scene.labels[0]])
    columns = ("image", "blurred", titles[0], *(f"+ {title}" for title in titles[1:]), "mask", "truth")
    return contact_sheet(rows, columns, tile=TILE)


def threshold(run: Path) -> Image.Image:
    """A row for each image: the mask of its seed at each threshold."""
    full, cfg = trained(run)
    rows = []
    for scene in chosen():
        maps = list(traced(full, scene).maps.values())[-1].cpu()
        seed = heatmap(scene.image, maps.amax(dim=0).numpy())
        masks = [overlay(scene.image, cut(maps, scene, cfg, value), voc_palette()) for value in THRESHOLDS]
        rows.append([Tile(image) for image in (seed, *masks)])
    return contact_sheet(rows, ("the seed", *(f"threshold {value}" for value in THRESHOLDS)), tile=TILE)


def photographs(checkpoint: Path) -> Image.Image:
    """Each photograph beside its mask, with the classes that the network has found."""
    import skimage  # only here: no other figure needs it

    folder = Path(skimage.__file__).parent / "data"
    found = [predict(str(folder / name), str(checkpoint)) for name in PHOTOGRAPHS]
    names = [", ".join(one.name for one in result.classes) or "no class" for result in found]
    tiles = [
        tile
        for result, text in zip(found, names, strict=True)
        for tile in (Tile(result.image), Tile(np.asarray(result.overlay()), text))
    ]
    return contact_sheet([tiles[:4], tiles[4:]], ("image", "mask") * 2, tile=PHOTOGRAPH)


FIGURES: dict[str, Callable[[Path], Image.Image]] = {
    "result": result,
    "method": method,
    "threshold": threshold,
    "photographs": photographs,
}


def trained(run: Path) -> tuple[FullMethod, Config]:
    """Every step of the run, and its settings."""
    network, checkpoint = load_network(run / CONTEXT)
    cfg = config_from_dict(checkpoint.config, str(run / CONTEXT))
    assert isinstance(network, Classifier)
    if tuple(checkpoint.class_names) != tuple(SHAPES_CLASSES):
        raise UserError(
            f"{run} is no run of preset demo: its classes are {', '.join(checkpoint.class_names)}; train one: "
            "python train.py --config config.yaml"
        )
    return FullMethod(cfg, run, network, choose_compute(cfg)), cfg


def chosen() -> list[Scene]:
    """The first image whose first class is each of `SHOWN`."""
    found: dict[str, Scene] = {}
    for scene in islice(scenes(SPLIT, 60, SIZE), 60):
        found.setdefault(SHAPES_CLASSES[scene.labels[0]], scene)
    return [found[name] for name in SHOWN if name in found]


def traced(full: FullMethod, scene: Scene) -> Trace:
    """The maps (K, *, *) after every step."""
    return full.trace(torch.from_numpy(scene.image.copy()).permute(2, 0, 1), list(scene.labels))


def cut(maps: torch.Tensor, scene: Scene, cfg: Config, value: float | None = None) -> np.ndarray:
    """The mask of maps (K, h, w) at a background threshold (default: the configured one), refined as in the run."""
    threshold = cfg.pseudo.threshold if value is None else value
    settings = replace(cfg.pseudo, background="threshold", threshold=threshold, ignore_band=0.0)
    mask = mask_of(upsample(maps, scene.mask.shape), torch.tensor(scene.labels), settings, lambda: scene.image)
    return np.asarray(mask, np.uint8)


def shown(image: torch.Tensor, classifier: Classifier) -> np.ndarray:
    """(3, H, W) normalised -> (H, W, 3) uint8."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (classifier.backbone.mean, classifier.backbone.std))
    return ((image.cpu() * std + mean).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


if __name__ == "__main__":
    sys.exit(run_script(main))
