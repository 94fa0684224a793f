"""What the benchmarks share: generated photographs of VOC's size, and pairs of timings."""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.dataset import Index, Record
from utils.memory import keep_freed_memory

VOC_SIZE = (500, 375)
CONFIG = Path(__file__).parent.parent / "config.yaml"


def generated_index(folder: Path, count: int, num_classes: int = 20) -> Index:
    """Images of smooth noise, as hard to decode as photographs, with one or two labels each."""
    random = np.random.default_rng(0)
    records = []
    for index in range(count):
        coarse = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        image = np.asarray(Image.fromarray(coarse).resize(VOC_SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
        image = np.clip(image + random.integers(-12, 13, image.shape), 0, 255).astype(np.uint8)
        path = folder / f"{index:04d}.jpg"
        Image.fromarray(image).save(path, quality=92)
        labels = random.choice(num_classes, size=1 + index % 2, replace=False)
        records.append(Record(path.stem, path, tuple(sorted(int(label) for label in labels))))
    return Index(tuple(f"class {index}" for index in range(num_classes)), tuple(records))


def parser_of(about: str | None, on_list: bool = False) -> argparse.ArgumentParser:
    """A parser that prints `about` as it is; with `on_list` it has the options of a script that evaluates a list."""
    name = f"python -m benchmarks.{Path(sys.argv[0]).stem}"
    parser = argparse.ArgumentParser(prog=name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    if on_list:
        add = parser.add_argument
        add("--list", metavar="NAME", help="a list with truth (default: the run's validation list)")
        add("--every", type=int, default=1, metavar="N", help="only every N-th image")
        add("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting than the run's")
    return parser


def no_options(about: str | None) -> None:
    """For a script without options, which keeps memory as train.py does (utils/memory.py)."""
    parser_of(about).parse_args()
    keep_freed_memory()


def scratch_folder() -> tempfile.TemporaryDirectory:
    """A folder for a with statement, which is removed at its end."""
    return tempfile.TemporaryDirectory(prefix="ibbnet-benchmark-")


def compare(ours: Callable[[], Any], bare: Callable[[], Any], pairs: int) -> tuple[float, float, float]:
    """Run both by turns, after a warm-up: median seconds of ours and of bare, and the median ratio of the pairs."""
    ours()
    bare()
    times = [(_timed(ours), _timed(bare)) for _ in range(pairs)]
    return (
        statistics.median(first for first, _ in times),
        statistics.median(second for _, second in times),
        statistics.median(first / second for first, second in times),
    )


def _timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
