"""The random walk against the dense algorithm as published, against sparse matrix products, and against the memory's speed.

    python -m benchmarks.random_walk            # all, some two minutes on two cores
    python -m benchmarks.random_walk --quick    # without the largest dense and the largest grids

All walk two classes with radius 5, beta 10 and 2^8 steps over the same boundaries, and must agree.
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from models.paths import pair_offsets, path_maxima
from models.random_walk import chebyshev_coefficients, random_walk
from utils.memory import peak_memory, reset_peak_memory

RADIUS, BETA, EXP_TIMES, CLASSES = 5, 10.0, 8, 2
DENSE_GRIDS, SPARSE_GRIDS = ((16, 20), (32, 40), (47, 63)), ((16, 20), (32, 40), (47, 63), (94, 125))
ALONE_GRIDS = ((32, 40), (47, 63), (64, 84), (94, 125), (125, 167), (188, 250), (250, 250))
AGREEMENT = 2e-3  # relative, between float32 sums in two orders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller grids only")
    quick = parser.parse_args().quick
    print(
        f"{torch.get_num_threads()} threads, {len(chebyshev_coefficients(2**EXP_TIMES)) - 1} products for 2^{EXP_TIMES} steps"
    )

    print("\nagainst the dense algorithm as published (medians of pairs; seconds)")
    print(f"{'cells':>10}{'published':>12}{'flushed':>12}{'ours':>10}{'ratio':>9}{'flushed':>9}")
    for grid in DENSE_GRIDS[: 2 if quick else None]:
        cams, edge = example(*grid)
        pairs = 1 if grid == DENSE_GRIDS[-1] else 3
        published, ours, ratio = compare(partial(dense, cams, edge), partial(walk, cams, edge), pairs)
        torch.set_flush_denormal(True)
        flushed, _, flushed_ratio = compare(partial(dense, cams, edge), partial(walk, cams, edge), 3)
        torch.set_flush_denormal(False)
        print(f"{_name(grid):>10}{published:12.4f}{flushed:12.4f}{ours:10.4f}{ratio:9.1f}{flushed_ratio:9.1f}")

    print(
        "\nagainst plain scipy CSR products, float32 and int32, 2^8 of them (medians of 7 pairs; seconds, building included)"
    )
    print(f"{'cells':>10}{'CSR':>12}{'ours':>12}{'ratio':>9}")
    for grid in SPARSE_GRIDS[: 3 if quick else None]:
        cams, edge = example(*grid)
        sparse, ours, ratio = compare(partial(csr, cams, edge), partial(walk, cams, edge), 7)
        print(f"{_name(grid):>10}{sparse:12.4f}{ours:12.4f}{ratio:9.1f}")

    bandwidth = measure_bandwidth()
    print(
        f"\nalone, beside the time that reading the weights and maps once a product takes at {bandwidth / 1e9:.1f} GB/s"
    )
    print(f"{'cells':>10}{'seconds':>12}{'MB more':>10}{'B/cell':>9}{'limit':>10}{'times the limit':>17}")
    sizes, seconds, memory = [], [], []
    for grid in ALONE_GRIDS[: 4 if quick else None]:
        cams, edge = example(*grid)
        walk(cams, edge)
        reset_peak_memory()
        before = peak_memory()["memory"]
        seconds.append(statistics.median(timed(partial(walk, cams, edge)) for _ in range(5)))
        memory.append(max(1, peak_memory()["memory"] - before))
        sizes.append(math.prod(grid))
        limit = bytes_moved(sizes[-1]) / bandwidth
        print(
            f"{_name(grid):>10}{seconds[-1]:12.4f}{memory[-1] / 2**20:10.1f}{memory[-1] / sizes[-1]:9.0f}{limit:10.4f}{seconds[-1] / limit:17.1f}"
        )
    slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
    print(
        f"time grows as cells^{slope:.2f} over these, as cells^{np.polyfit(np.log(sizes[2:]), np.log(seconds[2:]), 1)[0]:.2f} from 64 x 84 on"
    )

    batch = 8
    cams, edge = example(32, 40)
    together, alone, ratio = compare(
        lambda: walk(cams.expand(batch, -1, -1, -1).contiguous(), edge.expand(batch, -1, -1).contiguous()),
        lambda: [walk(cams, edge) for _ in range(batch)],
        5,
    )
    print(
        f"\n{batch} images of 32 x 40 cells as one batch {together:.4f} s, one by one {alone:.4f} s: ratio {1 / ratio:.1f}"
    )


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


def csr(cams: Tensor, edge: Tensor) -> Tensor:
    """The plain sparse way: as many products as steps."""
    cells = edge.numel()
    index = np.arange(cells, dtype=np.int32)
    rows, columns, values = [index], [index], [np.ones(cells, np.float32)]
    for start, end, weight in _pairs(edge):
        rows += [start.numpy(), end.numpy()]
        columns += [end.numpy(), start.numpy()]
        values += [weight.numpy()] * 2
    positions = np.concatenate(rows).astype(np.int32), np.concatenate(columns).astype(np.int32)
    matrix = scipy.sparse.csr_matrix((np.concatenate(values), positions), shape=(cells, cells))
    matrix = scipy.sparse.diags(1 / matrix.sum(axis=1, dtype=np.float64).A1.astype(np.float32)) @ matrix
    walked = np.ascontiguousarray((cams * (1 - edge)).flatten(1).T.numpy())
    for _ in range(2**EXP_TIMES):
        walked = matrix @ walked
    return torch.from_numpy(walked.T.copy()).view(cams.shape)


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


def compare(first: Callable[[], Any], second: Callable[[], Any], pairs: int) -> tuple[float, float, float]:
    """Run both by turns; median seconds of each and the median of the pairs' ratios. Their results must agree."""
    second()
    times = []
    for number in range(pairs):
        started = time.perf_counter()
        expected = first()
        between = time.perf_counter()
        found = second()
        times.append((between - started, time.perf_counter() - between))
        if not number and isinstance(found, Tensor):
            torch.testing.assert_close(found, expected, rtol=AGREEMENT, atol=1e-7)
    return (
        statistics.median(a for a, _ in times),
        statistics.median(b for _, b in times),
        statistics.median(a / b for a, b in times),
    )


def timed(work: Callable[[], Tensor]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure_bandwidth() -> float:
    """Bytes a second of adding two vectors that no cache holds."""
    a, b, c = (torch.rand(2**26) for _ in range(3))
    torch.add(a, b, out=c)
    return 3 * a.nbytes / statistics.median(timed(lambda: torch.add(a, b, out=c)) for _ in range(5))


def bytes_moved(cells: int) -> int:
    """By all products, were each weight and map read or written once in each."""
    products = len(chebyshev_coefficients(2**EXP_TIMES)) - 1
    return products * 4 * cells * (len(pair_offsets(RADIUS)) + 1 + 3 * CLASSES)


def _name(grid: tuple[int, int]) -> str:
    return f"{grid[0]} x {grid[1]}"


if __name__ == "__main__":
    main()
