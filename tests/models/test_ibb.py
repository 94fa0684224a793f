"""The method: each module against a slow plain version of its formula, and in the limits where it must do nothing."""

import pytest
import torch
from torch.nn.functional import interpolate

from models.ibb import (
    BACKGROUND_SHARE,
    IterativeBackgroundBlur,
    blur_background,
    fuse_gradients,
    gaussian_blur,
    reactivate,
    unit_features,
)
from models.reading import normalise_maps, read
from tests.models.tiny import make_image, tiny_classifier
from utils.errors import UserError

CLASSES = [2, 0, 3]


def random_maps(*shape: int, seed: int = 0) -> torch.Tensor:
    return normalise_maps(torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) ** 2)


def random_features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) + 1


def method(**options) -> IterativeBackgroundBlur:
    """With two stages fused and all modules on, unless said otherwise."""
    return IterativeBackgroundBlur(
        **{"scales": (1.0, 0.5), "gfm_min_stride": 8, "prm_hi": 0.5, "iterations": 2} | options
    )


def plain_method(**options) -> IterativeBackgroundBlur:
    return method(**{"gfm": False, "prm": False, "iterations": 0} | options)


# Grad Fusion


def test_fusion_is_the_mean_of_the_normalised_gradients_on_top_of_the_map():
    cam = random_maps(2, 4, 5)
    gradients = 100 * torch.rand(3, 2, 4, 5)
    fused = fuse_gradients(cam, gradients)
    for k in range(2):
        plain = cam[k] + sum(gradients[stage, k] / gradients[stage, k].max() for stage in range(3)) / 3
        torch.testing.assert_close(fused[k], plain / plain.max())


def test_without_gradient_fusion_changes_nothing():
    cam = random_maps(2, 4, 5)
    assert torch.equal(fuse_gradients(cam, torch.zeros(3, 2, 4, 5)), cam)


def test_the_size_of_a_stages_gradient_does_not_matter():
    cam, gradients = random_maps(2, 4, 5), torch.rand(2, 2, 4, 5)
    scaled = gradients * torch.tensor([1e-6, 1e3]).view(2, 1, 1, 1)
    torch.testing.assert_close(fuse_gradients(cam, scaled), fuse_gradients(cam, gradients))


def test_fusion_lifts_what_the_map_left_out():
    cam, gradients = torch.zeros(1, 4, 4), torch.zeros(1, 1, 4, 4)
    cam[0, 0, 0] = 1
    gradients[0, 0, :2] = 5.0
    fused = fuse_gradients(cam, gradients)
    assert fused[0, 0, 0] == 1
    assert (fused[0, :2].flatten()[1:] == 0.5).all()
    assert (fused[0, 2:] == 0).all()


@pytest.mark.parametrize(("least", "stages"), [(1, (0, 1, 2, 3)), (4, (1, 2, 3)), (8, (2, 3)), (16, (3,))])
def test_the_stages_fused_are_the_first_of_each_stride_from_the_least_on(least, stages):
    classifier, image = tiny_classifier(), make_image()
    found = method(gfm_min_stride=least).trace(classifier, image, CLASSES).gfm
    evidence = read(classifier, image, CLASSES, scales=(1.0, 0.5), gradient_stages=stages)
    torch.testing.assert_close(found, fuse_gradients(normalise_maps(evidence.cam), evidence.gradients))


def test_with_no_stage_to_fuse_it_is_the_plain_map():
    trace = method(gfm_min_stride=32).trace(tiny_classifier(), make_image(), CLASSES)
    assert torch.equal(trace.gfm, trace.cam)


# Partial Reactivation


def test_features_are_of_unit_length_whatever_the_stages_size():
    stages = [random_features(4, 5, 6), 1000 * random_features(7, 5, 6, seed=1)]
    unit = unit_features(stages)
    assert unit.shape == (11, 5, 6)
    torch.testing.assert_close(unit.norm(dim=0), torch.ones(5, 6))
    for rows, stage in ((unit[:4], stages[0]), (unit[4:], stages[1])):
        torch.testing.assert_close(rows, stage / stage.norm(dim=0) / 2**0.5)


