"""Properties of the two refinements: what they keep, what they repair, and that PAR is its formula."""

import math
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from models.refine import dense_crf, par, refine
from utils.errors import UserError

HEIGHT, WIDTH, EDGE = 40, 60, 33  # a picture whose colour changes at column 33


def random_picture(height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def random_probabilities(labels: int, height: int, width: int, seed: int = 1) -> Tensor:
    logits = 2 * torch.randn(labels, height, width, generator=torch.Generator().manual_seed(seed))
    return logits.softmax(dim=0)


def two_colours() -> tuple[Tensor, Tensor]:
    """A picture of two flat colours and where the right one is."""
    right = (torch.arange(WIDTH) >= EDGE).expand(HEIGHT, WIDTH)
    colours = torch.tensor([[70, 90, 60], [180, 120, 150]], dtype=torch.uint8)
    return colours[right.long()].permute(2, 0, 1).contiguous(), right


def soft_edge(column: float, softness: float = 4.0) -> Tensor:
    """Probabilities (2, H, W) whose boundary is blurred and lies at `column` instead of the colour edge."""
    right = torch.sigmoid((torch.arange(WIDTH) - column + 0.5) / softness).expand(HEIGHT, WIDTH)
    return torch.stack([1 - right, right])


def intersection_over_union(prediction: Tensor, truth: Tensor) -> float:
    return ((prediction & truth).sum() / (prediction | truth).sum()).item()


def neighbour_offsets(dilations: Sequence[int]) -> list[tuple[int, int]]:
    """(dy, dx) of the eight neighbours at each dilation."""
    steps = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [(dy * dilation, dx * dilation) for dilation in dilations for dy, dx in steps]


def plain_par(image: Tensor, probabilities: Tensor, iterations: int, dilations: tuple[int, ...]) -> np.ndarray:
    """The formula pixel by pixel, in double precision."""
    colours, current = image.numpy().astype(float), probabilities.numpy().astype(float)
    height, width = colours.shape[1:]
    offsets = neighbour_offsets(dilations)
    distances = np.array([math.hypot(*offset) for offset in offsets])
    position = np.exp(-((distances / (0.3 * distances.std(ddof=1))) ** 2))
    position /= position.sum()
    for _ in range(iterations):
        following = np.zeros_like(current)
        for y in range(height):
            for x in range(width):
                places = [(min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)) for dy, dx in offsets]
                around = np.array([colours[:, v, u] for v, u in places])
                deviation = np.maximum(around.std(axis=0, ddof=1), 1e-4 * 255)
                exponent = -(((around - colours[:, y, x]) / (0.3 * deviation)) ** 2).mean(axis=1)
                colour = np.exp(exponent - exponent.max())
                kernel = (colour / colour.sum() + 0.01 * position) / 1.01
                for weight, (v, u) in zip(kernel, places, strict=True):
                    following[:, y, x] += weight * current[:, v, u]
        current = following
    return current


def assert_probabilities(refined: Tensor, like: Tensor) -> None:
    assert refined.shape == like.shape
    assert refined.dtype == torch.float32
    assert torch.isfinite(refined).all()
    assert refined.min() >= 0
    torch.testing.assert_close(refined.sum(dim=0), torch.ones(like.shape[1:]), atol=1e-4, rtol=0)


# --- PAR


@pytest.mark.parametrize("labels", [1, 2, 5])
def test_par_keeps_probabilities(labels):
    probabilities = random_probabilities(labels, 37, 52)
    assert_probabilities(par(random_picture(37, 52), probabilities), probabilities)


def test_par_agrees_with_plain_formula():
    image, probabilities = random_picture(6, 7), random_probabilities(3, 6, 7)
    image[:, :3, :4] = 100 + image[:, :3, :4] // 64  # a nearly flat part
    refined = par(image, probabilities, iterations=2, dilations=(1, 3))
    np.testing.assert_allclose(refined.numpy(), plain_par(image, probabilities, 2, (1, 3)), atol=1e-5)


def test_par_without_iterations_changes_nothing():
    image, probabilities = random_picture(30, 40), random_probabilities(3, 30, 40)
    assert torch.equal(par(image, probabilities, iterations=0, max_side=20), probabilities)


def test_par_steps_add_up():
    image, probabilities = random_picture(20, 25), random_probabilities(2, 20, 25)
    twice = par(image, par(image, probabilities, iterations=2), iterations=3)
    torch.testing.assert_close(twice, par(image, probabilities, iterations=5))


