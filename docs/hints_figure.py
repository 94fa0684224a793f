"""hints.jpg of docs/hints.md: a bad mask, three clicks, the same command, a better mask.

    python docs/hints_figure.py runs/demo

Takes a finished run of preset demo, works on a copy of it, and runs train.py up to stage pseudo with three clicks on
one training image. No truth is read but for the last column.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.artifacts import read_mask, voc_palette
from data.index import open_index
from stages.config import load_config
from utils.errors import UserError, run_script
from utils.files import atomic_path, write_json
from utils.visualize import Tile, contact_sheet, overlay

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "train_0108"  # the least certain one of the run: rails are in the mask, the front of the train is not
CLICKS = (("train", 93, 44), ("background", 64, 83), ("balloon", 60, 129))
STAGES = "context,remove,ibb,correct,affinity,walk,pseudo"
TILE, DISC = 230, 3


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="RUN", help="a finished run of preset demo")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", metavar="FOLDER", help="default: docs/")
    args = parser.parse_args()
    cfg = load_config(args.run / "config.yaml")
    record = next((r for r in open_index(cfg.data, "train", masks=True).records if r.name == IMAGE), None)
    if record is None or not (args.run / f"pseudo/{IMAGE}.png").is_file():
        raise UserError(f"{args.run} has no pseudo mask of {IMAGE}; expected a finished run of preset demo")
    image, truth = np.array(record.read_image()), record.read_truth()
    with tempfile.TemporaryDirectory(prefix="ibbnet-hints-") as name:
        folder = Path(name)
        shapes = [{"shape_type": "point", "label": label, "points": [[x, y]]} for label, x, y in CLICKS]
        size = {"width": image.shape[1], "height": image.shape[0]}
        write_json(folder / "hints.json", {"hints": [{"image": IMAGE, **size, "shapes": shapes}]})
        shutil.copytree(args.run, folder / "run")
        settings = [f"run={folder / 'run'}", f"checkpoint={folder / 'best.pth'}", f"data.hints={folder / 'hints.json'}"]
        words = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "train.py", "--config", str(args.run / "config.yaml"), "--stages", STAGES, *words]
        subprocess.run(command, cwd=ROOT, check=True)
        masks = [read_mask(path / f"pseudo/{IMAGE}.png") for path in (args.run, folder / "run")]
    titles = ("pseudo mask, labels alone", "three clicks", "the same command: pseudo mask", "truth, for comparison")
    before, after, right = (overlay(image, mask, voc_palette()) for mask in (*masks, truth))
    row = [Tile(shown) for shown in (before, with_clicks(before), after, right)]
    with atomic_path(args.output / "hints.jpg") as temporary:
        contact_sheet([row], titles, tile=TILE).save(temporary, quality=85, optimize=True)
    print(args.output / "hints.jpg")


def with_clicks(image: np.ndarray) -> np.ndarray:
    """The image with a disc for each click: white rim, black for the background."""
    drawn = Image.fromarray(image)
    for label, x, y in CLICKS:
        fill = "black" if label == "background" else "lime"
        ImageDraw.Draw(drawn).ellipse((x - DISC, y - DISC, x + DISC, y + DISC), fill=fill, outline="white")
    return np.asarray(drawn)


if __name__ == "__main__":
    sys.exit(run_script(main))
