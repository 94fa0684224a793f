"""How far each part is from the machine's own limit: python -m benchmarks.limits [--threads 1]

The limit: the products of large matrices, in operations a second of the processor, in float32 and bf16, and copies of
a large block of memory. Ours: the operations of a network or a step, counted by torch (convolutions and matrix
products, forward and backward), in the processor's seconds. They do not depend on other work on the machine, except for
the memory and the caches that both share. A rate above the limit says that large matrices are not the fastest that the
processor can do.

A convolution by depth has few operations for each value that it reads, so memory limits it. So the table also says how
long a copy of the values that each module reads and writes would take: time cannot be below the larger of the two.
"""

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CONFIG
from models.classifier import build_classifier
from models.runtime import open_runtime
from models.segmenter import build_segmenter, segmentation_loss
from stages.config import load_config
from stages.reading import build_method
from utils.compute import Compute, fastest_precision
from utils.errors import run_script
from utils.memory import keep_freed_memory

SIDES, COPIED, REPEATS = (512, 1024, 2048), 2**26, 5  # of the matrices; values that are copied; timings of each
IMAGE = (288, 384)  # of VOC, at the size of preset voc12_compact


@dataclass(frozen=True)
class Peak:
    """Of the processor: operations a second by precision, bytes a second that are read and written."""

    operations: dict[str, float]
    memory: float


@dataclass(frozen=True)
class Part:
    """Something to be timed; `counted`, so many times, is the same for PyTorch to count."""

    name: str
    work: Callable[[], Any]
    counted: Callable[[], Any]
    module: nn.Module | None = None
    precision: str = "off"
    times: int = 1


def seconds(work: Callable[[], Any]) -> float:
    """Of the processor, the median of several calls after the first."""
    work()
    taken = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def peak() -> Peak:
    """What the processor can do: the best of several sizes of matrices."""
    operations = {}
    for name, kind in (("off", torch.float32), ("bf16", torch.bfloat16)):
        matrices = [torch.rand(side, side).to(kind) for side in SIDES]
        rates = [2 * len(one) ** 3 / seconds(partial(linear, one, one)) for one in matrices]
        operations[name] = max(rates)
    source, target = torch.rand(COPIED), torch.empty(COPIED)
    return Peak(operations, 2 * source.nbytes / seconds(lambda: target.copy_(source)))


def count_operations(work: Callable[[], Any]) -> int:
    """Of convolutions and matrix products, forward and backward."""
    counter = FlopCounterMode(display=False)
    # Its count by modules puts hooks into the graph, which `torch.autograd.grad` of inner maps does not allow.
    counter.mod_tracker = _OneModule()  # type: ignore[assignment]
    with counter:
        work()
    return counter.get_total_flops()


class _OneModule(contextlib.nullcontext):
    parents = {"Global"}  # noqa: RUF012


def moved(module: nn.Module, work: Callable[[], Any]) -> int:
    """Bytes that the modules without parts read and write in float32."""
    total = 0

    def count(own: nn.Module, inputs: Sequence[Any], output: Any) -> None:
        nonlocal total
        weights = sum(parameter.nbytes for parameter in own.parameters())
        total += weights + sum(value.nbytes for value in (*inputs, output) if isinstance(value, Tensor))

    hooks = [one.register_forward_hook(count) for one in module.modules() if not list(one.children())]
    work()
    for hook in hooks:
        hook.remove()
    return total


def parts() -> list[Part]:
    """Preset voc12_compact, with random weights where they do not matter."""
    cfg = load_config(CONFIG, "voc12_compact")
    segmenter = build_segmenter(cfg.model.backbone, 21, "none", cfg.segmenter.stage).requires_grad_(False)
    classifier = build_classifier(cfg.model.backbone, 20, "none").requires_grad_(False)
    method, image = build_method(cfg), torch.randn(3, *IMAGE)
    both = torch.stack([image, image.flip(-1)]).contiguous(memory_format=torch.channels_last)
    trained = build_segmenter(cfg.model.backbone, 21, "none", cfg.segmenter.stage)
    crops, mask = torch.randn(4, 3, 256, 256), torch.randint(0, 21, (4, 256, 256))

    def step() -> None:
        segmentation_loss(trained.train()(crops.contiguous(memory_format=torch.channels_last)), mask).backward()

    def forward(precision: str, wanted: str) -> Callable[[], Tensor]:
        compute = Compute(torch.device("cpu"), precision, is_fastest=True)
        runtime = open_runtime(segmenter, compute, wanted)

        def call() -> Tensor:
            with torch.inference_mode(), compute.autocast():
                return runtime(both)

        return call

    best = fastest_precision(torch.device("cpu"))
    plain = forward("off", "pytorch")
    return [
        Part("segmenter, PyTorch float32", plain, plain, segmenter),
        Part(f"segmenter, PyTorch {best}", forward(best, "pytorch"), plain, segmenter, best),
        Part(f"segmenter, fastest ({best})", forward(best, "auto"), plain, segmenter, best),
        Part("seeds: the method", lambda: method(classifier, image, [3, 7]), lambda: method(classifier, image, [3, 7])),
        # A backward pass has the work of two forward ones; torch counts those of depthwise layers as dense ones.
        Part("segment: a step, 4 crops", step, lambda: trained(crops), times=3),
    ]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.limits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="of torch (default: 1)")
    torch.set_num_threads(parser.parse_args().threads)
    keep_freed_memory()
    limit = peak()
    rates = ", ".join(f"{rate / 1e9:.0f} G operations/s ({name})" for name, rate in limit.operations.items())
    print(f"limit: {rates}, memory {limit.memory / 1e9:.1f} GB/s, per second of the processor")
    for part in parts():
        taken, operations = seconds(part.work), part.times * count_operations(part.counted)
        least = operations / limit.operations[part.precision]
        line = f"{part.name:28} {taken:7.3f} s, {operations / 1e9:6.1f} G operations: {least / taken:5.1%} of the limit"
        if part.module is not None:
            copied = moved(part.module, part.counted) / limit.memory
            line += f"; its values copied: {copied:.3f} s, {max(least, copied) / taken:.1%} of the larger limit"
        print(line, flush=True)


if __name__ == "__main__":
    raise SystemExit(run_script(main))
