"""Does anything grow? A small run, twenty times in one process: python -m benchmarks.soak [--repeats 20]

Each time all stages run into a fresh folder, from generated images to the report page, and infer.py's part over the
same images. Printed after each: resident memory, open files, threads, child processes. Ends with 1 if one of them
grows after the warm-up, the first quarter: what a program loads once is not a leak.
"""

import argparse
import gc
import os
import statistics
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import scratch_folder
from evaluation.report_page import update_report_page
from evaluation.stages import pipeline
from inference.bulk import Options, predict_images
from inference.loading import load_predictor
from stages.config import load_config
from utils.console import setup_console
from utils.errors import UserError, run_script
from utils.memory import keep_freed_memory
from utils.pipeline import run_stages
from utils.run import Run

SETTINGS = [
    "device=cpu",
    "workers=1",
    "data.kind=shapes",
    "data.train_list=train",
    "data.val_list=val",
    "data.shapes_train=8",
    "data.shapes_val=4",
    "data.shapes_size=96",
    "model.backbone=efficientnet_lite0",
    "model.weights=none",
    "cam.epochs=1",
    "cam.batch_size=4",
    "cam.crop_size=64",
    "cam.resize_long=[64,96]",
    "cam.scales=[1.0]",
    "ibb.iterations=1",
    "ibb.epochs=1",
    "affinity.kind=learned",
    "affinity.refine=par",
    "affinity.epochs=1",
    "affinity.batch_size=4",
    "affinity.crop_size=64",
    "segment.stage=-2",
    "segment.epochs=1",
    "segment.batch_size=4",
    "segment.crop_size=64",
    "segment.scales=[1.0]",
    "report.thresholds=4",
]
MEGABYTE = 2**20
MOST_GROWTH = 0.03  # of resident memory, from the first half after the warm-up to the second; noise is about 0.01


class Held(NamedTuple):
    """What the process holds: resident megabytes, open files, threads, child processes."""

    megabytes: float
    files: int
    threads: int
    children: int


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=20, metavar="N", help="how often (default: 20, at least 8)")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.repeats < 8:
        raise UserError(f"--repeats {args.repeats}: expected at least 8; fewer do not show a trend")
    setup_console(argparse.Namespace(quiet=True, verbose=False))
    keep_freed_memory()  # as the scripts do
    rows = []
    print(f"{'':>4}{'resident MB':>13}{'files':>7}{'threads':>9}{'children':>10}{'seconds':>9}")
    with scratch_folder() as name:
        for repeat in range(1, args.repeats + 1):
            started = time.perf_counter()
            once(Path(name), repeat)
            gc.collect()
            rows.append(held())
            row = "{:>4}{:>13.1f}{:>7}{:>9}{:>10}{:>9.1f}"
            print(row.format(repeat, *rows[-1], time.perf_counter() - started), flush=True)
    grown = growth(rows)
    print("\n" + ("; ".join(grown) if grown else "nothing grows"))
    if grown:
        sys.exit(1)


def once(folder: Path, repeat: int) -> None:
    """A run from images to report, and masks of its images."""
    paths = (f"run={folder}/run{repeat}", f"checkpoint={folder}/best_model.pth", f"data.root={folder}/shapes")
    cfg = load_config(None, overrides=[*SETTINGS, *paths])
    run_stages(pipeline(), cfg, Run(cfg), after=partial(update_report_page, pipeline()))
    images, output = Path(cfg.data.root) / "JPEGImages", folder / f"out{repeat}"
    predict_images(images, output, load_predictor(cfg.checkpoint), Options(maps=True, batch=2))


def held() -> Held:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    files = len(os.listdir("/proc/self/fd"))
    return Held(int(status["VmRSS"].split()[0]) * 1024 / MEGABYTE, files, int(status["Threads"]), len(children))


def growth(rows: Sequence[Held]) -> list[str]:
    """What the second half after the warm-up has more of than the first, by medians; empty where nothing grows."""
    later = rows[len(rows) // 4 :]
    halves = later[: len(later) // 2], later[len(later) // 2 :]
    grown = []
    for name in Held._fields:
        before, after = (statistics.median(getattr(row, name) for row in half) for half in halves)
        if after > before * (1 + MOST_GROWTH if name == "megabytes" else 1):
            grown.append(f"{name} grow: {before:g} -> {after:g}")
    return grown


if __name__ == "__main__":
    sys.exit(run_script(main))
