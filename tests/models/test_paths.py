"""Pairs and paths: agreement with the published ones, the definition, and maxima along them against a plain loop."""

import itertools

import pytest
import torch
from torch import Tensor

from models.paths import pair_offsets, pair_paths, path_maxima
from tests.models.reference import reference

RADII = (3, 5, 10)


def plain_maxima(edge: Tensor, radius: int) -> Tensor:
    """Pair by pair, source by source."""
    reach, (height, width) = radius - 1, edge.shape[-2:]
    return torch.stack(
        [
            torch.stack(
                [
                    torch.stack(
                        [
                            torch.stack([edge[:, y + dy, x + dx] for dy, dx in path]).amax(dim=0)
                            for x in range(reach, width - reach)
                        ],
                        dim=-1,
                    )
                    for y in range(height - reach)
                ],
                dim=-2,
            )
            for path in pair_paths(radius)
        ],
        dim=1,
    )


@pytest.mark.parametrize("radius", RADII)
def test_pairs_and_lengths_are_the_published_ones(radius):
    paths = reference("paths.npz")
    expected = {
        tuple(offset): length
        for offset, length in zip(
            paths[f"radius{radius}_offsets"].tolist(), paths[f"radius{radius}_lengths"].tolist(), strict=True
        )
    }
    assert {path[-1]: len(path) for path in pair_paths(radius)} == expected
    assert len(pair_offsets(radius)) == len(expected)  # none twice
    assert [len(path) for path in pair_paths(radius)] == paths[f"radius{radius}_lengths"].tolist()


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
    edge = torch.zeros(1, 12, 20, requires_grad=True)
    maxima = path_maxima(edge, 5)
    maxima.sum().backward()
    assert edge.grad.sum() == pytest.approx(maxima.numel(), rel=1e-5)
    assert (edge.grad >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 30), (4, 50), (30, 7), (50, 8), (0, 0), (30, 1)])
def test_a_map_too_small_for_a_neighbourhood_has_no_pairs(size):
    edge = torch.zeros(3, *size, requires_grad=True)
    maxima = path_maxima(edge, 5)
    assert maxima.shape[:2] == (3, len(pair_paths(5)))
    assert maxima.numel() == 0
    maxima.sum().backward()
    assert (edge.grad == 0).all()
