"""What the benchmarks share: the command line and timings."""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from utils.errors import UserError, script_parser
from utils.memory import keep_freed_memory

HERE = Path(__file__).parents[1]
CONFIG = HERE / "config.yaml"


def list_parser(about: str | None) -> argparse.ArgumentParser:
    """A parser with the options of a script that evaluates a list."""
    parser = script_parser(about)
    add = parser.add_argument
    add("--list", metavar="NAME", help="a list with truth (default: the run's validation list)")
    add("--every", type=_count, default=1, metavar="N", help="only every N-th image")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="another setting than the run's")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 (all images) or more")
    return int(text)


def no_options(about: str | None) -> None:
    """For a script without options, which keeps memory as train.py does (utils/memory.py)."""
    script_parser(about).parse_args()
    keep_freed_memory()


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Seconds of the clock and of the processor."""
    started, computed = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - computed


def processor_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Of the processor, the median of several calls after the first."""
    work()
    return statistics.median(timed(work)[1] for _ in range(repeats))


def set_all(settings: Sequence[str]) -> list[str]:
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
