"""Iterative Background Blur: the blur, and what each round reads."""

import pytest
import torch

from models.reading import Views, normalise_maps, read, unit_features
from models.steps.gfm import GradFusion
from models.steps.ibb import BackgroundBlur, blur_background, gaussian_blur
from models.steps.prm import PartialReactivation, reactivate
from tests.models.tiny import CLASSES, SCALES, make_image, make_method, random_maps, tiny_classifier


@pytest.mark.parametrize("sigma", [1.5, 3.0, 6.0])
def test_the_blur_has_the_deviation_that_it_says(sigma):
    impulse = torch.zeros(1, 91, 101, dtype=torch.float64)
    impulse[0, 45, 50] = 1
    blurred = gaussian_blur(impulse, sigma)[0]
    assert blurred.sum() == pytest.approx(1)
    for axis, middle in ((0, 45), (1, 50)):
        profile = blurred.sum(dim=1 - axis)
        positions = torch.arange(len(profile), dtype=torch.float64) - middle
        assert (profile * positions).sum() == pytest.approx(0, abs=1e-9)
        assert (profile * positions**2).sum() == pytest.approx(sigma**2, rel=0.05)  # cut off at 3 sigma: 2.7 % less
    assert blurred.max() == blurred[45, 50]


def test_an_image_of_one_colour_stays_as_it_is():
    for size in ((30, 44), (3, 5), (1, 1)):
        image = torch.tensor([0.3, -1.7, 2.0]).view(3, 1, 1).expand(3, *size).contiguous()
        torch.testing.assert_close(gaussian_blur(image, 5.0), image)
        torch.testing.assert_close(blur_background(image, random_maps(2, 2, 2), 0.3, 0.1), image)


def test_the_object_is_kept_and_the_background_blurred_relative_to_the_long_side_and_between_they_are_mixed():
    maps = torch.zeros(2, 8, 12)
    maps[0, :, :4], maps[1, :, 3], maps[0, :, 8:] = 0.6, 0.9, 0.15  # on columns 0 to 31, and from column 64 on
    for image, of_image in ((make_image(64, 96), maps), (make_image(96, 64), maps.mT)):
        blurred = gaussian_blur(image, 0.05 * 96)
        assert not torch.allclose(blurred, image, atol=0.1)
        for tau, keep in ((0.3, 1 / 2), (0.6, 1 / 4)):
            result = blur_background(image, of_image, tau, sigma=0.05)
            parts = [each if image.shape[2] == 96 else each.mT for each in (result, image, blurred)]
            found, sharp, soft = parts
            assert not torch.allclose(soft[..., 40:], sharp[..., 40:], atol=0.1)
            torch.testing.assert_close(found[..., :28], sharp[..., :28])
            torch.testing.assert_close(found[..., 40:60], soft[..., 40:60])
            torch.testing.assert_close(found[..., 68:], (keep * sharp + (1 - keep) * soft)[..., 68:])


def test_each_round_reads_the_sharp_image_blurred_by_the_mean_of_the_rounds_before():
    classifier, image = tiny_classifier(), make_image()
    trace = make_method(GradFusion(), ibb=BackgroundBlur(iterations=3, tau=1.0, sigma=0.05)).trace(
        classifier, image, CLASSES
    )
    blurred, rounds = trace.shown["ibb"], [trace.maps["gfm"]]
    assert len(blurred) == 3
    for shown in blurred:
        assert (shown - image).abs().mean() > 0.01  # else all that follows holds of itself
        torch.testing.assert_close(shown, blur_background(image, torch.stack(rounds).mean(dim=0), 1.0, 0.05))
        reading = read(classifier, shown, CLASSES, gradient_stages=(2, 3))
        rounds.append(GradFusion()(normalise_maps(reading.cam), reading, None))
    torch.testing.assert_close(trace.maps["ibb"], normalise_maps(torch.stack(rounds).mean(dim=0)))
    assert not torch.allclose(rounds[0], rounds[1])


def test_blurred_images_are_read_at_their_own_scales_and_the_mean_is_reactivated_with_features_of_the_sharp_image():
    classifier, image, blur = tiny_classifier(), make_image(), BackgroundBlur(scales=(0.5, 1.5))
    trace = make_method(GradFusion(), PartialReactivation(), blur).trace(classifier, image, CLASSES)
    (blurred,) = trace.shown["ibb"]
    once = read(classifier, blurred, CLASSES, Views((0.5, 1.5)), gradient_stages=(2, 3), feature_stages=(3,))
    again = PartialReactivation()(GradFusion()(normalise_maps(once.cam), once, None), once, None)
    mean = normalise_maps((trace.maps["prm"] + again) / 2)
    unit = unit_features([read(classifier, image, CLASSES, Views(SCALES), feature_stages=(3,)).features[3]])
    torch.testing.assert_close(trace.maps["ibb"], normalise_maps(mean + reactivate(mean, unit, 0.5, 0.2)))
