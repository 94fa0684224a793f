"""infer.py of another checkout and of this one, as whole programs, by turns on the same images.

    python -m benchmarks.inference --against ../older --input IMAGES --model_path segmenter.pth --timed 60

This checkout's infer.py runs once in each quality. A turn runs every program on the images, and on one image alone: the
difference is what the other images take, without the start of Python and the opening of the network. The ratio of the
processor's seconds is what other work on the machine does not change. All figures are medians of the turns.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common import HERE, call, set_all
from data.artifacts import read_mask
from data.tree import find_images
from utils.errors import UserError, run_script, script_parser


def main() -> None:
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("--against", type=Path, required=True, metavar="CHECKOUT", help="whose infer.py is compared with this one's")
    add("--input", type=Path, required=True, metavar="FOLDER", help="images")
    add("--model_path", type=Path, required=True, metavar="FILE", help="the network")
    add("--timed", type=int, default=60, metavar="N", help="images (default: 60)")
    add("--qualities", default="normal,fast,best", metavar="A,B", help="of this checkout (default: normal,fast,best)")
    add("--turns", type=int, default=3, metavar="N", help="(default: 3)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of this checkout only")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare_inference(args, Path(name))


def compare_inference(args: argparse.Namespace, folder: Path) -> None:
    count = min(args.timed, len(find_images(args.input)))
    if count < 2:
        raise UserError(f"{count} images in {args.input} are too few; at least 2 are needed")
    own = {f"this, {name}": (HERE, ["--quality", name, *set_all(args.set)]) for name in args.qualities.split(",")}
    programs = {"the other": (args.against, []), **own}
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


def changed(first: Path, second: Path) -> float:
    """The part of the pixels in which the masks of two folders differ."""
    pairs = [(read_mask(path), read_mask(second / path.name)) for path in first.glob("*.png")]
    return float(np.mean([(one != other).mean() for one, other in pairs]))


if __name__ == "__main__":
    sys.exit(run_script(main))