def test_par_moves_the_boundary_to_the_colour_edge():
    image, truth = two_colours()
    for column in (EDGE - 6, EDGE + 6):
        probabilities = soft_edge(column)
        before = intersection_over_union(probabilities[1] > 0.5, truth)
        after = intersection_over_union(par(image, probabilities)[1] > 0.5, truth)
        assert before < 0.85
        assert after > 0.99


def test_par_mixes_nothing_across_a_colour_edge():
    """Labels that already end at the edge stay: what leaks is the position kernel's share, 1 % a step at most."""
    image, truth = two_colours()
    probabilities = torch.stack([~truth, truth]).float()
    refined = par(image, probabilities, iterations=5)
    assert (refined - probabilities).abs().max() < 0.05


def test_par_on_one_colour_is_plain_smoothing():
    """A single spike spreads by the position kernel and the same weight to all neighbours, whatever the colour."""
    spike = torch.zeros(21, 25)
    spike[10, 12] = 1
    probabilities = torch.stack([1 - spike, spike])
    offsets = neighbour_offsets((1, 2))
    for colour in (0, 127, 255):
        image = torch.full((3, 21, 25), colour, dtype=torch.uint8)
        spread = par(image, probabilities, iterations=1, dilations=(1, 2))[1]
        weights = torch.stack([spread[10 - dy, 12 - dx] for dy, dx in offsets])
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)
        assert (weights > 0.99 / len(offsets)).all()
        nearest = [max(abs(dy), abs(dx)) == 1 and 0 in (dy, dx) for dy, dx in offsets]
        assert weights.topk(4).indices.sort().values.tolist() == np.flatnonzero(nearest).tolist()
        assert spread.count_nonzero() == len(offsets)
        torch.testing.assert_close(spread, spread.flip(0))
        torch.testing.assert_close(spread, spread.flip(1))


@pytest.mark.parametrize("image", [random_picture(30, 31), torch.full((3, 30, 31), 90, dtype=torch.uint8)])
def test_par_keeps_constant_probabilities(image):
    constant = torch.tensor([0.2, 0.5, 0.3])[:, None, None].expand(3, 30, 31).contiguous()
    torch.testing.assert_close(par(image, constant), constant, atol=1e-5, rtol=0)


@pytest.mark.parametrize("max_side", [0, 20])
@pytest.mark.parametrize("turn", [lambda m: m.flip(1), lambda m: m.flip(2), lambda m: m.transpose(1, 2)])
def test_par_follows_flips_and_turns(turn: Callable[[Tensor], Tensor], max_side: int):
    image, probabilities = random_picture(33, 41), random_probabilities(3, 33, 41)
    refined = par(image, probabilities, iterations=4, max_side=max_side)
    torch.testing.assert_close(
        par(turn(image), turn(probabilities), iterations=4, max_side=max_side), turn(refined), atol=1e-5, rtol=0
    )


def test_par_treats_labels_alike():
    image, probabilities = random_picture(20, 25), random_probabilities(4, 20, 25)
    order = [2, 0, 3, 1]
    torch.testing.assert_close(par(image, probabilities[order]), par(image, probabilities)[order])


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (2, 3), (9, 13)])
def test_par_on_pictures_smaller_than_its_reach(size):
    probabilities = random_probabilities(2, *size)
    assert_probabilities(par(random_picture(*size), probabilities), probabilities)
    assert_probabilities(par(torch.zeros(3, *size, dtype=torch.uint8), probabilities), probabilities)
    assert_probabilities(par(random_picture(*size), probabilities, max_side=4), probabilities)


