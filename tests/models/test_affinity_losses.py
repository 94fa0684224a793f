"""IRN's losses: agreement with the published ones and with their definition."""

import math

import pytest
import torch
from torch import Tensor

from models.affinity_losses import LOSS_WEIGHTS, affinity_losses, weighted_losses
from models.paths import pair_paths
from tests.models.reference import reference


def random_case(height: int = 13, width: int = 19, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Edge logits, displacement and labels with every kind of pair in them."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor([0, 3, 7, 255])[torch.randint(4, (2, 5, 7), generator=generator)]
    labels = labels.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, :height, :width]
    edge = torch.randn(2, 1, height, width, generator=generator)
    return edge, 3 * torch.randn(2, 2, height, width, generator=generator), labels


def plain_losses(edge_logits: Tensor, field: Tensor, labels: Tensor, radius: int) -> dict[str, float]:
    """The definition, pair by pair."""
    edge, reach = edge_logits.sigmoid()[:, 0].tolist(), radius - 1
    sums = dict.fromkeys(LOSS_WEIGHTS, 0.0)
    counts = dict.fromkeys(("bg_pos", "fg_pos", "neg"), 0)
    batch, height, width = labels.shape
    for index in range(batch):
        for y in range(height - reach):
            for x in range(reach, width - reach):
                for path in pair_paths(radius):
                    dy, dx = path[-1]
                    here, there = int(labels[index, y, x]), int(labels[index, y + dy, x + dx])
                    if 255 in (here, there):
                        continue
                    affinity = 1 - max(edge[index][y + j][x + i] for j, i in path)
                    kind = "neg" if here != there else "fg_pos" if here else "bg_pos"
                    counts[kind] += 1
                    sums[kind] -= math.log(1 + 1e-5 - affinity if kind == "neg" else affinity + 1e-5)
                    for axis, offset in enumerate((dy, dx)):
                        difference = float(field[index, axis, y, x] - field[index, axis, y + dy, x + dx])
                        if kind == "fg_pos":
                            sums["disp_fg"] += abs(difference - offset)
                        elif kind == "bg_pos":
                            sums["disp_bg"] += abs(difference)
    shares = {"disp_fg": 2 * counts["fg_pos"], "disp_bg": 2 * counts["bg_pos"]} | counts
    return {name: sums[name] / (shares[name] + 1e-5) for name in sums}


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
        assert loss.item() == pytest.approx(expected[name], rel=1e-4), name
    total = ((expected["bg_pos"] + expected["fg_pos"]) / 2 + expected["neg"]) / 2
    total += (expected["disp_fg"] + expected["disp_bg"]) / 2
    assert sum(weighted_losses(losses).values()).item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("radius", [2, 3, 5])
def test_losses_are_their_definition(radius):
    edge, field, labels = random_case(seed=radius)
    losses = affinity_losses(edge, field, labels, radius)
    expected = plain_losses(edge, field, labels, radius)
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx(expected, rel=1e-4)
    assert all(expected.values())


def test_without_displacement_the_other_losses_are_the_same():
    edge, field, labels = random_case()
    both, alone = affinity_losses(edge, field, labels, 4), affinity_losses(edge, None, labels, 4)
    assert list(alone) == ["bg_pos", "fg_pos", "neg"]
    assert all(torch.equal(alone[name], both[name]) for name in alone)
    assert list(weighted_losses(alone)) == list(alone)


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 6), (12, 18)])
def test_unknown_labels_and_small_maps_give_no_loss_and_no_gradient(size):
    edge = (50 * torch.randn(2, 1, *size)).requires_grad_()
    field = torch.randn(2, 2, *size, requires_grad=True)
    fill = 255 if size == (12, 18) else 1
    losses = affinity_losses(edge, field, torch.full((2, *size), fill), 5)
    assert all(loss.item() == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert (edge.grad == 0).all()
    assert (field.grad == 0).all()


def test_losses_are_float32_under_autocast_and_finite():
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
