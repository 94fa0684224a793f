"""Pairs and paths: agreement with the published ones, the definition, and maxima along them against a plain loop."""

import itertools

import pytest
import torch
from torch import Tensor

from models.paths import pair_offsets, pair_paths, path_maxima
from tests.models.reference import reference

RADII = (3, 5, 10)
SMALL = [(1, 1), (3, 30), (4, 50), (30, 7), (50, 8), (0, 0), (30, 1)]  # maps too small for a neighbourhood of radius 5


def plain_maxima(edge: Tensor, radius: int) -> Tensor:
    """Pair by pair, source by source."""
    reach, (height, width) = radius - 1, edge.shape[-2:]

    def along(path: tuple[tuple[int, int], ...], y: int, x: int) -> Tensor:
        return torch.stack([edge[:, y + dy, x + dx] for dy, dx in path]).amax(dim=0)

    rows, columns = range(height - reach), range(reach, width - reach)
    maxima = [torch.stack([along(path, y, x) for y in rows for x in columns], dim=-1) for path in pair_paths(radius)]
    return torch.stack(maxima, dim=1).unflatten(2, (len(rows), len(columns)))


@pytest.mark.parametrize("radius", RADII)
def test_pairs_and_lengths_are_the_published_ones(radius):
    paths = reference("paths.npz")
    offsets, lengths = (paths[f"radius{radius}_{what}"].tolist() for what in ("offsets", "lengths"))
    ours = pair_paths(radius)
    assert {path[-1]: len(path) for path in ours} == dict(zip(map(tuple, offsets), lengths, strict=True))
    assert len(pair_offsets(radius)) == len(offsets)  # none twice
    assert [len(path) for path in ours] == lengths


@pytest.mark.parametrize("radius", RADII)
def test_a_path_is_the_cells_less_than_one_from_the_line(radius):
    for path in pair_paths(radius):
        dy, dx = path[-1]
        box = itertools.product(range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1))
        near = {(y, x) for y, x in box if (dy * x - dx * y) ** 2 / (dy * dy + dx * dx) < 1}
        assert set(path) == near
        assert len(path) == len(near)
        assert path[0] == (0, 0)


@pytest.mark.parametrize(("radius", "size"), [(2, (4, 5)), (3, (7, 9)), (5, (6, 12)), (5, (5, 9)), (10, (10, 20))])
def test_maxima_and_their_gradients_are_those_of_a_plain_loop(radius, size):
    generator = torch.Generator().manual_seed(radius)
    # No value twice, so that the cell of a maximum, which alone gets a gradient, is no matter of choice.
    edge = torch.randperm(2 * size[0] * size[1], generator=generator).view(2, *size).double().requires_grad_()
    weight = None
    found = {}
    for function in (path_maxima, plain_maxima):
        edge.grad = None
        maxima = function(edge, radius)
        weight = torch.rand(maxima.shape, generator=generator, dtype=torch.float64) if weight is None else weight
        (maxima * weight).sum().backward()
        found[function] = maxima.detach(), edge.grad
    assert found[path_maxima][0].shape == (2, len(pair_paths(radius)), size[0] - radius + 1, size[1] - 2 * radius + 2)
    assert torch.equal(found[path_maxima][0], found[plain_maxima][0])
    torch.testing.assert_close(found[path_maxima][1], found[plain_maxima][1])


def test_a_gradient_is_split_among_equal_cells_and_none_is_lost():
    for size, count in (((12, 20), 8 * 12), *((size, 0) for size in SMALL)):
        edge = torch.zeros(3, *size, requires_grad=True)
        maxima = path_maxima(edge, 5)
        assert maxima.shape[:2] == (3, len(pair_paths(5)))
        assert maxima.numel() == 3 * len(pair_paths(5)) * count
        maxima.sum().backward()
        assert edge.grad.sum() == pytest.approx(maxima.numel(), rel=1e-5)
        assert (edge.grad >= 0).all()