@pytest.mark.parametrize("value", [0.1, -3.3, 1000.1, 0.0])
def test_an_image_of_one_colour_is_like_nothing(value):
    flat = torch.full((6, 25, 31), value) * torch.linspace(0.3, 2, 6)[:, None, None]
    assert reactivate(random_maps(2, 25, 31), unit_features([flat, flat[:3]]), 0.4, 0.2).abs().max() == 0


def plain_reactivate(maps: torch.Tensor, unit: torch.Tensor, hi: float, lo: float) -> torch.Tensor:
    """Cell after cell, as the formula says it."""
    cells = [(y, x) for y in range(maps.shape[1]) for x in range(maps.shape[2])]
    best = {cell: maps[:, *cell].max() for cell in cells}
    fewest = sorted(float(value) for value in best.values())
    place = BACKGROUND_SHARE * (len(cells) - 1)
    share = fewest[int(place)] + (place - int(place)) * (fewest[int(place) + 1] - fewest[int(place)])
    ground = sum(unit[:, *cell] for cell in cells if best[cell] < lo or best[cell] <= share)
    result = torch.zeros_like(maps)
    for k in range(len(maps)):
        sure = [cell for cell in cells if maps[:, *cell].argmax() == k and maps[k, *cell] > hi]
        if not sure:
            continue
        prototype = sum(maps[k, *cell] * unit[:, *cell] for cell in sure)
        for cell in cells:
            similarity = [float(torch.cosine_similarity(unit[:, *cell], p, dim=0)) for p in (prototype, ground)]
            result[k, *cell] = max(0.0, similarity[0] - similarity[1])
        result[k] /= result[k].max().clamp_min(1e-12)
    return result


@pytest.mark.parametrize(("classes", "hi", "lo"), [(1, 0.5, 0.2), (3, 0.6, 0.3), (3, 0.3, 0.0), (2, 0.9, 0.9)])
def test_reactivation_agrees_with_the_formula(classes, hi, lo):
    maps = random_maps(classes, 6, 7, seed=classes)
    unit = unit_features([random_features(4, 6, 7), random_features(3, 6, 7, seed=5)])
    found = reactivate(maps, unit, hi, lo)
    torch.testing.assert_close(found, plain_reactivate(maps, unit, hi, lo), rtol=1e-3, atol=1e-4)
    assert found.min() >= 0
    assert found.max() <= 1


def two_regions(columns: int) -> torch.Tensor:
    """Features of an image whose first columns look one way and whose others look another; a little of each place."""
    features = torch.zeros(4, 8, 10)
    features[0, :, :columns] = 1
    features[1, :, columns:] = 1
    return unit_features([features + 0.01 * random_features(4, 8, 10)])


def test_what_looks_like_the_sure_object_lights_up_and_what_looks_like_background_does_not():
    maps = torch.zeros(1, 8, 10)
    maps[0, 2:4, 1:3] = 1.0  # the most discriminative part
    maps[0, 2:6, 4:] = 0.3  # context that neither is sure
    unit = two_regions(4)
    again = reactivate(maps, unit, hi=0.4, lo=0.2)
    assert again[0, :, :4].min() > 0.8  # the whole object
    assert again[0, :, 4:].max() < 0.05  # and nothing of the rest
    result = normalise_maps(maps + again)
    assert result[0, 7, 0] > result[0, 3, 6]
    assert maps[0, 7, 0] < maps[0, 3, 6]


def test_two_classes_select_their_own_regions():
    maps = torch.zeros(2, 8, 10)
    maps[0, 2:4, 1:3] = 1.0
    maps[1, 5:7, 7:9] = 1.0
    again = reactivate(maps, two_regions(5), hi=0.4, lo=0.2)
    assert again[0, :, :5].min() > 0.5
    assert again[1, :, 5:].min() > 0.5
    assert again[0, :, 5:].max() < 0.3
    assert again[1, :, :5].max() < 0.3


def test_a_class_that_wins_nowhere_is_not_reactivated():
    maps = random_maps(1, 6, 7)
    maps = torch.cat([maps, 0.9 * maps])
    unit = unit_features([random_features(4, 6, 7)])
    again = reactivate(maps, unit, hi=0.5, lo=0.2)
    assert again[1].abs().max() == 0
    torch.testing.assert_close(again[:1], reactivate(maps[:1], unit, hi=0.5, lo=0.2))


