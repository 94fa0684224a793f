"""The losses of the segmentation network: weighted cross-entropy, Dice, and that of the whole image."""

import math

import pytest
import torch

from models.segmenter import dice_loss, segmentation_loss


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 4, 8, 8) on the grid of the loss, and masks of pixels with some that are ignored."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.randint(4, (2, 32, 32), generator=random)
    mask[torch.rand(2, 32, 32, generator=random) < 0.2] = 255
    return torch.randn(2, 4, 8, 8, generator=random), mask


def tiny_object(confidence: float) -> tuple[torch.Tensor, torch.Tensor]:
    """One cell of 1,024 is an object, and the logits call everything background, with that confidence."""
    mask = torch.zeros(1, 128, 128, dtype=torch.int64)
    mask[:, 4:8, 4:8] = 1
    return torch.tensor([confidence, 0.0])[None, :, None, None].repeat(1, 1, 32, 32), mask


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_cross_entropy_is_the_weighted_mean_of_the_cells_that_are_not_ignored(weight):
    logits, mask = random_case()
    mask[1, 16:] = 255  # so that the images have different numbers of cells
    logits.requires_grad_()
    loss = segmentation_loss(logits, mask, object_weight=weight)
    target = mask[:, 2::4, 2::4]
    valid = target != 255
    each = -logits.log_softmax(dim=1).movedim(1, -1)[valid].gather(1, target[valid][:, None])[:, 0]
    weights = torch.where(target[valid] > 0, weight, 1.0)
    torch.testing.assert_close(loss, (each * weights).sum() / weights.sum())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert ((gradient != 0).any(dim=1) == valid).all()


def test_a_mask_that_is_all_ignored_costs_nothing():
    logits = torch.randn(2, 4, 2, 3, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((2, 32, 48), 255))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_weight_one_is_the_plain_loss_and_does_not_round_otherwise():
    logits, mask = random_case()
    assert torch.equal(segmentation_loss(logits, mask, object_weight=1.0), segmentation_loss(logits, mask))


def test_dice_against_its_definition():
    logits, mask = random_case()
    target, shares = mask[:, 2::4, 2::4], logits.softmax(dim=1)
    valid, found = target != 255, []
    for value in (1, 2, 3):
        truth, share = (target == value)[valid].double(), shares[:, value][valid].double()
        found.append(1 - 2 * (truth * share).sum() / (truth.sum() + share.sum()))
    assert dice_loss(logits, mask).item() == pytest.approx(sum(found).item() / 3, rel=1e-5)


def test_dice_is_0_for_the_right_masks_and_where_there_is_no_object():
    _, mask = tiny_object(0)
    target = mask[:, 2::4, 2::4]
    right = 100.0 * torch.nn.functional.one_hot(target, 2).movedim(-1, 1)
    assert dice_loss(right, mask) < 1e-6
    assert dice_loss(right, torch.zeros_like(mask)) == 0
    assert dice_loss(right, torch.full_like(mask, 255)) == 0


def test_dice_pulls_at_the_missed_cell():
    logits, mask = tiny_object(3.0)
    logits.requires_grad_()
    dice_loss(logits, mask).backward()
    assert logits.grad is not None
    assert math.isfinite(logits.grad.abs().sum())
    assert logits.grad[0, 1, 1, 1] < 0 < logits.grad[0, 1, 20, 20]
