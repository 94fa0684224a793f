"""Bytes that a run's files take: python -m benchmarks.disk runs/NAME [--images 10582,82081]

For each folder of seeds and masks: bytes an image, what the file system sets aside for them (whole blocks), and gigabytes for lists
of other lengths, if their images are as large and show as many classes.
"""

import argparse
import sys
from pathlib import Path

from data.artifacts import read_mask, read_seed
from utils.errors import UserError, run_script

FOLDERS = ("seeds", "confident", "walked", "pseudo")
STAT_BLOCK = 512  # of st_blocks


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.disk", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="FOLDER", help="a finished run")
    parser.add_argument("--images", default="10582,82081", metavar="N,M", help="lengths (default: VOC's and COCO's)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    try:
        lengths = [int(length) for length in args.images.split(",")]
    except ValueError as error:
        raise UserError(f"--images {args.images}: expected numbers such as 10582,82081") from error
    print(f"{'':12}{'images':>9}{'bytes':>9}{'on disk':>9}" + "".join(f"{f'{length:,}':>12}" for length in lengths))
    for name in FOLDERS:
        paths = sorted((args.run / name).rglob("[!.]*.*"))
        if not paths:
            continue
        size = sum(path.stat().st_size for path in paths) / len(paths)
        blocks = sum(path.stat().st_blocks * STAT_BLOCK for path in paths) / len(paths)
        gigabytes = "".join(f"{f'{length * blocks / 1e9:.2f} GB':>12}" for length in lengths)
        print(f"{name:12}{len(paths):>9,}{size:>9,.0f}{blocks:>9,.0f}{gigabytes}  {about(paths)}")


def about(paths: list[Path]) -> str:
    """How large the images are and how many maps they have."""
    if paths[0].suffix == ".npz":
        seeds = [read_seed(path) for path in paths]
        pixels = sum(height * width for height, width in (seed.size for seed in seeds)) / len(seeds)
        return (
            f"{pixels / 1e6:.2f} megapixels, {sum(len(seed.classes) for seed in seeds) / len(seeds):.1f} maps an image"
        )
    return f"{sum(read_mask(path).size for path in paths) / len(paths) / 1e6:.2f} megapixels an image"


if __name__ == "__main__":
    sys.exit(run_script(main))
