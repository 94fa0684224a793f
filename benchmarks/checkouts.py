"""train.py or infer.py of another checkout and of this one, as whole programs, by turns on the same images.

    python -m benchmarks.checkouts ../older --data VOC_SUBSET --images 48 --set read_precision=auto   # train.py
    python -m benchmarks.checkouts ../older --input IMAGES --model_path segmenter.pth --images 60   # infer.py

train.py: preset voc12_compact on a short training list, from the classifier to the segmentation network, without the
report; the seconds of a stage are those that a run notes down (`stages.json`).

infer.py: this checkout's once in each quality. A turn runs every program on the images, and on one image alone: the
difference is what the other images take, without the start of Python and the opening of the network. The ratio of the
processor's seconds is what other work on the machine does not change. All figures are medians of the turns.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.common import parser_of, scratch_folder
from data.artifacts import read_mask
from data.images import find_images
from utils.errors import UserError, run_script

HERE = Path(__file__).parents[1]
TRAIN_LIST = "ImageSets/Segmentation/train.txt"
OLD_NAMES = {"part": "remove", "fuse": "correct"}  # stages that had other names
QUALITIES = ("normal", "fast", "best")


def main() -> None:
    """The command."""
    args = parse_args()
    with scratch_folder() as name:
        (compare_training if args.data else compare_inference)(args, Path(name))


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = parser_of(__doc__)
    add = parser.add_argument
    add("other", type=Path, metavar="CHECKOUT", help="another checkout, whose program is compared with this one's")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="ROOT", help="compare train.py: images and labels in VOC's layout")
    what.add_argument("--input", type=Path, metavar="FOLDER", help="compare infer.py: images")
    add("--model_path", type=Path, metavar="FILE", help="for --input: the network")
    add("--images", type=int, default=48, metavar="N", help="of the training list or folder (default: 48)")
    add("--turns", type=int, default=2, metavar="N", help="(default: 2)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of this checkout only")
    args = parser.parse_args()
    if args.input and not args.model_path:
        raise UserError("--input needs --model_path, the network that infer.py shall take")
    return args


def compare_training(args: argparse.Namespace, folder: Path) -> None:
    """Run train.py by turns, and print a line a stage."""
    names = short_list(args.data, args.images, folder / "list.txt")
    data = (f"data.root={args.data.resolve()}", f"data.train_list={names}")
    found: list[dict[str, list[float]]] = [{}, {}]  # of the other and this: stage, or `whole` -> seconds of each turn
    for turn in range(args.turns):
        for position, (checkout, own) in enumerate(((args.other, []), (HERE, args.set))):
            run = folder / f"run{position}.{turn}"
            settings = (*data, f"run={run}", f"checkpoint={run}.pth", "report.enabled=false", *own)
            words = ["--config", "config.yaml", "--preset", "voc12_compact", *set_all(settings)]
            whole, _ = call(checkout, "train.py", words)
            stages = json.loads((run / "stages.json").read_text(encoding="utf-8"))
            seconds = {OLD_NAMES.get(name, name): entry["seconds"] for name, entry in stages.items()}
            for stage, value in (seconds | {"whole": whole}).items():
                found[position].setdefault(stage, []).append(value)
    print(f"{args.images} images, {args.turns} turns; seconds, medians of the turns")
    print(f"{'stage':12}{'the other':>12}{'this':>12}{'times':>8}")
    for stage in found[1]:
        if stage in found[0]:
            other, this = (statistics.median(seconds[stage]) for seconds in found)
            print(f"{stage:12}{other:12.1f}{this:12.1f}{other / max(this, 0.1):8.2f}")


def short_list(root: Path, images: int, path: Path) -> Path:
    """A file of so many names of the training list, evenly taken."""
    whole = (root / TRAIN_LIST).read_text(encoding="utf-8").split()
    if len(whole) < images:
        raise UserError(f"--images {images}: {root / TRAIN_LIST} has {len(whole)}; give at most so many")
    names = [whole[index * len(whole) // images] for index in range(images)]
    path.write_text("\n".join(names) + "\n", encoding="utf-8")
    return path


def compare_inference(args: argparse.Namespace, folder: Path) -> None:
    """Run infer.py by turns, and print a line a program."""
    count = min(args.images, len(find_images(args.input)))
    if count < 2:
        raise UserError(f"{count} images in {args.input} are too few; at least 2 are needed")
    own = {f"this, {name}": (HERE, ["--quality", name, *set_all(args.set)]) for name in QUALITIES}
    programs = {"the other": (args.other, []), **own}
    rows: dict[str, list[list[float]]] = {name: [] for name in programs}
    words = ["--input", str(args.input.resolve()), "--model_path", str(args.model_path.resolve())]
    for turn in range(args.turns):
        for name, (checkout, options) in programs.items():
            spent = []
            for limit in (1, count):
                output = ["--output", str(folder / f"{name}{turn}of{limit}"), "--limit", str(limit)]
                spent.append(call(checkout, "infer.py", [*words, *output, *options]))
            rows[name].append([(several - one) / (count - 1) for one, several in zip(*spent, strict=True)])
    print(f"{count} images, {args.turns} turns; medians of the turns")
    for name, turns in rows.items():
        times, of_processor = (
            [other[clock] / this[clock] for other, this in zip(rows["the other"], turns, strict=True)]
            for clock in (0, 1)
        )
        masks = (folder / f"{masks_of}0of{count}" / "masks" for masks_of in ("the other", name))
        print(
            f"  {name:14} {1 / statistics.median(clock for clock, _ in turns):6.2f} images/s, "
            f"{statistics.median(times):5.2f} times the first ({min(times):.2f} to {max(times):.2f}), "
            f"{statistics.median(of_processor):.2f} by processor time; {changed(*masks):.3%} of the pixels differ"
        )


def set_all(settings: Sequence[str]) -> list[str]:
    """The words of the command line."""
    return [word for setting in settings for word in ("--set", setting)]


def call(checkout: Path, script: str, words: Sequence[str]) -> tuple[float, float]:
    """Run a script; its seconds by the clock and of the processor."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, script, *words]
    ended = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise UserError(f"{checkout / script} ended with {ended.returncode}: {ended.stderr.strip()[-400:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.perf_counter() - started, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def changed(first: Path, second: Path) -> float:
    """The part of the pixels in which the masks of two folders differ."""
    pairs = [(read_mask(path), read_mask(second / path.name)) for path in first.glob("*.png")]
    return float(np.mean([(one != other).mean() for one, other in pairs]))


if __name__ == "__main__":
    sys.exit(run_script(main))
