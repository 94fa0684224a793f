"""Reading a classifier: maps, gradients and features over scales and flip."""

import pytest
import torch
from torch.nn.functional import interpolate

from models import reading
from models.reading import Views, map_size, normalise_maps, read, read_features, unit_features
from tests.models.tiny import CLASSES, cams, make_image, random_features, tiny_classifier

STAGES = {"gradient_stages": (1, 2, 3), "feature_stages": (2, 4)}


def resize(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]


def both(found) -> list[torch.Tensor]:
    return [found.cam, *found.gradients.values(), *found.features.values()]


def test_at_one_scale_the_maps_are_the_classifiers_and_features_those_of_the_stages():
    classifier, image = tiny_classifier(), make_image(50, 70)
    found = read(classifier, image, CLASSES, Views(flip=False), feature_stages=(4, 2))
    torch.testing.assert_close(found.cam, resize(cams(classifier, image[None])[0, CLASSES], (7, 9)))
    torch.testing.assert_close(found.logits, classifier(image[None])[0])
    stages = classifier.backbone.stages(image[None])
    for stage in (2, 4):
        torch.testing.assert_close(found.features[stage], resize(stages[stage][0], (7, 9)))
    plain = read(classifier, image, CLASSES, Views(flip=False))
    assert torch.equal(plain.cam, found.cam)
    assert (plain.gradients, plain.features) == ({}, {})


