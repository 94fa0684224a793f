"""Reading a classifier: maps, gradients and features over scales and flip."""

import pytest
import torch
from torch.nn.functional import interpolate

from models import cam
from models.reading import map_size, normalise_maps, read
from tests.models.tiny import make_image, tiny_classifier

CLASSES = [2, 0, 3]
STAGES = {"gradient_stages": (1, 2, 3), "feature_stages": (2, 4)}


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def both(evidence) -> list[torch.Tensor]:
    return [evidence.cam, evidence.gradients, *evidence.features]


def test_at_one_scale_the_maps_are_the_classifiers():
    classifier, image = tiny_classifier(), make_image(50, 70)
    evidence = read(classifier, image, CLASSES, flip=False)
    expected = resize(classifier.cams(image[None])[0, CLASSES], (7, 9))
    torch.testing.assert_close(evidence.cam, expected)
    torch.testing.assert_close(evidence.logits, classifier(image[None])[0])
    assert evidence.gradients.shape == (0, 3, 7, 9)
    assert evidence.features == []


def test_logits_are_the_mean_of_the_image_and_its_mirror_image():
    classifier, image = tiny_classifier(), make_image(50, 70)
    expected = classifier(torch.stack([image, image.flip(-1)])).mean(dim=0)
    torch.testing.assert_close(read(classifier, image, CLASSES, flip=True).logits, expected)


