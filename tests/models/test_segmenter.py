"""The segmentation network: its probabilities, and its losses: weighted cross-entropy and Dice."""

import math

import pytest
import torch
from torch.nn.functional import interpolate

from models.chain import stage_index
from models.pseudo import upsample
from models.segmenter import Segmenter, class_probabilities, dice_loss, most_likely, restrict_to, segmentation_loss
from tests.models.tiny import TinyBackbone, make_image
from utils.errors import UserError

CLASSES = 4


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    torch.manual_seed(0)
    network = Segmenter(TinyBackbone(), CLASSES).eval()
    network.head[-1].weight.data.mul_(100)  # far from one probability for all
    return network


@pytest.mark.parametrize(
    ("stage", "strides", "stride"),
    [(-1, (), 16), (2, (), 8), (0, (), 2), (-1, (4, 8), 4), (-1, (8,), 8), (-1, (8, 4), 4), (-1, (16, 2), 2)],
)
def test_logits_are_on_the_finest_grid_that_is_joined_and_every_joined_stage_has_a_say(stage, strides, stride):
    network = Segmenter(TinyBackbone(), CLASSES, stage, strides)
    x = make_image(32, 48)[None]
    logits = network.train()(x)  # one image is enough to train
    segmentation_loss(logits, (x[:, 0] > 0).long() * 2).backward()
    assert logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in network.head.parameters())
    network.eval()
    features = [found.detach().requires_grad_() for found in network.backbone.stages(torch.randn(2, 3, 50, 71))]
    network.backbone.stages = lambda x, **more: features
    logits = network(torch.randn(2, 3, 50, 71))
    assert logits.shape == (2, CLASSES, math.ceil(50 / stride), math.ceil(71 / stride))
    assert network.num_classes == CLASSES
    logits.square().sum().backward()
    heard = {number for number, stage in enumerate(features) if stage.grad is not None and stage.grad.abs().max() > 0}
    last = {2: 0, 4: 1, 8: 2, 16: 4}  # stage of each stride
    assert heard == {stage % 5, *(last[each] for each in strides)}


def test_a_stage_that_is_not_there_is_told():
    assert [stage_index(TinyBackbone(), position, "segment.stage") for position in (-5, -1, 0, 4)] == [0, 4, 0, 4]
    for stage in (-6, 5):
        with pytest.raises(UserError, match=rf"segment\.stage: there is no stage {stage}; .*give -5\.\.4"):
            Segmenter(TinyBackbone(), CLASSES, stage)
    message = r"segment\.decoder_strides \[4, 32\]: .* no stage of stride 32; choose from 2, 4, 8, 16"
    with pytest.raises(UserError, match=message):
        Segmenter(TinyBackbone(), CLASSES, -1, (4, 32))


def test_probabilities_sum_to_one_at_the_size_that_was_asked_for(segmenter):
    for size in ((48, 80), (40, 1), (1, 40), (1, 1), (3, 200)):
        found = class_probabilities(segmenter, make_image(*size), (0.5, 1.0, 1.5), True, (61, 33))
        assert found.shape == (CLASSES, 61, 33)
        assert found.dtype == torch.float32
        assert found.min() >= 0
        torch.testing.assert_close(found.sum(dim=0), torch.ones(61, 33))


