"""How far each part is from the machine's own limit: python -m benchmarks.limits

The limit: the products of large matrices, in operations a second of the processor, in float32 and bf16, and copies of
a large block of memory. Ours: the operations of a network or a step, counted by torch (convolutions and matrix
products, forward and backward), in the processor's seconds, which hardly depend on other work on the machine. A rate
above the limit says that large matrices are not the fastest that the processor can do.

Memory limits what has few operations for each value: depthwise convolutions, the walk and PAR (which torch cannot
count). So the table also says how long a copy of the values that are read and written would take: time cannot be below
the larger of the two, unless values stay in a cache.
"""

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import CONFIG, no_options, processor_seconds
from models.classifier import build_classifier
from models.pairs import pair_offsets
from models.random_walk import chebyshev_coefficients, random_walk
from models.refinement import DILATIONS, par
from models.runtime import open_runtime
from models.segmenter import build_segmenter, segmentation_loss
from stages.config import load_config
from stages.reading import build_method
from utils.compute import Compute, fastest_precision
from utils.errors import run_script

SIDES, COPIED, REPEATS = (512, 1024, 2048), 2**26, 5  # of the matrices; values that are copied; timings of each
IMAGE = (288, 384)  # of VOC, at the size of preset voc12_compact
CLASSES = 2  # that walk, and that PAR refines beside the background


@dataclass(frozen=True)
class Part:
    """Something to be timed, its operations, and the bytes that it reads and writes, 0 where they are not known."""

    name: str
    work: Callable[[], Any]
    operations: int
    moved: int = 0
    precision: str = "off"


def peak() -> tuple[dict[str, float], float]:
    """Of the processor: operations a second by precision, the best of several matrices; bytes read and written."""
    operations = {}
    for name, kind in (("off", torch.float32), ("bf16", torch.bfloat16)):
        matrices = [torch.rand(side, side).to(kind) for side in SIDES]
        rates = [2 * len(one) ** 3 / processor_seconds(partial(linear, one, one), REPEATS) for one in matrices]
        operations[name] = max(rates)
    source, target = torch.rand(COPIED), torch.empty(COPIED)
    return operations, 2 * source.nbytes / processor_seconds(lambda: target.copy_(source), REPEATS)


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
    image = torch.randn(3, *IMAGE)
    seeds = partial(build_method(cfg), classifier, image, [3, 7])
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
                return runtime.forward(both)

        return call

    best = fastest_precision(torch.device("cpu"))
    plain = forward("off", "pytorch")
    cost = count_operations(plain), moved(segmenter, plain)
    return [
        Part("segmenter, PyTorch float32", plain, *cost),
        Part(f"segmenter, PyTorch {best}", forward(best, "pytorch"), *cost, best),
        Part(f"segmenter, fastest ({best})", forward(best, "auto"), *cost, best),
        Part("seeds: the method", seeds, count_operations(seeds)),
        # A backward pass has the work of two forward ones; torch counts those of depthwise layers as dense ones.
        Part("segment: a step, 4 crops", step, 3 * count_operations(lambda: trained(crops))),
        walk_part(),
        par_part(),
    ]


def walk_part() -> Part:
    """The learned walk of an image, without making the weights, which happens once for 78 products.

    A weight multiplies and adds, those of pairs in both directions; one operation turns the sign of T_{k-1}, and two
    add to the result. A product reads each map of weights once, and of each class it reads or writes five maps.
    """
    maps, edge = torch.rand(CLASSES, IMAGE[0] // 4, IMAGE[1] // 4), torch.rand(IMAGE[0] // 4, IMAGE[1] // 4)
    products, weights = len(chebyshev_coefficients(2**8)) - 1, 1 + len(pair_offsets(5))
    operations = products * maps.numel() * (2 * (2 * weights - 1) + 3)
    values = products * (weights * edge.numel() + 5 * maps.numel())
    return Part("walk: the random walk", lambda: random_walk([maps], [edge]), operations, 4 * values)


def par_part() -> Part:
    """PAR of an image, without its resizes.

    For each pixel and neighbour: four operations a colour for the deviation, three for the distance, three to join the
    colours, five of softmax, two with the position; each iteration multiplies and adds for each label. A neighbour's
    map is written, three times read and written again, and read in each iteration; all else stays in the cache.
    """
    cfg, labels = load_config(CONFIG, "voc12_compact").pseudo, CLASSES + 1
    image = torch.randint(256, (3, *IMAGE), dtype=torch.uint8)
    probabilities = torch.rand(labels, *IMAGE).softmax(dim=0)
    shrunk = min(1.0, cfg.par_side / max(IMAGE))
    pairs = round(IMAGE[0] * shrunk) * round(IMAGE[1] * shrunk) * 8 * len(DILATIONS)
    operations = pairs * (3 * (4 + 3) + 3 + 5 + 2 + 2 * labels * cfg.par_iterations)
    work = partial(par, image, probabilities, cfg.par_iterations, max_side=cfg.par_side)
    return Part("pseudo: PAR", work, operations, 4 * pairs * (1 + 2 * 3 + cfg.par_iterations))


def main() -> None:
    no_options(__doc__)
    torch.set_num_threads(1)
    operations, memory = peak()
    rates = ", ".join(f"{rate / 1e9:.0f} G operations/s ({name})" for name, rate in operations.items())
    print(f"limit: {rates}, memory {memory / 1e9:.1f} GB/s, per second of the processor, one thread", flush=True)
    for part in parts():
        taken, least = processor_seconds(part.work, REPEATS), part.operations / operations[part.precision]
        counted = f"{part.operations / 1e9:.2f} G operations"
        line = f"{part.name:28} {taken:7.3f} s, {counted}: {least / taken:.1%} of the limit"
        if part.moved:
            copied = part.moved / memory
            line += f"; its values copied: {copied:.3f} s, {max(least, copied) / taken:.1%} of the larger limit"
        print(line, flush=True)


if __name__ == "__main__":
    sys.exit(run_script(main))
