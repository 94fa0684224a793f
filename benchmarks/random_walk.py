"""The random walk against the dense algorithm as published, and alone. python -m benchmarks.random_walk

All walk two classes with radius 5, beta 10 and 2^8 steps over the same boundaries, and must agree.
"""

import time
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from benchmarks.common import compare, no_options
from models.paths import pair_offsets, path_maxima
from models.random_walk import random_walk
from utils.memory import peak_memory, reset_peak_memory

RADIUS, BETA, EXP_TIMES, CLASSES = 5, 10.0, 8, 2
DENSE_GRIDS = ((16, 20), (32, 40), (47, 63))
ALONE_GRIDS = ((32, 40), (94, 125), (250, 250))
AGREEMENT = 2e-3  # relative, between float32 sums in two orders


def main() -> None:
    no_options(__doc__)
    print(f"{torch.get_num_threads()} threads\n{'cells':>10}{'published':>12}{'ours':>10}{'ratio':>9}   (seconds)")
    for height, width in DENSE_GRIDS:
        cams, edge = example(height, width)
        torch.testing.assert_close(walk(cams, edge), dense(cams, edge), rtol=AGREEMENT, atol=1e-7)
        ours, published, ratio = compare(partial(walk, cams, edge), partial(dense, cams, edge), 3)
        print(f"{f'{height} x {width}':>10}{published:12.4f}{ours:10.4f}{1 / ratio:9.1f}")
    print(f"\nalone\n{'cells':>10}{'seconds':>12}{'MB more':>10}")
    for height, width in ALONE_GRIDS:
        cams, edge = example(height, width)
        walk(cams, edge)
        reset_peak_memory()
        before, started = peak_memory()["memory"], time.perf_counter()
        walk(cams, edge)
        seconds = time.perf_counter() - started
        print(f"{f'{height} x {width}':>10}{seconds:12.4f}{(peak_memory()['memory'] - before) / 2**20:10.1f}")


def walk(cams: Tensor, edge: Tensor) -> Tensor:
    return random_walk(cams, edge, radius=RADIUS, beta=BETA, exp_times=EXP_TIMES)


def dense(cams: Tensor, edge: Tensor) -> Tensor:
    """The published way: a dense transition matrix, squared `EXP_TIMES` times."""
    height, width = edge.shape
    cells = height * width
    weights = torch.eye(cells)
    for start, end, weight in _pairs(edge):
        weights[start, end] = weights[end, start] = weight
    transition = weights / weights.sum(dim=0, keepdim=True)
    for _ in range(EXP_TIMES):
        transition = transition @ transition
    return ((cams * (1 - edge)).flatten(1) @ transition).view(cams.shape)


def _pairs(edge: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """For each offset: flat cells, their partners, affinity^beta; pairs that leave the image are not among them."""
    reach = RADIUS - 1
    height, width = edge.shape
    maxima = path_maxima(pad(edge[None], (reach, reach, 0, reach), value=1.0), RADIUS)[0]
    index = torch.arange(height * width).view(height, width)
    found = []
    for (dy, dx), highest in zip(pair_offsets(RADIUS), maxima, strict=True):
        here = slice(0, height - dy), slice(max(0, -dx), width - max(0, dx))
        start = index[here].flatten()
        found.append((start, start + dy * width + dx, (1 - highest[here]).flatten() ** BETA))
    return found


def example(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Maps of two classes, and boundaries as a network gives them: smooth ridges between near 0 and near 1."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 1, height // 6 + 2, width // 6 + 2, generator=generator)
    smooth = interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0, 0]
    return torch.rand(CLASSES, height, width, generator=generator), (8 * (smooth - 0.6)).sigmoid()


if __name__ == "__main__":
    main()