@pytest.mark.parametrize("size", [(64, 96), (50, 71), (33, 40)])
@pytest.mark.parametrize("classes", [CLASSES, []])
def test_the_grid_has_a_cell_for_each_eight_pixels_with_classes_or_without(size, classes):
    found = read(tiny_classifier(), make_image(*size), classes, Views((1.0, 0.5)), **STAGES)
    grid, count = (-(-size[0] // 8), -(-size[1] // 8)), len(classes)
    assert map_size(*size) == grid
    assert found.cam.shape == (count, *grid)
    assert {stage: maps.shape for stage, maps in found.gradients.items()} == dict.fromkeys((1, 2, 3), (count, *grid))
    assert {stage: maps.shape for stage, maps in found.features.items()} == {2: (8, *grid), 4: (10, *grid)}
    assert found.logits.shape == (4,)


def test_features_alone_are_the_same_and_nothing_behind_them_is_computed():
    classifier, image, views = tiny_classifier(), make_image(), Views((1.0, 0.5))
    expected = read(classifier, image, [], views, feature_stages=(1, 2)).features
    called = []
    classifier.backbone.blocks[3].register_forward_hook(lambda *call: called.append(call))
    found = read_features(classifier, image, (2, 1), views)
    assert torch.equal(found[0], expected[2])
    assert torch.equal(found[1], expected[1])
    assert not called


@torch.no_grad()
def test_gradients_of_all_stages_agree_with_finite_differences():
    """Each value of F_l is moved by a little; what y_k does is its gradient."""
    classifier, image, step = tiny_classifier().double(), make_image(32, 32).double(), 1e-5
    found = read(classifier, image, CLASSES, Views(flip=False), gradient_stages=(3, 1, 2))
    for stage in (1, 2, 3):
        feature = classifier.backbone.stages(image[None])[stage]
        moves = step * torch.eye(feature.numel(), dtype=torch.float64).view(-1, *feature.shape[1:])
        later = classifier.backbone.blocks[stage + 1 :]
        ahead, behind = (classifier.logits([torch.nn.Sequential(*later)(feature + s * moves)] * 5) for s in (1, -1))
        slopes = ((ahead - behind) / (2 * step)).T.reshape(-1, *feature.shape[1:])[CLASSES]
        assert (slopes < 0).any()  # what the rectification is for
        expected = resize(slopes.clamp_min(0).sum(dim=1), (4, 4)).float()
        torch.testing.assert_close(found.gradients[stage], expected, rtol=1e-4, atol=1e-7)
        with torch.enable_grad():
            alone = read(classifier, image, CLASSES, Views(flip=False), gradient_stages=(stage,))
        torch.testing.assert_close(alone.gradients, {stage: found.gradients[stage]})


def test_scales_are_summed_and_features_and_logits_averaged():
    classifier, image, scales = tiny_classifier(), make_image(), (1.0, 0.5, 1.5)
    alone = [read(classifier, image, CLASSES, Views((scale,)), **STAGES) for scale in scales]
    for order in (scales, scales[::-1]):
        together = read(classifier, image, CLASSES, Views(order), **STAGES)
        torch.testing.assert_close(together.cam, sum(found.cam for found in alone))
        torch.testing.assert_close(together.logits, sum(found.logits for found in alone) / 3)
        for stage in STAGES["gradient_stages"]:
            torch.testing.assert_close(together.gradients[stage], sum(found.gradients[stage] for found in alone))
        for stage in STAGES["feature_stages"]:
            torch.testing.assert_close(together.features[stage], sum(found.features[stage] for found in alone) / 3)


def test_a_scale_reads_the_image_at_that_size(monkeypatch):
    classifier, seen = tiny_classifier(), []
    stages = classifier.backbone.stages
    monkeypatch.setattr(classifier.backbone, "stages", lambda x, *more: seen.append(tuple(x.shape)) or stages(x, *more))
    read(classifier, make_image(64, 100), CLASSES, Views((1.0, 0.5, 1.5, 0.1)))
    read(classifier, make_image(64, 100), CLASSES, Views(flip=False))
    least = reading.SMALLEST_SIDE
    assert seen == [(2, 3, 64, 100), (2, 3, 32, 50), (2, 3, 96, 150), (2, 3, least, least), (1, 3, 64, 100)]


def test_flipped_the_mirror_image_has_the_mirrored_maps():
    classifier, image = tiny_classifier(), make_image(50, 71)
    straight, mirrored, alone, other = (
        read(classifier, view, CLASSES, Views((1.0, 0.5), flip), **STAGES)
        for flip in (True, False)
        for view in (image, image.flip(-1))
    )
    for one, two in zip(both(straight), both(mirrored), strict=True):
        torch.testing.assert_close(one.flip(-1), two, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(straight.logits, mirrored.logits)
    assert not torch.allclose(alone.cam.flip(-1), other.cam, rtol=0.01)
    torch.testing.assert_close(straight.cam, alone.cam + other.cam.flip(-1))
    torch.testing.assert_close(straight.logits, (alone.logits + other.logits) / 2)
    torch.testing.assert_close(straight.gradients[2], alone.gradients[2] + other.gradients[2].flip(-1))
    torch.testing.assert_close(straight.features[2], (alone.features[2] + other.features[2].flip(-1)) / 2)


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
    for found in (plain, with_gradients):
        assert not any(tensor.requires_grad for tensor in (*both(found), found.logits))
    torch.testing.assert_close(plain.cam, with_gradients.cam)
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_normalised_maps_and_unit_features():
    maps = torch.rand(2, 3, 5, 6) * torch.tensor([1e-9, 1.0, 1e9]).view(3, 1, 1)
    maps[0, 1] = 0
    normal = normalise_maps(maps)
    assert normal.amax(dim=(-2, -1)).flatten().tolist() == pytest.approx([1, 0, 1, 1, 1, 1])
    torch.testing.assert_close(normalise_maps(7 * maps), normal)
    torch.testing.assert_close(normal[1, 2], maps[1, 2] / maps[1, 2].max())
    assert normalise_maps(torch.zeros(0, 4, 4)).shape == (0, 4, 4)
    stages = [random_features(4, 5, 6), 1000 * random_features(7, 5, 6, seed=1)]
    expected = torch.cat([stage / stage.norm(dim=0) / 2**0.5 for stage in stages])
    torch.testing.assert_close(unit_features(stages), expected)
    torch.testing.assert_close(expected.norm(dim=0), torch.ones(5, 6))