def test_a_class_that_is_sure_nowhere_is_not_reactivated():
    maps = torch.cat([random_maps(1, 6, 7), torch.full((1, 6, 7), 0.3)])
    assert reactivate(maps, unit_features([random_features(4, 6, 7)]), hi=0.5, lo=0.2)[1].abs().max() == 0


def test_weights_make_the_surest_cells_count_most():
    """Of two confident cells, the surer one's look is the more liked."""
    features = torch.zeros(3, 1, 40)
    features[0, 0, 0], features[1, 0, 1], features[2, 0, 2:] = 1, 1, 1
    maps = torch.zeros(1, 1, 40)
    maps[0, 0, 0], maps[0, 0, 1] = 1.0, 0.6
    again = reactivate(maps, unit_features([features]), hi=0.4, lo=0.2)[0, 0]
    assert again[0] > again[1] > again[2] == 0


def test_background_is_at_least_the_lowest_share():
    """A map that is high everywhere still has its lowest twentieth to compare with."""
    maps = torch.full((1, 1, 40), 0.9)
    maps[0, 0, 0] = 1.0
    maps[0, 0, 38:] = 0.5
    features = torch.zeros(2, 1, 40)
    features[0, 0, :38], features[1, 0, 38:] = 1, 1
    again = reactivate(maps, unit_features([features + 0.01 * random_features(2, 1, 40)]), hi=0.4, lo=0.2)[0, 0]
    assert again[:38].min() > 0.9
    assert again[38:].max() < 0.1


def test_more_rounds_reactivate_what_the_last_one_gave():
    classifier, image = tiny_classifier(), make_image()
    once, twice = (method(prm_rounds=rounds).trace(classifier, image, CLASSES) for rounds in (1, 2))
    evidence = read(classifier, image, CLASSES, scales=(1.0, 0.5), feature_stages=(3,))
    unit = unit_features(evidence.features)
    expected = once.gfm
    for trace in (once, twice):
        expected = normalise_maps(expected + reactivate(expected, unit, 0.5, 0.2))
        torch.testing.assert_close(trace.prm, expected)
    assert not torch.allclose(once.prm, twice.prm)


# Iterative Background Blur


@pytest.mark.parametrize("sigma", [1.5, 3.0, 6.0])
def test_the_blur_has_the_deviation_that_it_says(sigma):
    impulse = torch.zeros(1, 91, 101, dtype=torch.float64)
    impulse[0, 45, 50] = 1
    blurred = gaussian_blur(impulse, sigma)[0]
    assert blurred.sum() == pytest.approx(1)
    for axis, middle in ((0, 45), (1, 50)):
        profile = blurred.sum(dim=1 - axis)
        places = torch.arange(len(profile), dtype=torch.float64) - middle
        assert (profile * places).sum() == pytest.approx(0, abs=1e-9)
        assert (profile * places**2).sum() == pytest.approx(sigma**2, rel=0.05)  # cut off at 3 sigma: 2.7 % less
    assert blurred.max() == blurred[45, 50]


def test_the_blur_is_symmetric_and_keeps_channels_apart():
    image = make_image(30, 44)
    blurred = gaussian_blur(image, 4.0)
    torch.testing.assert_close(gaussian_blur(image.flip(-1), 4.0), blurred.flip(-1))
    torch.testing.assert_close(gaussian_blur(image.flip(-2), 4.0), blurred.flip(-2))
    torch.testing.assert_close(gaussian_blur(image.transpose(1, 2), 4.0), blurred.transpose(1, 2))
    for channel in range(3):
        torch.testing.assert_close(gaussian_blur(image[channel : channel + 1], 4.0)[0], blurred[channel])


@pytest.mark.parametrize("size", [(30, 44), (3, 5), (1, 1)])
def test_an_image_of_one_colour_stays_as_it_is(size):
    image = torch.tensor([0.3, -1.7, 2.0]).view(3, 1, 1).expand(3, *size).contiguous()
    torch.testing.assert_close(gaussian_blur(image, 5.0), image)
    torch.testing.assert_close(blur_background(image, random_maps(2, 2, 2), 0.3, 0.1), image)


def test_a_blurred_image_varies_less():
    image = make_image()
    spreads = [gaussian_blur(image, sigma).std() for sigma in (1.0, 3.0, 10.0)]
    assert image.std() > spreads[0] > spreads[1] > spreads[2]


