"""Figures of the documents, from a finished run of the demo, and from a network of photographs.

python docs/figure.py runs/demo result method threshold
    result.jpg      for the README: the first whole rows of the run's report.jpg, small enough for a repository
    method.jpg      for method.md: the maps after each step, and the image that the round of blur has read
    threshold.jpg   for method.md: one seed cut at several background thresholds
python docs/figure.py runs/demo hints
    hints.jpg       for hints.md: a bad mask, three clicks, the same command, a better mask. It works on a copy of the
                    run, and runs train.py up to stage pseudo. No truth is read but for the last column.
python docs/figure.py checkpoints/voc12_compact.pth photographs
    photographs.jpg for the README: masks of sample images of scikit-image, which are free (CC0 or public domain)
python docs/figure.py docs/hints.md curve
    curve.jpg       for hints.md: its tables of pseudo masks by the time of a person

The images of the demo are generated. Those of method.jpg and threshold.jpg are not in the lists of the run.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import call, set_all
from data.artifacts import read_mask, voc_palette
from data.index import open_index
from data.shapes import SHAPES_CLASSES, Scene, scenes
from infer import predict
from models.classifier import Classifier
from models.method import Trace
from models.pseudo import upsample
from stages.config import Config, load_config
from stages.dataset_steps import FullMethod
from stages.files import CONTEXT
from stages.networks import load_classifier
from stages.pseudo import mask_of
from utils.compute import choose_compute
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path, write_json
from utils.run import RUN_SETTINGS
from utils.visualize import Tile, contact_sheet, heatmap, overlay

ROOT = Path(__file__).resolve().parents[1]
HEIGHT, WIDTH, GAP = 940, 1000, 6  # pixels: at most so high, made so wide; blank lines between two rows
SPLIT, SIZE, TILE = 7, 192, 132  # another sequence of images than training's and validation's (0 and 1)
SHOWN = ("train", "owl", "boat")  # an image of each
PHOTOGRAPHS = ("astronaut.png", "chelsea.png", "motorcycle_left.png", "coffee.png")  # of skimage/data
PHOTOGRAPH = 240  # pixels of a tile
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
HINTED = "train_0108"  # the least certain image of the run: rails are in the mask, the front of the train is not
CLICKS = (("train", 93, 44), ("background", 64, 83), ("balloon", 60, 129))
STAGES = "context,remove,ibb,correct,affinity,walk,pseudo"
HINTS_TILE, DISC = 230, 3
CHART, RIM, FIRST, LAST = (470, 330), 45, 2.0, 1000.0  # pixels of a chart and its rim; minutes of its ends


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    source = "a finished run of preset demo; for photographs, a network; for curve, docs/hints.md"
    parser.add_argument("source", type=Path, metavar="RUN", help=source)
    parser.add_argument("figures", nargs="+", choices=FIGURES, metavar="FIGURE", help=", ".join(FIGURES))
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER", help="default: docs/")
    args = parser.parse_args()
    for name in args.figures:
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
    tiles = []
    for name in PHOTOGRAPHS:
        found = predict(str(folder / name), str(checkpoint))
        text = ", ".join(one.name for one in found.classes) or "no class"
        tiles += [Tile(found.image), Tile(np.asarray(found.overlay()), text)]
    return contact_sheet([tiles[:4], tiles[4:]], ("image", "mask") * 2, tile=PHOTOGRAPH)


def hints(run: Path) -> Image.Image:
    """The pseudo mask of one training image before and after clicks, and its truth."""
    cfg = load_config(run / RUN_SETTINGS)
    record = next((one for one in open_index(cfg.data, "train", masks=True).records if one.name == HINTED), None)
    mask = f"pseudo/{HINTED}.png"
    if record is None or not (run / mask).is_file():
        raise UserError(f"{run} has no pseudo mask of {HINTED}; expected a finished run of preset demo")
    image, truth = np.array(record.read_image()), record.read_truth()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shapes = [{"shape_type": "point", "label": label, "points": [[x, y]]} for label, x, y in CLICKS]
        size = {"width": image.shape[1], "height": image.shape[0]}
        write_json(folder / "hints.json", {"hints": [{"image": HINTED, **size, "shapes": shapes}]})
        shutil.copytree(run, folder / "run")
        settings = [f"run={folder / 'run'}", f"checkpoint={folder / 'best.pth'}", f"data.hints={folder / 'hints.json'}"]
        call(ROOT, "train.py", ["--config", str(run.absolute() / RUN_SETTINGS), "--stages", STAGES, *set_all(settings)])
        masks = [read_mask(path / mask) for path in (run, folder / "run")]
    before, after, right = (overlay(image, mask, voc_palette()) for mask in (*masks, truth))
    titles = ("pseudo mask, labels alone", "three clicks", "the same command: pseudo mask", "truth, for comparison")
    return contact_sheet([[Tile(one) for one in (before, clicked(before), after, right)]], titles, tile=HINTS_TILE)


def clicked(image: np.ndarray) -> np.ndarray:
    """The image with a disc for each click: white rim, black for the background."""
    drawn = Image.fromarray(image)
    for label, x, y in CLICKS:
        fill = "black" if label == "background" else "lime"
        ImageDraw.Draw(drawn).ellipse((x - DISC, y - DISC, x + DISC, y + DISC), fill=fill, outline="white")
    return np.asarray(drawn)


def curve(document: Path) -> Image.Image:
    """Pseudo masks by the time of a person, a chart for each table that begins with labels alone."""
    tables = [part for part in document.read_text(encoding="utf-8").split("\n\n") if "| labels alone | 0 | 0 |" in part]
    figure = Image.new("RGB", (CHART[0] * len(tables), CHART[1]), "white")
    for position, table in enumerate(tables):
        lines = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table.splitlines()]
        figure.paste(chart(lines[0], lines[2:]), (position * CHART[0], 0))
    return figure


def chart(header: list[str], rows: list[list[str]]) -> Image.Image:
    """Rows of kind, images, time and figure; a line for each kind that has several, a grey one at labels alone."""
    drawn = Image.new("RGB", CHART, "white")
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(13)
    values = [float(row[3]) for row in rows]
    low, high = 5 * np.floor(min(values) / 5), 5 * np.ceil(max(values) / 5)

    def at(minutes: float, value: float) -> tuple[float, float]:
        across, up = np.log(minutes / FIRST) / np.log(LAST / FIRST), (value - low) / (high - low)
        return RIM + across * (CHART[0] - 2 * RIM), CHART[1] - RIM - up * (CHART[1] - 2 * RIM)

    for value in np.arange(low, high + 1, 5):
        draw.line([at(FIRST, value), at(LAST, value)], fill="#ddd")
        draw.text((8, at(FIRST, value)[1] - 8), f"{value:g}", "black", font)
    for minutes, text in ((6, "6 min"), (60, "1 h"), (600, "10 h")):
        draw.text((at(minutes, low)[0] - 15, CHART[1] - RIM + 6), text, "black", font)
    draw.text((RIM, 8), f"{header[0]}: {header[3]}, by {header[2]}", "black", font)
    draw.line([at(FIRST, values[0]), at(LAST, values[0])], fill="#888", width=2)
    draw.text((at(FIRST, 0)[0] + 4, at(FIRST, values[0])[1] + 3), rows[0][0], "#555", font)
    points: dict[str, list[tuple[float, float]]] = {}
    for (kind, images, time, *_), value in zip(rows[1:], values[1:], strict=True):
        amount, unit = time.split()
        name = next(word for word in ("clicks", "scribbles", "boxes", "masks") if word in kind)
        x, y = at(float(amount) * (60 if unit == "h" else 1), value)
        points.setdefault(name, []).append((x, y))
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill="#1b5cc4")
        draw.text((x - 40, y - 22), f"{name}, {images}", "black", font)
    for found in points.values():
        draw.line(found, fill="#1b5cc4", width=2)
    return drawn


FIGURES: dict[str, Callable[[Path], Image.Image]] = {
    one.__name__: one for one in (result, method, threshold, hints, curve, photographs)
}


def trained(run: Path) -> tuple[FullMethod, Config]:
    """Every step of the run, and its settings."""
    cfg, classifier = load_config(run / RUN_SETTINGS), load_classifier(run / CONTEXT, SHAPES_CLASSES)
    compute = choose_compute(cfg)
    return FullMethod(cfg, run, compute.network(classifier), compute), cfg


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
