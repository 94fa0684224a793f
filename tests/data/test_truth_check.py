"""Truth that cannot be right: all masks of a list together."""

from pathlib import Path

import pytest

from data.artifacts import voc_palette
from data.dataset import Record
from data.mask_values import AS_IS, MaskFacts, truth_rule
from data.truth_check import judge

NAMES = ("cat", "dog")
RULE = truth_rule({}, NAMES, "background", voc_palette())
CAT, DOG, BLACK = "#800000", "#008000", "#000000"


def rows(*pairs, colours=()) -> list[tuple[Record, MaskFacts]]:
    """Images of (labels, values in the mask)."""
    return [
        (
            Record(f"p{number}", Path(f"p{number}.jpg"), labels, Path(f"p{number}.png")),
            MaskFacts(tuple(map(str, values)), tuple(values), colours[number] if colours else ()),
        )
        for number, (labels, values) in enumerate(pairs)
    ]


def test_masks_that_agree_with_their_labels():
    verdict = judge(rows(((0,), (0, 1)), ((1,), (0, 2, 255)), ((), (0,))), RULE, NAMES)
    assert (verdict.problems, verdict.notes) == ([], [])


@pytest.mark.parametrize("count", [1, 4])
def test_zero_and_255_where_labels_name_a_class(count):
    verdict = judge(rows(*[((0,), (0, 255))] * count), RULE, NAMES)
    assert "data.mask_values={0: background, 255: cat}" in verdict.problems[0]
    verdict = judge(rows(((0,), (0, 255)), ((1,), (0, 255))), RULE, NAMES)
    assert "data.mask_values={0: background, 255: label}" in verdict.problems[0]


def test_ignore_alone_is_right_where_a_setting_says_so_or_no_label_is_there():
    named = truth_rule({"0": "background", "255": "ignore"}, NAMES, "background", voc_palette())
    assert "mask_values={" not in "".join(judge(rows(((0,), (0, 255))), named, NAMES).problems)
    assert judge(rows(((), (0, 255))), RULE, NAMES).problems == []


def test_a_class_that_no_mask_holds():
    """Masks of 0 and 1 for two classes: half of the images agree by chance."""
    verdict = judge(rows(*[((0,), (0, 1))] * 3, *[((1,), (0, 1))] * 3), RULE, NAMES)
    assert verdict.problems[0].startswith("no mask of the list holds dog (3 images)")


def test_many_images_that_contradict_their_labels_are_refused_and_few_are_noted():
    wrong, right = [((0,), (0, 2))], [((0,), (0, 1)), ((1,), (0, 2))]
    verdict = judge(rows(*wrong * 5, *right * 2), RULE, NAMES)
    assert verdict.problems[0].startswith("the masks of 5 of 9 images contradict the labels")
    verdict = judge(rows(*wrong * 2, *right * 2), RULE, NAMES)
    assert verdict.problems == []
    assert verdict.notes == [
        "the masks of 2 images lack a class that is among their labels, first p0.jpg",
        "the masks of 2 images hold classes that are not among their labels, first p0.jpg",
    ]


def test_images_without_any_labels_contradict_nothing():
    assert judge(rows(*[((), (0, 1, 2))] * 5), RULE, NAMES).problems == []


def test_values_of_no_class_are_told_once_with_the_line_to_add():
    verdict = judge(rows(*[((0,), (0, 8))] * 3, *[((1,), (0, 12, 255))] * 3), AS_IS, NAMES)
    assert len(verdict.problems) == 1
    assert "p0.png has value 8; expected 0..2 or 255; 6 masks have such values (8, 12)" in verdict.problems[0]
    assert "{0: background, 8: cat, 12: dog, 255: ignore}" in verdict.problems[0]


def test_palettes_with_the_classes_colours_at_other_values():
    swapped = ((0, BLACK), (1, DOG), (2, CAT))
    pairs = [((0,), (0, 1)), ((1,), (0, 2))]
    verdict = judge(rows(*pairs, colours=[swapped, swapped]), RULE, NAMES)
    assert verdict.problems == []  # labels agree with the values, so it is only told
    assert f'{{"{BLACK}": background, "{DOG}": dog, "{CAT}": cat}}' in verdict.notes[0]
    inverted = ((0, CAT), (1, BLACK))
    verdict = judge(rows(((0,), (0, 1)), colours=[inverted]), RULE, NAMES)
    assert "value 0 has #800000, the colour of cat" in verdict.problems[0]


def test_a_palette_of_its_own_says_nothing():
    own = ((0, "#ffffff"), (1, "#123456"))
    assert judge(rows(((0,), (0, 1)), colours=[own]), RULE, NAMES).notes == []
    right = ((0, BLACK), (1, CAT))
    assert judge(rows(((0,), (0, 1)), colours=[right]), RULE, NAMES).notes == []


def test_faults_of_one_cause_are_one_problem():
    faults = [
        (record, MaskFacts(("7",), problem=f"{record.mask} holds 7", kind="unnamed"))
        for record, _ in rows(*[((0,), ())] * 4)
    ]
    assert judge(faults, RULE, NAMES).problems == ["p0.png holds 7 (4 masks have this fault)"]
    colours = [(record, MaskFacts((BLACK, CAT), problem="x", kind="colour")) for record, _ in rows(*[((0,), ())] * 4)]
    assert f'{{"{BLACK}": background, "{CAT}": cat}}' in judge(colours, RULE, NAMES).problems[0]
    many = [
        (record, MaskFacts(tuple(f"#{n:06x}" for n in range(30)), problem="x", kind="colour")) for record, _ in colours
    ]
    assert "more than 24 colours" in judge(many, RULE, NAMES).problems[0]


def test_no_mask_at_all():
    assert judge([], RULE, NAMES).problems == []