def test_the_object_is_kept_and_the_background_blurred():
    image, maps = make_image(64, 96), torch.zeros(2, 8, 12)
    maps[0, :, :3], maps[1, :, 3:5] = 0.3, 0.9  # at tau and above
    result = blur_background(image, maps, tau=0.3, sigma=0.05)
    torch.testing.assert_close(result[:, :, :36], image[:, :, :36])
    torch.testing.assert_close(result[:, :, 44:], gaussian_blur(image, 0.05 * 96)[:, :, 44:])
    assert not torch.allclose(result[:, :, 44:], image[:, :, 44:], atol=0.1)


def test_between_the_two_they_are_mixed():
    image, half = make_image(64, 96), torch.full((1, 8, 12), 0.15)
    blurred = gaussian_blur(image, 0.05 * 96)
    torch.testing.assert_close(blur_background(image, half, tau=0.3, sigma=0.05), (image + blurred) / 2)
    quarter = blur_background(image, half, tau=0.6, sigma=0.05)
    torch.testing.assert_close(quarter, image / 4 + 3 * blurred / 4)


def test_the_blur_is_a_share_of_the_long_side():
    tall = make_image(96, 64)
    torch.testing.assert_close(blur_background(tall, torch.zeros(1, 12, 8), 0.3, 0.05), gaussian_blur(tall, 0.05 * 96))


def test_each_round_reads_the_sharp_image_blurred_by_the_mean_of_the_rounds_before():
    classifier, image = tiny_classifier(), make_image()
    trace = method(prm=False, iterations=3, tau=1.0, sigma=0.05).trace(classifier, image, CLASSES)
    assert (len(trace.rounds), len(trace.blurred)) == (4, 3)
    assert all(
        (blurred - image).abs().mean() > 0.01 for blurred in trace.blurred
    )  # else all that follows holds of itself
    for number in range(3):
        mean = torch.stack(trace.rounds[: number + 1]).mean(dim=0)
        torch.testing.assert_close(trace.blurred[number], blur_background(image, mean, 1.0, 0.05))
        again = method(prm=False, iterations=0, scales=(1.0,)).trace(classifier, trace.blurred[number], CLASSES)
        torch.testing.assert_close(trace.rounds[number + 1], again.gfm)
    torch.testing.assert_close(trace.ibb, normalise_maps(torch.stack(trace.rounds).mean(dim=0)))
    assert not torch.allclose(trace.rounds[0], trace.rounds[1])


def test_blurred_images_are_read_at_their_own_scales():
    classifier, image = tiny_classifier(), make_image()
    trace = plain_method(iterations=1, blur_scales=(0.5, 1.5)).trace(classifier, image, CLASSES)
    evidence = read(classifier, trace.blurred[0], CLASSES, scales=(0.5, 1.5))
    torch.testing.assert_close(trace.rounds[1], normalise_maps(evidence.cam))


# The whole


