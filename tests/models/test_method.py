"""The method: what each step gives in it, what it asks a reading for, and the limits where it must do nothing."""

import itertools

import pytest
import torch
from torch.nn.functional import interpolate

from models.method import Method, SimilarityStep, Step
from models.reading import Views, normalise_maps, read
from models.steps import STEPS, BackgroundBlur, ClassActivationMap, GradFusion, PartialReactivation
from tests.models.tiny import (
    CLASSES,
    SCALES,
    TinyBackbone,
    cams,
    full_method,
    make_image,
    make_method,
    random_maps,
    tiny_classifier,
)
from utils.errors import UserError

BY_NAME = {kind.name: kind for kind in STEPS}
STEPS_BEFORE = (ClassActivationMap(scales=SCALES), GradFusion(), PartialReactivation())


def test_without_other_steps_it_is_the_class_activation_map():
    classifier, image = tiny_classifier(), make_image()
    reading = read(classifier, image, CLASSES, Views(SCALES))
    assert torch.equal(make_method()(classifier, image, CLASSES), normalise_maps(reading.cam))
    flat = Method([ClassActivationMap(scales=(1.0,), flip=False)])(classifier, image, CLASSES)
    maps = interpolate(cams(classifier, image[None])[:, CLASSES], (8, 12), mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(flat, normalise_maps(maps))


def test_the_maps_of_each_step_are_the_result_without_the_later_ones():
    classifier, image = tiny_classifier(), make_image()
    method = full_method()
    trace = method.trace(classifier, image, CLASSES)
    assert list(trace.maps) == ["cam", "gfm", "prm", "ibb"]
    for count, maps in enumerate(trace.maps.values(), 1):
        torch.testing.assert_close(maps, Method(method.steps[:count])(classifier, image, CLASSES))
    torch.testing.assert_close(trace.logits, read(classifier, image, CLASSES, Views(SCALES)).logits)
    assert all(not torch.allclose(*pair, atol=0.01) for pair in itertools.combinations(trace.maps.values(), 2))


def test_a_step_that_is_off_is_left_out():
    classifier, image = tiny_classifier(), make_image()
    first, blur = ClassActivationMap(), BackgroundBlur()
    for off, other in ((GradFusion(enabled=False), PartialReactivation()), (PartialReactivation(False), GradFusion())):
        left, right = (
            Method(steps).trace(classifier, image, CLASSES).maps
            for steps in ([first, off, other, blur], [first, other, blur])
        )
        assert list(left) == list(right) == ["cam", other.name, "ibb"]
        assert all(torch.equal(left[name], maps) for name, maps in right.items())


@pytest.mark.parametrize("size", [(64, 96), (50, 71)])
def test_maps_are_in_0_to_1_on_the_grid_and_0_for_a_class_without_evidence(size):
    classifier = tiny_classifier()
    classifier.classifier.weight.data[1] = 0
    for maps in full_method().trace(classifier, make_image(*size), [*CLASSES, 1]).maps.values():
        assert maps.shape == (4, -(-size[0] // 8), -(-size[1] // 8))
        assert maps.dtype == torch.float32
        assert maps.min() >= 0
        assert maps.amax(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1, 0])
        assert not maps.requires_grad


def test_the_same_image_gives_the_same_maps_and_mixed_precision_nearly_the_same():
    classifier, image = tiny_classifier(), make_image()
    before = {name: values.clone() for name, values in classifier.state_dict().items()}
    one, other = (full_method()(classifier, image, CLASSES) for _ in range(2))
    assert torch.equal(one, other)
    assert all(torch.equal(values, before[name]) for name, values in classifier.state_dict().items())
    method = make_method(GradFusion())
    with torch.autocast("cpu", torch.bfloat16):
        mixed = method(classifier, image, CLASSES)
    assert mixed.dtype == torch.float32
    assert (mixed - method(classifier, image, CLASSES)).abs().mean() < 0.03


def test_one_reading_has_what_all_steps_need_and_no_more_and_is_not_made_again(monkeypatch):
    classifier, image, method = tiny_classifier(), make_image(), Method(STEPS_BEFORE)
    plain = Method(STEPS_BEFORE[:1]).read(classifier, image, CLASSES)
    assert (plain.gradients, plain.features) == ({}, {})
    expected, reading = method(classifier, image, CLASSES), method.read(classifier, image, CLASSES)
    assert (set(reading.gradients), set(reading.features)) == ({2, 3}, {3})
    monkeypatch.setattr("models.method.read", lambda *_: pytest.fail("read twice"))
    assert torch.equal(method.trace(classifier, image, CLASSES, reading).maps["prm"], expected)


def test_the_first_step_says_how_to_read_and_one_that_cannot_or_lacks_its_method_is_an_error():
    views = Views((2.0,), False, 4)
    assert Method([ClassActivationMap(scales=(2.0,), flip=False, map_stride=4), GradFusion()]).views == views
    with pytest.raises(ValueError, match="must be the class activation map, found gfm"):
        Method([GradFusion()])
    for name in ("prm", "sipe"):
        method = make_method(BY_NAME[name](enabled=True, strides=(32,)))
        message = rf"{name}\.strides \[32\]: the backbone has no stage of stride 32; choose from 2, 4, 8, 16"
        with pytest.raises(UserError, match=message):
            method(tiny_classifier(), make_image(), CLASSES)
    for lacking in (Step(), SimilarityStep().change):
        with pytest.raises(NotImplementedError):
            lacking(*[torch.zeros(1, 2, 2)] * (3 if isinstance(lacking, Step) else 2))


def test_only_steps_that_need_no_gradients_are_applied_again():
    assert [step.name for step in STEPS if step.repeated_by_blur] == ["prm", "sipe"]
    assert not any(step().gradient_stages(TinyBackbone.strides) for step in STEPS if step.repeated_by_blur)
    classifier = tiny_classifier()
    before = Method(STEPS_BEFORE)
    reading = before.read(classifier, make_image(), CLASSES)
    maps = random_maps(3, *reading.cam.shape[1:])
    again = before.repeat(maps, reading)
    assert torch.equal(again, PartialReactivation()(maps, reading, Method((), before.views)))
    assert torch.equal(Method(STEPS_BEFORE[:2]).repeat(maps, reading), maps)


def test_a_step_has_the_steps_before_it_and_the_maps_of_the_last():
    seen = []

    class Watch(Step):
        name, title = "watch", "watching"

        def __call__(self, maps, reading, before):
            seen.append((maps, before.steps))
            return normalise_maps(maps**2)

    steps = (*STEPS_BEFORE[:2], Watch(), BackgroundBlur(iterations=0))
    found = Method(steps).trace(tiny_classifier(), make_image(), CLASSES).maps
    assert list(found) == ["cam", "gfm", "watch", "ibb"]
    ((maps, before),) = seen
    assert torch.equal(maps, found["gfm"])
    assert before == steps[:2]
    assert torch.equal(found["ibb"], normalise_maps(maps**2))


@pytest.mark.parametrize(
    ("step", "classes"),
    [
        *((step, CLASSES) for step in (GradFusion(min_stride=32), PartialReactivation(strides=()))),
        *((step, CLASSES) for step in (BY_NAME["sipe"](enabled=True, strides=()), BackgroundBlur(iterations=0))),
        *((BY_NAME[name](enabled=True, min_stride=32), CLASSES) for name in ("layercam", "regioncam")),
        *((kind(enabled=True), []) for kind in STEPS if kind is not ClassActivationMap),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_with_nothing_to_read_or_no_class_the_maps_stay(step, classes):
    trace = make_method(step).trace(tiny_classifier(), make_image(), classes)
    assert torch.equal(trace.maps[step.name], trace.maps["cam"])
    assert trace.shown == {}