def test_scales_are_averaged_in_any_order_and_each_is_the_networks_softmax(segmenter):
    image = make_image(48, 80)
    with torch.no_grad():
        logits = interpolate(segmenter(image[None]), (12, 20), mode="bilinear", align_corners=False)
        expected = interpolate(logits.softmax(dim=1), (48, 80), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(class_probabilities(segmenter, image, (1.0,), False, (48, 80)), expected)
    alone = [class_probabilities(segmenter, image, (scale,), True, (48, 80)) for scale in (0.5, 1.0, 2.0)]
    together = class_probabilities(segmenter, image, (2.0, 0.5, 1.0), True, (48, 80))
    torch.testing.assert_close(together, sum(alone) / 3)
    assert not torch.allclose(alone[0], alone[1], atol=0.01)


@pytest.mark.parametrize("width", [80, 71])
def test_flipped_the_mirror_image_has_the_mirrored_probabilities(segmenter, width):
    image, size = make_image(48, width), (48, width)
    straight = class_probabilities(segmenter, image, (1.0, 0.75), True, size)
    mirrored = class_probabilities(segmenter, image.flip(-1), (1.0, 0.75), True, size)
    torch.testing.assert_close(straight.flip(-1), mirrored, rtol=1e-3, atol=1e-4)
    one, other = (class_probabilities(segmenter, x, (1.0,), False, size) for x in (image, image.flip(-1)))
    assert not torch.allclose(one.flip(-1), other, atol=0.01)
    torch.testing.assert_close(class_probabilities(segmenter, image, (1.0,), True, size), (one + other.flip(-1)) / 2)


def test_the_mask_is_the_argmax_of_all_enlarged_probabilities_and_background_where_they_say_nothing():
    between = torch.zeros(5, 2, 2)  # the background wins in no cell, but between them
    between[0] = 0.3
    between[1:] = 0.7 * torch.eye(4).view(4, 2, 2)
    random = [(sharpness * torch.randn(CLASSES, 9, 13)).softmax(dim=0) for sharpness in (0.0, 0.1, 1.0, 8.0)]
    for cells in (between, *random):
        for size in ((37, 52), (9, 13), (8, 8), (3, 2)):
            assert torch.equal(most_likely(cells, size), upsample(cells, size).argmax(dim=0))
    assert (between.argmax(dim=0) > 0).all()
    assert (most_likely(between, (8, 8)) == 0).any()
    for value in (0.0, float("nan")):
        assert not most_likely(torch.full((CLASSES, 3, 4), value), (9, 13)).any()


def test_only_the_given_classes_and_the_background_are_left():
    probabilities = torch.rand(CLASSES, 5, 6).softmax(dim=0)
    left = restrict_to(probabilities, [2, 0])
    assert torch.equal(left[[0, 1, 3]], probabilities[[0, 1, 3]])
    assert left[2].abs().max() == 0
    assert not restrict_to(probabilities, []).argmax(dim=0).any()
    assert torch.equal(restrict_to(probabilities, range(CLASSES - 1)), probabilities)


@pytest.mark.parametrize("loss", [segmentation_loss, dice_loss])
def test_a_mask_that_is_all_ignored_costs_nothing(loss):
    logits = torch.randn(2, 4, 2, 3, requires_grad=True)
    found = loss(logits, torch.full((2, 32, 48), 255))
    found.backward()
    assert found.item() == 0
    assert not logits.grad.any()


def random_case(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (2, 4, 8, 8) on the grid of the loss, and masks of pixels with some that are ignored."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.randint(4, (2, 32, 32), generator=random)
    mask[torch.rand(2, 32, 32, generator=random) < 0.2] = 255
    return torch.randn(2, 4, 8, 8, generator=random), mask


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


def test_dice_against_its_definition_is_0_without_objects_and_pulls_at_one_cell_of_a_thousand():
    logits, mask = random_case()
    target, shares = mask[:, 2::4, 2::4], logits.softmax(dim=1)
    valid, found = target != 255, []
    for value in (1, 2, 3):
        truth, share = (target == value)[valid].double(), shares[:, value][valid].double()
        found.append(1 - 2 * (truth * share).sum() / (truth.sum() + share.sum()))
    assert dice_loss(logits, mask).item() == pytest.approx(sum(found).item() / 3, rel=1e-5)
    mask = torch.zeros(1, 128, 128, dtype=torch.int64)
    logits = torch.tensor([3.0, 0.0])[None, :, None, None].repeat(1, 1, 32, 32).requires_grad_()
    assert dice_loss(logits, mask) == 0
    mask[:, 4:8, 4:8] = 1  # one cell, and the logits call everything background
    dice_loss(logits, mask).backward()
    assert logits.grad[0, 1, 1, 1] < 0 < logits.grad[0, 1, 20, 20]