def test_par_at_reduced_size_finds_the_same_edge():
    image, truth = two_colours()
    probabilities = soft_edge(EDGE + 6)
    assert torch.equal(par(image, probabilities, max_side=WIDTH), par(image, probabilities, max_side=0))
    refined = par(image, probabilities, max_side=WIDTH // 2)
    assert_probabilities(refined, probabilities)
    assert intersection_over_union(refined[1] > 0.5, truth) > 0.95


def test_par_takes_from_alike_colours():
    """Beside an edge, what lies across it gets no more than the position kernel gives."""
    image, truth = two_colours()
    ramp = torch.arange(WIDTH).expand(HEIGHT, WIDTH) / WIDTH
    probabilities = torch.stack([~truth * ramp, truth * ramp, 1 - ramp])
    taken = par(image, probabilities, iterations=1, dilations=(1, 2))[:, HEIGHT // 2, EDGE - 1]
    assert taken[0] > 0.9 * ramp[0, EDGE - 1]
    assert taken[1] < 0.01


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_par_is_the_same_on_cuda():
    image, probabilities = random_picture(50, 60), random_probabilities(3, 50, 60)
    refined = par(image, probabilities.cuda())
    assert refined.is_cuda
    torch.testing.assert_close(refined.cpu(), par(image, probabilities), atol=1e-4, rtol=0)


# --- Dense CRF


@pytest.fixture
def crf() -> Callable[..., Tensor]:
    pytest.importorskip("pydensecrf", reason="needs pydensecrf2: pip install -r requirements-extras.txt")
    return dense_crf


def test_crf_moves_the_boundary_to_the_colour_edge(crf):
    image, truth = two_colours()
    for column in (EDGE - 6, EDGE + 6):
        probabilities = soft_edge(column)
        before = intersection_over_union(probabilities[1] > 0.5, truth)
        refined = crf(image, probabilities)
        assert_probabilities(refined, probabilities)
        assert before < 0.85
        assert intersection_over_union(refined[1] > 0.5, truth) > 0.99


def test_crf_without_iterations_changes_nothing(crf):
    probabilities = random_probabilities(3, 20, 25)
    torch.testing.assert_close(
        crf(random_picture(20, 25), probabilities, iterations=0), probabilities, atol=1e-4, rtol=0
    )


def test_crf_makes_neighbours_agree(crf):
    """On one colour a lone dissenting pixel gives way, and the certain majority stays."""
    probabilities = torch.full((2, 15, 15), 0.2)
    probabilities[0] = 0.8
    probabilities[:, 7, 7] = torch.tensor([0.3, 0.7])
    refined = crf(torch.full((3, 15, 15), 90, dtype=torch.uint8), probabilities)
    assert (refined[0] > 0.8).all()


def test_crf_treats_labels_alike(crf):
    image, probabilities = random_picture(20, 25), random_probabilities(3, 20, 25)
    order = [2, 0, 1]
    torch.testing.assert_close(crf(image, probabilities[order]), crf(image, probabilities)[order], atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 17), (17, 1), (9, 13)])
def test_crf_on_small_pictures(crf, size):
    probabilities = random_probabilities(2, *size)
    assert_probabilities(crf(random_picture(*size), probabilities), probabilities)
    assert_probabilities(crf(torch.zeros(3, *size, dtype=torch.uint8), probabilities), probabilities)


def test_crf_takes_certainty_and_views(crf):
    """Probabilities of exactly 0 and 1, and tensors that are not contiguous."""
    image, truth = two_colours()
    probabilities = torch.stack([~truth, truth]).float()
    refined = crf(image.transpose(1, 2), probabilities.transpose(1, 2))
    assert_probabilities(refined, probabilities.transpose(1, 2))
    assert torch.equal(refined[1] > 0.5, truth.T)


def test_crf_without_its_package_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UserError, match=r"requirements-extras\.txt.*pseudo\.refine: par"):
        dense_crf(random_picture(4, 4), random_probabilities(2, 4, 4))


# --- By name


def test_refine_by_name():
    image, probabilities = random_picture(20, 25), random_probabilities(2, 20, 25)
    assert torch.equal(refine("none", image, probabilities, par_iterations=3, crf_iterations=3), probabilities)
    assert torch.equal(
        refine("par", image, probabilities, par_iterations=3, crf_iterations=5), par(image, probabilities, 3)
    )


def test_refine_crf_by_name(crf):
    image, probabilities = random_picture(20, 25), random_probabilities(2, 20, 25)
    assert torch.equal(
        refine("crf", image, probabilities, par_iterations=5, crf_iterations=3), crf(image, probabilities, 3)
    )


@pytest.mark.parametrize("kind", ["par", "crf"])
def test_labellings_of_one_picture_share_it(kind: str):
    if kind == "crf":
        pytest.importorskip("pydensecrf")
    image = random_picture(24, 31)
    both = torch.stack([random_probabilities(3, 24, 31, seed) for seed in (1, 2)])
    together = refine(kind, image, both, par_iterations=4, crf_iterations=4)
    for labelling, refined in zip(both, together, strict=True):
        torch.testing.assert_close(refined, refine(kind, image, labelling, par_iterations=4, crf_iterations=4))


def test_unknown_refinement_is_an_error():
    with pytest.raises(ValueError, match="none, par or crf"):
        refine("median", random_picture(4, 4), random_probabilities(2, 4, 4), par_iterations=1, crf_iterations=1)
