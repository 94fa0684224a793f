"""The walk agrees with a slow dense version and with the published program, and keeps what a walk must keep."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.pairs import pair_paths
from models.random_walk import MOST_WEIGHTS, TRUNCATION, _batches, chebyshev_coefficients, feature_walk, random_walk
from tests.models.reference import reference
from tests.models.tiny import random_maps


def walk_one(cams: Tensor, edge: Tensor, **options: float) -> Tensor:
    return random_walk([cams], [edge], **options)[0]


def dense_walk(cams: Tensor, edge: Tensor, radius: int, beta: float, steps: int) -> Tensor:
    """The definition, cell by cell and step by step, in float64."""
    height, width = edge.shape
    affinity = torch.eye(height * width, dtype=torch.float64)
    for path in pair_paths(radius):
        for y in range(height):
            for x in range(width):
                cells = [(y + dy, x + dx) for dy, dx in path]
                if all(0 <= row < height and 0 <= column < width for row, column in cells):
                    weight = (1 - max(float(edge[cell]) for cell in cells)) ** beta
                    start, end = y * width + x, cells[-1][0] * width + cells[-1][1]
                    affinity[start, end] = affinity[end, start] = weight
    transition = affinity / affinity.sum(dim=0)
    walked = (cams * (1 - edge)).double().flatten(1)
    for _ in range(steps):
        walked = walked @ transition
    return walked.view(cams.shape)


@pytest.mark.parametrize("index", range(4))
def test_agrees_with_the_published_program(index: int):
    arrays = reference("random_walk.npz")
    names = ("cam", "edge", "out", "radius", "beta", "exp_times")
    cam, edge, out, radius, beta, times = (torch.tensor(arrays[f"walk{index}_{name}"]) for name in names)
    walked = walk_one(cam, edge, radius=int(radius), beta=float(beta), exp_times=int(times))
    torch.testing.assert_close(walked, out, rtol=1e-3, atol=0)
    assert torch.equal(walked.argmax(dim=0), out.argmax(dim=0))


@pytest.mark.parametrize(("radius", "beta", "exp_times"), [(5, 10.0, 8), (3, 2.0, 5), (2, 1.0, 0)])
def test_agrees_with_the_definition(radius: int, beta: float, exp_times: int):
    for size in ((7, 9), (1, 6), (6, 1), (1, 1), (2, 3), (12, 4)):
        cams, edge = random_maps(2, *size), 0.8 * random_maps(*size, seed=1)
        edge[edge > 0.6] = 1  # no way leads through
        walked = walk_one(cams, edge, radius=radius, beta=beta, exp_times=exp_times)
        expected = dense_walk(cams, edge, radius, beta, 2**exp_times)
        torch.testing.assert_close(walked.double(), expected, rtol=3e-4, atol=1e-7)


@pytest.fixture
def batched(monkeypatch: pytest.MonkeyPatch):
    """As on a GPU, whose arithmetic this is too: images walk together."""
    monkeypatch.setitem(MOST_WEIGHTS, "cpu", 2**20)


@pytest.mark.parametrize("shapes", [[(2, 9, 13)] * 3, [(2, 9, 13), (1, 8, 12), (2, 12, 10)], [(2, 9, 13)], []])
@pytest.mark.parametrize("options", [{}, {"radius": 3, "beta": 2.0, "exp_times": 3}, {"beta": 0.0}])
def test_a_batch_of_images_walks_as_each_of_them_alone(shapes, options: dict[str, float], batched):
    cams = [random_maps(*shape, seed=index) for index, shape in enumerate(shapes)]
    edges = [0.8 * random_maps(*shape[1:], seed=10 + index) for index, shape in enumerate(shapes)]
    together = random_walk(cams, edges, **options)
    assert [maps.shape for maps in together] == [maps.shape for maps in cams]
    for maps, cam, edge in zip(together, cams, edges, strict=True):
        torch.testing.assert_close(maps, walk_one(cam, edge, **options), rtol=1e-5, atol=1e-7)
    assert len(_batches(cams, 34)) <= 1


def test_batches_are_bounded_and_of_similar_images(batched):
    def batches(*shapes: tuple[int, int, int], pairs: int = 34) -> list[list[int]]:
        return _batches([torch.empty(shape) for shape in shapes], pairs)

    same = [(2, 64, 64)] * 20
    assert [len(batch) for batch in batches(*same)] == [7, 7, 6]  # 2^20 weights
    assert batches(*same[:2], pairs=2**20) == [[0], [1]]
    assert batches((1, 60, 60), (1, 4, 5), (1, 61, 60), (1, 5, 5)) == [[1, 3], [0, 2]]
    assert batches((1, 1, 40), (1, 40, 1)) == [[0], [1]]
    assert batches((9, 8, 8), (1, 8, 8), (1, 8, 8)) == [[1, 2], [0]]


def test_no_classes_half_precision_input_and_inputs_are_left_alone():
    assert walk_one(torch.zeros(0, 5, 6), torch.zeros(5, 6)).shape == (0, 5, 6)
    cams, edge = random_maps(2, 9, 11), random_maps(9, 11, seed=1)
    before = cams.clone(), edge.clone()
    with torch.autocast("cpu", torch.bfloat16):
        under = walk_one(cams, edge)
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, walk_one(cams, edge))
    assert torch.equal(cams, before[0])
    assert torch.equal(edge, before[1])


def test_polynomial_is_the_power_and_short():
    x = np.linspace(-1, 1, 2001)
    for power in (0, 1, 2, 7, 16, 256):
        coefficients = chebyshev_coefficients(power)
        assert np.abs(np.polynomial.chebyshev.chebval(x, coefficients) - x**power).max() <= 2 * TRUNCATION
        assert min(coefficients) >= 0
        assert sum(coefficients) == pytest.approx(1, abs=1e-12)
        assert len(coefficients) <= min(power + 1, 84)


def test_a_walk_over_features_is_its_formula_in_any_chunks_and_finite_without_features(monkeypatch):
    maps, unit = random_maps(2, 5, 7), torch.nn.functional.normalize(random_maps(6, 5, 7, seed=1) - 0.3, dim=0)
    features, walked = unit.flatten(1), maps.flatten(1)
    similarity = (features.T @ features).clamp_min(0) ** 4
    for _ in range(3):
        walked = 0.7 * walked @ (similarity / similarity.sum(dim=1, keepdim=True)).T + 0.3 * maps.flatten(1)
    for chunk in (2**22, 200):
        monkeypatch.setattr("models.random_walk.CHUNK", chunk)
        torch.testing.assert_close(feature_walk(maps, unit, power=4, steps=3, keep=0.7).flatten(1), walked)
    assert feature_walk(maps, torch.zeros(3, 5, 7)).isfinite().all()
