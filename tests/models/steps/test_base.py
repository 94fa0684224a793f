"""What a step asks a reading for, and how IBB reads other images with the steps before it."""

import pytest
import torch

from models.reading import Views, normalise_maps
from models.steps import STEPS, BackgroundBlur, ClassActivationMap, GradFusion, PartialReactivation
from models.steps.base import SimilarityStep, Step, StepSequence
from tests.models.tiny import CLASSES, SCALES, TinyBackbone, make_image, make_method, random_maps, tiny_classifier
from utils.errors import UserError

BY_NAME = {kind.name: kind for kind in STEPS}
VIEWS = Views(SCALES)
STEPS_BEFORE = (ClassActivationMap(scales=SCALES), GradFusion(), PartialReactivation())


def test_one_reading_has_what_all_steps_need_and_no_more():
    reading = StepSequence(tiny_classifier(), STEPS_BEFORE, VIEWS).read(make_image(), CLASSES)
    assert set(reading.gradients) == {2, 3}
    assert set(reading.features) == {3}
    plain = StepSequence(tiny_classifier(), STEPS_BEFORE[:1], VIEWS).read(make_image(), CLASSES)
    assert (plain.gradients, plain.features) == ({}, {})


def test_a_step_that_lacks_its_method_says_so():
    for lacking in (Step(), SimilarityStep().change):
        with pytest.raises(NotImplementedError):
            lacking(*[torch.zeros(1, 2, 2)] * (3 if isinstance(lacking, Step) else 2))


def test_another_image_is_read_at_the_scales_asked_for():
    classifier, image = tiny_classifier(), make_image(seed=3)
    found = StepSequence(classifier, STEPS_BEFORE, Views(SCALES, False))(image, CLASSES, (0.5,))
    small = StepSequence(classifier, STEPS_BEFORE, Views((0.5,), False))
    assert torch.equal(found, small.maps(small.read(image, CLASSES))["prm"])


def test_only_steps_that_need_no_gradients_are_applied_again():
    assert [step.name for step in STEPS if step.repeated_by_blur] == ["prm", "sipe"]
    assert not any(step().gradient_stages(TinyBackbone.strides) for step in STEPS if step.repeated_by_blur)
    classifier = tiny_classifier()
    before = StepSequence(classifier, STEPS_BEFORE, VIEWS)
    reading = before.read(make_image(), CLASSES)
    maps = random_maps(3, *reading.cam.shape[1:])
    again = before.repeat(maps, reading)
    assert torch.equal(again, PartialReactivation()(maps, reading, StepSequence(classifier, (), VIEWS)))
    assert torch.equal(StepSequence(classifier, STEPS_BEFORE[:2], VIEWS).repeat(maps, reading), maps)


def test_a_step_has_the_steps_before_it_and_the_maps_of_the_last():
    seen = []

    class Watch(Step):
        name, title = "watch", "watching"

        def __call__(self, maps, reading, before):
            seen.append((maps, before.steps))
            return normalise_maps(maps**2)

    steps = (*STEPS_BEFORE[:2], Watch(), BackgroundBlur(iterations=0))
    all_steps = StepSequence(tiny_classifier(), steps, VIEWS)
    found = all_steps.maps(all_steps.read(make_image(), CLASSES))
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


@pytest.mark.parametrize("name", ["prm", "sipe"])
def test_a_stride_that_no_stage_has_is_told(name):
    method = make_method(BY_NAME[name](enabled=True, strides=(32,)))
    message = rf"{name}\.strides \[32\]: the backbone has no stage of stride 32; choose from 2, 4, 8, 16"
    with pytest.raises(UserError, match=message):
        method(tiny_classifier(), make_image(), CLASSES)