@pytest.mark.parametrize("size", [(64, 96), (50, 71), (33, 40)])
def test_the_grid_has_a_cell_for_each_eight_pixels(size):
    evidence = read(tiny_classifier(), make_image(*size), CLASSES, **STAGES, scales=(1.0, 0.5))
    grid = (-(-size[0] // 8), -(-size[1] // 8))
    assert map_size(*size) == grid
    assert evidence.cam.shape == (3, *grid)
    assert evidence.gradients.shape == (3, 3, *grid)
    assert [feature.shape for feature in evidence.features] == [(8, *grid), (10, *grid)]


def test_features_are_those_of_the_stages():
    classifier, image = tiny_classifier(), make_image()
    evidence = read(classifier, image, CLASSES, flip=False, feature_stages=(4, 2))
    stages = classifier.backbone.stages(image[None])
    torch.testing.assert_close(evidence.features[0], resize(stages[4][0], (8, 12)))
    torch.testing.assert_close(evidence.features[1], resize(stages[2][0], (8, 12)))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_gradients_agree_with_finite_differences(stage):
    """Each value of F_l is moved by a little; what y_k does is its gradient."""
    classifier, image = tiny_classifier().double(), make_image(32, 32).double()
    with torch.no_grad():
        feature = classifier.backbone.stages(image[None])[stage]
        step = 1e-5
        moves = step * torch.eye(feature.numel(), dtype=torch.float64).view(-1, *feature.shape[1:])

        def logits(x: torch.Tensor) -> torch.Tensor:
            for later in classifier.backbone.chain()[stage + 1 :]:
                x = later(x)
            return classifier.logits([x] * 5)

        slopes = ((logits(feature + moves) - logits(feature - moves)) / (2 * step)).T
        slopes = slopes.view(-1, *feature.shape[1:])[CLASSES]
    assert (slopes < 0).any()  # what the rectification is for
    expected = resize(slopes.clamp_min(0).sum(dim=1), (4, 4)).float()
    evidence = read(classifier, image, CLASSES, flip=False, gradient_stages=(stage,))
    torch.testing.assert_close(evidence.gradients[0], expected, rtol=1e-4, atol=1e-7)


def test_one_pass_gives_every_stage():
    classifier, image = tiny_classifier(), make_image()
    together = read(classifier, image, CLASSES, gradient_stages=(3, 1, 2))
    for row, stage in enumerate((3, 1, 2)):
        alone = read(classifier, image, CLASSES, gradient_stages=(stage,))
        torch.testing.assert_close(together.gradients[row], alone.gradients[0])


def test_scales_are_summed_and_features_and_logits_averaged():
    classifier, image, scales = tiny_classifier(), make_image(), (1.0, 0.5, 1.5)
    alone = [read(classifier, image, CLASSES, scales=(scale,), **STAGES) for scale in scales]
    together = read(classifier, image, CLASSES, scales=scales, **STAGES)
    torch.testing.assert_close(together.cam, sum(evidence.cam for evidence in alone))
    torch.testing.assert_close(together.gradients, sum(evidence.gradients for evidence in alone))
    torch.testing.assert_close(together.logits, sum(evidence.logits for evidence in alone) / 3)
    for number in range(2):
        torch.testing.assert_close(together.features[number], sum(evidence.features[number] for evidence in alone) / 3)
    again = read(classifier, image, CLASSES, scales=scales[::-1], **STAGES)
    for one, other in zip(both(together), both(again), strict=True):
        torch.testing.assert_close(one, other)


def test_a_scale_reads_the_image_at_that_size(monkeypatch):
    seen = []
    classifier = tiny_classifier()
    classifier.backbone.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    monkeypatch.setattr(
        classifier.backbone,
        "stages",
        lambda x, grad_from=None, original=classifier.backbone.stages: (
            seen.append(tuple(x.shape)) or original(x, grad_from)
        ),
    )
    read(classifier, make_image(64, 100), CLASSES, scales=(1.0, 0.5, 1.5, 0.1))
    read(classifier, make_image(64, 100), CLASSES, flip=False)
    smallest = cam.SMALLEST_SIDE
    assert seen == [(2, 3, 64, 100), (2, 3, 32, 50), (2, 3, 96, 150), (2, 3, smallest, smallest), (1, 3, 64, 100)]


def test_flipped_the_mirror_image_has_the_mirrored_maps():
    classifier, image = tiny_classifier(), make_image(50, 71)
    straight = read(classifier, image, CLASSES, scales=(1.0, 0.5), **STAGES)
    mirrored = read(classifier, image.flip(-1), CLASSES, scales=(1.0, 0.5), **STAGES)
    for one, other in zip(both(straight), both(mirrored), strict=True):
        torch.testing.assert_close(one.flip(-1), other, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(straight.logits, mirrored.logits)
    alone = read(classifier, image, CLASSES, scales=(1.0, 0.5), flip=False, **STAGES)
    other = read(classifier, image.flip(-1), CLASSES, scales=(1.0, 0.5), flip=False, **STAGES)
    assert not torch.allclose(alone.cam.flip(-1), other.cam, rtol=0.01)
    torch.testing.assert_close(straight.cam, alone.cam + other.cam.flip(-1))
    torch.testing.assert_close(straight.gradients, alone.gradients + other.gradients.flip(-1))
    torch.testing.assert_close(straight.features[0], (alone.features[0] + other.features[0].flip(-1)) / 2)


def test_classes_in_another_order_give_the_maps_in_that_order():
    classifier, image = tiny_classifier(), make_image()
    one = read(classifier, image, [0, 1, 2, 3], gradient_stages=(1, 3))
    other = read(classifier, image, [3, 1, 0], gradient_stages=(1, 3))
    torch.testing.assert_close(one.cam[[3, 1, 0]], other.cam)
    torch.testing.assert_close(one.gradients[:, [3, 1, 0]], other.gradients)


@pytest.mark.parametrize("stages", [{}, STAGES])
def test_no_classes_give_no_maps(stages):
    evidence = read(tiny_classifier(), make_image(), [], scales=(1.0, 0.5), **stages)
    assert evidence.cam.shape == (0, 8, 12)
    assert evidence.gradients.shape == (len(stages.get("gradient_stages", ())), 0, 8, 12)
    assert evidence.logits.shape == (4,)


@pytest.mark.parametrize("trainable", [False, True])
def test_only_what_the_gradients_need_is_recorded(trainable):
    classifier = tiny_classifier().requires_grad_(trainable)
    recorded = []
    for block in classifier.backbone.blocks:
        block.register_forward_hook(lambda module, args, result: recorded.append(result.requires_grad))
    plain = read(classifier, make_image(), CLASSES, feature_stages=(2,))
    assert recorded == [False] * 5
    recorded.clear()
    with_gradients = read(classifier, make_image(), CLASSES, gradient_stages=(3, 2), feature_stages=(2,))
    assert recorded == [False, False, False, True, True]
    for evidence in (plain, with_gradients):
        assert not any(tensor.requires_grad for tensor in (*both(evidence), evidence.logits))
    torch.testing.assert_close(plain.cam, with_gradients.cam)
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_inside_no_grad_there_are_gradients_all_the_same():
    with torch.no_grad():
        inside = read(tiny_classifier(), make_image(), CLASSES, gradient_stages=(2,))
    outside = read(tiny_classifier(), make_image(), CLASSES, gradient_stages=(2,))
    assert torch.equal(inside.gradients, outside.gradients)
    assert inside.gradients.max() > 0


def test_normalised_maps():
    maps = torch.rand(2, 3, 5, 6) * torch.tensor([1e-9, 1.0, 1e9]).view(3, 1, 1)
    maps[0, 1] = 0
    normal = normalise_maps(maps)
    peaks = normal.amax(dim=(-2, -1))
    assert peaks.flatten().tolist() == pytest.approx([1, 0, 1, 1, 1, 1])
    torch.testing.assert_close(normalise_maps(7 * maps), normal)
    torch.testing.assert_close(normal[1, 2], maps[1, 2] / maps[1, 2].max())
    assert normalise_maps(torch.zeros(0, 4, 4)).shape == (0, 4, 4)