def test_without_its_modules_it_is_the_class_activation_map():
    classifier, image = tiny_classifier(), make_image()
    evidence = read(classifier, image, CLASSES, scales=(1.0, 0.5))
    assert torch.equal(plain_method()(classifier, image, CLASSES), normalise_maps(evidence.cam))
    flat = plain_method(scales=(1.0,), flip=False)(classifier, image, CLASSES)
    cams = interpolate(classifier.cams(image[None])[:, CLASSES], (8, 12), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(flat, normalise_maps(cams))


def test_each_rung_is_the_result_with_the_later_modules_off():
    classifier, image = tiny_classifier(), make_image()
    trace = method().trace(classifier, image, CLASSES)
    torch.testing.assert_close(trace.cam, plain_method()(classifier, image, CLASSES))
    torch.testing.assert_close(trace.gfm, method(prm=False, iterations=0)(classifier, image, CLASSES))
    torch.testing.assert_close(trace.prm, method(iterations=0)(classifier, image, CLASSES))
    torch.testing.assert_close(trace.ibb, method()(classifier, image, CLASSES))
    torch.testing.assert_close(trace.logits, read(classifier, image, CLASSES, scales=(1.0, 0.5)).logits)
    rungs = [trace.cam, trace.gfm, trace.prm, trace.ibb]
    for number, rung in enumerate(rungs):
        assert all(not torch.allclose(rung, other, atol=0.01) for other in rungs[number + 1 :])


def test_a_module_that_is_off_leaves_its_rung_as_the_one_before():
    classifier, image = tiny_classifier(), make_image()
    off = method(gfm=False).trace(classifier, image, CLASSES)
    assert torch.equal(off.gfm, off.cam)
    off = method(prm=False).trace(classifier, image, CLASSES)
    assert torch.equal(off.prm, off.gfm)
    off = method(iterations=0).trace(classifier, image, CLASSES)
    assert torch.equal(off.ibb, off.prm)
    assert (off.blurred, len(off.rounds)) == ([], 1)


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_maps_are_in_0_to_1_on_the_grid(size):
    trace = method().trace(tiny_classifier(), make_image(*size), CLASSES)
    for maps in (trace.cam, trace.gfm, trace.prm, trace.ibb, *trace.rounds):
        assert maps.shape == (3, -(-size[0] // 8), -(-size[1] // 8))
        assert maps.dtype == torch.float32
        assert maps.min() >= 0
        assert maps.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1])
        assert not maps.requires_grad


def test_the_mirror_image_has_the_mirrored_maps():
    classifier, image = tiny_classifier(), make_image()
    straight, mirrored = (method()(classifier, x, CLASSES) for x in (image, image.flip(-1)))
    torch.testing.assert_close(straight.flip(-1), mirrored, rtol=1e-3, atol=1e-3)
    unflipped = [method(flip=False)(classifier, x, CLASSES) for x in (image, image.flip(-1))]
    assert not torch.allclose(unflipped[0].flip(-1), unflipped[1], atol=0.01)


def test_the_order_of_the_classes_does_not_matter():
    classifier, image = tiny_classifier(), make_image()
    one = method()(classifier, image, [0, 1, 2, 3])
    other = method()(classifier, image, [2, 3, 0, 1])
    torch.testing.assert_close(one[[2, 3, 0, 1]], other, rtol=1e-3, atol=1e-4)


def test_one_class_alone():
    maps = method()(tiny_classifier(), make_image(), [1])
    assert maps.shape == (1, 8, 12)
    assert maps.max() == 1


def test_no_classes_give_no_maps():
    trace = method().trace(tiny_classifier(), make_image(50, 71), [])
    for maps in (trace.cam, trace.gfm, trace.prm, trace.ibb):
        assert maps.shape == (0, 7, 9)
    assert (len(trace.rounds), trace.blurred) == (1, [])


def test_a_class_without_any_evidence_does_not_break_the_others():
    classifier = tiny_classifier()
    classifier.classifier.weight.data[1] = 0
    maps = method()(classifier, make_image(), [0, 1])
    assert maps.isfinite().all()
    assert maps[1].max() == 0
    assert maps[0].max() == 1


def test_the_same_image_gives_the_same_maps():
    classifier = tiny_classifier()
    before = {name: values.clone() for name, values in classifier.state_dict().items()}
    one, other = (method()(classifier, make_image(), CLASSES) for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(values, before[name]) for name, values in classifier.state_dict().items())


def test_mixed_precision_gives_nearly_the_same_maps():
    classifier, image = tiny_classifier(), make_image()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = plain_method(gfm=True)(classifier, image, CLASSES)
    full = plain_method(gfm=True)(classifier, image, CLASSES)
    assert mixed.dtype == torch.float32
    assert (mixed - full).abs().mean() < 0.03


def test_a_stride_that_no_stage_has_is_told():
    with pytest.raises(
        UserError, match=r"prm\.strides \[32\]: the backbone has no stage of stride 32; choose from 2, 4, 8, 16"
    ):
        method(prm_strides=(32,))(tiny_classifier(), make_image(), CLASSES)


def test_the_stages_compared_are_the_first_of_their_strides():
    classifier, image = tiny_classifier(), make_image()
    found = method(prm_strides=(4, 16), gfm=False, iterations=0)(classifier, image, CLASSES)
    evidence = read(classifier, image, CLASSES, scales=(1.0, 0.5), feature_stages=(1, 3))
    cam = normalise_maps(evidence.cam)
    plain = normalise_maps(cam + reactivate(cam, unit_features(evidence.features), 0.5, 0.2))
    torch.testing.assert_close(found, plain)
