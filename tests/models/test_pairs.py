"""Pairs, paths and IRN's losses: agreement with the published ones, and with plain loops."""

import itertools

import pytest
import torch
from torch import Tensor

from models.pairs import LOSS_WEIGHTS, affinity_losses, pair_offsets, pair_paths, path_maxima
from tests.models.reference import reference


def plain_maxima(edge: Tensor, radius: int) -> Tensor:
    """Pair by pair, source by source."""
    reach, (height, width) = radius - 1, edge.shape[-2:]

    def along(path: tuple[tuple[int, int], ...], y: int, x: int) -> Tensor:
        return torch.stack([edge[:, y + dy, x + dx] for dy, dx in path]).amax(dim=0)

    rows, columns = range(height - reach), range(reach, width - reach)
    maxima = [torch.stack([along(path, y, x) for y in rows for x in columns], dim=-1) for path in pair_paths(radius)]
    return torch.stack(maxima, dim=1).unflatten(2, (len(rows), len(columns)))


@pytest.mark.parametrize("radius", [3, 5, 10])
def test_a_path_is_the_cells_less_than_one_from_the_line_of_the_published_pairs_shorter_paths_first(radius):
    ends, paths = pair_offsets(radius), pair_paths(radius)
    disc = {(dy, dx) for dy in range(radius) for dx in range(-radius, radius) if dy * dy + dx * dx < radius * radius}
    assert len(set(ends)) == len(ends)
    assert {*ends, *((0, -dx) for dy, dx in ends if not dy), (0, 0)} == disc
    assert [len(path) for path in paths] == sorted(map(len, paths))
    for path in paths:
        dy, dx = path[-1]
        box = itertools.product(range(min(0, dy), max(0, dy) + 1), range(min(0, dx), max(0, dx) + 1))
        near = {(y, x) for y, x in box if (dy * x - dx * y) ** 2 / (dy * dy + dx * dx) < 1}
        assert set(path) == near
        assert len(path) == len(near)
        assert (path[0], path[-1]) == ((0, 0), (dy, dx))
    published = reference("paths.npz")
    offsets, lengths = (published[f"radius{radius}_{what}"].tolist() for what in ("offsets", "lengths"))
    assert dict(zip(map(tuple, offsets), lengths, strict=True)) == {path[-1]: len(path) for path in paths}
    assert len(ends) == len(offsets)
    assert [len(path) for path in paths] == lengths


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
    equal = torch.zeros(3, *size, requires_grad=True)  # a gradient is split among equal cells, and none is lost
    path_maxima(equal, radius).sum().backward()
    assert equal.grad.sum() == pytest.approx(3 * found[path_maxima][0][0].numel(), rel=1e-5)
    assert (equal.grad >= 0).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 30), (4, 50), (30, 7), (50, 8), (0, 0), (30, 1)])
def test_maps_too_small_for_a_neighbourhood_have_no_maxima(size):
    edge = torch.zeros(3, *size, requires_grad=True)
    maxima = path_maxima(edge, 5)
    assert (maxima.shape[:2], maxima.numel()) == ((3, len(pair_paths(5))), 0)
    maxima.sum().backward()
    assert not edge.grad.any()


def random_case(height: int = 13, width: int = 19, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Edge logits, displacement and labels with every kind of pair in them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 3, 7, 255])[torch.randint(4, (2, 5, 7), generator=generator)]
    labels = labels.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, :height, :width]
    edge = torch.randn(2, 1, height, width, generator=generator)
    return edge, 3 * torch.randn(2, 2, height, width, generator=generator), labels


@pytest.mark.parametrize("case", [0, 1])
def test_losses_agree_with_the_published_ones(case):
    arrays = reference("affinity_loss.npz")
    edge, field, labels = (
        torch.from_numpy(arrays[f"case{case}_{name}"]) for name in ("edge_logit", "displacement", "label")
    )
    losses = affinity_losses(edge, field, labels, int(arrays[f"case{case}_radius"]))
    assert list(losses) == list(LOSS_WEIGHTS)
    expected = {name: float(arrays[f"case{case}_{name}"]) for name in losses}
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(LOSS_WEIGHTS[name] * expected[name], rel=1e-4), name
    total = ((expected["bg_pos"] + expected["fg_pos"]) / 2 + expected["neg"]) / 2
    total += (expected["disp_fg"] + expected["disp_bg"]) / 2
    assert sum(losses.values()).item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_losses_are_their_definition_and_without_displacement_the_others_are_the_same(radius):
    edge, field, labels = random_case(seed=radius)
    losses = affinity_losses(edge, field, labels, radius)
    affinity, found = 1 - plain_maxima(edge.sigmoid()[:, 0], radius), {name: [] for name in LOSS_WEIGHTS}
    rows, columns = affinity.shape[2:]

    def cells(maps: Tensor, dy: int = 0, dx: int = 0) -> Tensor:
        return maps[..., dy : dy + rows, radius - 1 + dx : radius - 1 + dx + columns]

    for number, (dy, dx) in enumerate(pair_offsets(radius)):
        here, there = cells(labels), cells(labels, dy, dx)
        difference = cells(field) - cells(field, dy, dx)
        to_centre = difference - torch.tensor([dy, dx]).view(2, 1, 1)
        is_known = (here != 255) & (there != 255)
        for name, is_kind in (("bg_pos", here == 0), ("fg_pos", here > 0)):
            pairs = is_known & is_kind & (here == there)
            found[name].append(-(affinity[:, number][pairs] + 1e-5).log())
            distance = difference if name == "bg_pos" else to_centre
            found[f"disp_{name[:2]}"].append(distance.abs().movedim(1, -1)[pairs].flatten())
        found["neg"].append(-(1 + 1e-5 - affinity[:, number])[is_known & (here != there)].log())
    assert list(losses) == list(found)
    for name, each in found.items():
        values = torch.cat(each)
        expected = LOSS_WEIGHTS[name] * values.sum().item() / (len(values) + 1e-5)
        assert losses[name].item() == pytest.approx(expected, rel=1e-4)
        assert expected > 0
    alone = affinity_losses(edge, None, labels, radius)
    assert list(alone) == ["bg_pos", "fg_pos", "neg"]
    assert all(torch.equal(alone[name], losses[name]) for name in alone)


def test_losses_are_float32_under_autocast_finite_and_0_of_unknown_labels_and_small_maps():
    for size in ((1, 1), (3, 40), (40, 6), (30, 1), (0, 0), (12, 18)):
        edge, field = (torch.randn(2, count, *size, requires_grad=True) for count in (1, 2))
        fill = 255 if size == (12, 18) else 1
        losses = affinity_losses(50 * edge, field, torch.full((2, *size), fill), 5)
        assert all(loss.item() == 0 for loss in losses.values())
        sum(losses.values()).backward()
        assert not edge.grad.any()
        assert not field.grad.any()
    edge, field, labels = random_case()
    expected = affinity_losses(edge.bfloat16().float(), field.bfloat16().float(), labels, 4)
    with torch.autocast("cpu", torch.bfloat16):
        losses = affinity_losses(edge.bfloat16(), field.bfloat16(), labels, 4)
    for name, loss in losses.items():
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-5)
    edge = torch.tensor([-100.0, 100.0])[torch.randint(2, (2, 1, 13, 19))].requires_grad_()
    losses = affinity_losses(edge, None, labels, 4)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert edge.grad.isfinite().all()
