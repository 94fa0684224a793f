"""infer.py of this checkout and of another one, as whole programs, by turns on the same images.

Each turn takes its part of the images and runs every program on it, and on one image alone: the difference is what the
other images take, without the start of Python and the opening of the network. Rates are medians over the turns. The
ratio of the processor's seconds is what other work on the machine does not change.
"""

import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.common import scratch_folder
from data.artifacts import read_mask
from utils.errors import UserError

HERE = Path(__file__).parents[1]


@dataclass
class Program:
    """An infer.py with options, and the seconds an image that it took in each turn, by the clock and the processor."""

    name: str
    root: Path
    options: tuple[str, ...] = ()
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)  # with the start
    changed: list[float] = field(default_factory=list)  # parts of pixels that are others than the first program's


def programs(other: Path, settings: Sequence[str], qualities: Sequence[str]) -> list[Program]:
    """The other checkout's, then this one's in each quality."""
    given = tuple(word for setting in settings for word in ("--set", setting))
    own = [Program(f"this, {name}", HERE, ("--quality", name, *given)) for name in qualities]
    return [Program("the other", other, given), *own]


def compare_checkouts(found: Sequence[Program], model: Path, images: Sequence[Path], turns: int, busy: int) -> None:
    """Run and print.

    Args:
        found: the first one is what the others are compared with.
        busy: cores that are kept busy meanwhile, by programs that count.
    """
    if len(images) < 2 * turns:
        raise UserError(f"{len(images)} images are too few for {turns} turns; give at least {2 * turns}")
    with scratch_folder() as name, busy_cores(busy):
        for turn in range(turns):
            part, folder = images[turn::turns], Path(name) / str(turn)
            several, one = (link(part[:count], folder / f"in{count}") for count in (len(part), 1))
            for program in found:
                out = folder / program.name
                start, whole = (run(program, model, source, out / source.name) for source in (one, several))
                program.seconds.append((whole[0] - start[0]) / (len(part) - 1))
                program.processor.append((whole[1] - start[1]) / (len(part) - 1))
                program.whole.append(whole[0] / len(part))
                program.changed.append(changed(folder / found[0].name / several.name, out / several.name))
    beside = f", beside {busy} busy cores" if busy else ""
    print(f"{len(images)} images in {turns} turns{beside}; medians of the turns")
    for program in found:
        ratios, of_processor = (
            [first / own for first, own in zip(getattr(found[0], clock), getattr(program, clock), strict=True)]
            for clock in ("seconds", "processor")
        )
        print(
            f"  {program.name:14} {1 / statistics.median(program.seconds):6.2f} images/s, "
            f"{statistics.median(ratios):5.2f} times the first ({min(ratios):.2f} to {max(ratios):.2f}), "
            f"{statistics.median(of_processor):.2f} by processor time; "
            f"{1 / statistics.median(program.whole):.2f} with the start; "
            f"{100 * statistics.mean(program.changed):.3f} % of the pixels differ"
        )


def run(program: Program, model: Path, source: Path, output: Path) -> tuple[float, float]:
    """The seconds of a call on a folder of images, by the clock and of the processor."""
    command = [sys.executable, "infer.py", "--input", source, "--model_path", model.resolve(), "--output", output]
    started, computed = time.perf_counter(), _processor_of_children()
    ended = subprocess.run(
        [*map(str, command), *program.options], cwd=program.root, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise UserError(f"{program.root / 'infer.py'} ended with {ended.returncode}: {ended.stderr.strip()[-400:]}")
    return time.perf_counter() - started, _processor_of_children() - computed


def _processor_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def link(images: Sequence[Path], folder: Path) -> Path:
    """A folder of links to images."""
    folder.mkdir(parents=True)
    for image in images:
        os.symlink(image.resolve(), folder / image.name)
    return folder


def changed(first: Path, second: Path) -> float:
    """The part of the pixels in which the masks of two output folders differ."""
    pairs = [(read_mask(path), read_mask(second / "masks" / path.name)) for path in (first / "masks").glob("*.png")]
    return float(np.mean([(one != other).mean() for one, other in pairs]))


@contextlib.contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Programs that do nothing but count."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()
