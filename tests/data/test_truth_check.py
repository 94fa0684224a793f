from pathlib import Path

import numpy as np
from PIL import Image

from data.artifacts import voc_palette
from data.dataset import Record
from data.mask_values import AS_IS, MaskFacts, read_with_facts, truth_rule
from data.truth_check import judge

NAMES = ("cat", "dog")
RULE = truth_rule({}, NAMES, "background", voc_palette())
CAT, DOG, BLACK = "#800000", "#008000", "#000000"
OF_CAT, OF_DOG = ((0,), (0, 1)), ((1,), (0, 2))


def rows(*pairs, colours=()) -> list[tuple[Record, MaskFacts]]:
    """Images of (labels, values in the mask)."""
    return [
        (
            Record(f"p{number}", Path(f"p{number}.jpg"), labels, Path(f"p{number}.png")),
            MaskFacts(tuple(map(str, values)), tuple(values), colours[number] if colours else ()),
        )
        for number, (labels, values) in enumerate(pairs)
    ]


def faulty(count: int, keys: tuple[str, ...], kind: str) -> list[tuple[Record, MaskFacts]]:
    return [(r, MaskFacts(keys, problem=f"{r.mask} is odd", kind=kind)) for r, _ in rows(*[((0,), ())] * count)]


def test_what_agrees_is_not_told_and_masks_without_any_class_are_refused():
    nothing = [((), (0, 255))]  # but ignore
    for given in ([OF_CAT, ((1,), (0, 2, 255)), ((), (0,))], nothing, []):
        verdict = judge(rows(*given), RULE, NAMES)
        assert (verdict.problems, verdict.notes) == ([], [])
    for given, says in (
        ([((0,), (0, 255))], r"data.mask_values={0: background, 255: cat}"),
        ([((0,), (0, 255))] * 4, r"data.mask_values={0: background, 255: cat}"),
        ([((0,), (0, 255)), ((1,), (0, 255))], r"data.mask_values={0: background, 255: label}"),
        ([((0,), (0,)), ((1,), (0,))], "hold only 0, first p0.png, although labels name classes"),
        ([((), (255,))] * 2, "hold only 255, first p0.png, so there is no object to evaluate"),
    ):
        (problem,) = judge(rows(*given), RULE, NAMES).problems
        assert says in problem


def test_masks_of_one_class_that_hold_255_and_masks_without_background_are_told():
    verdict = judge(rows(*[((0,), (0, 255))] * 3, OF_DOG), RULE, NAMES)
    assert "the masks of cat hold only 0 and 255" in verdict.problems[0]
    assert "{0: background, 2: dog, 255: cat}" in verdict.problems[0]
    assert judge(rows(*[((0,), (0, 255))] * 2, ((0,), (0, 1)), OF_DOG), RULE, NAMES).problems == []
    for values, says in ((1, 255), "{1: cat, 2: dog, 255: background}"), ((1,), "correct them, if these are objects"):
        (note,) = judge(rows(*[((0,), values)] * 3), RULE, NAMES).notes
        assert "no mask with an object has background (0)" in note
        assert says in note
    for given in ([((0, 1), (1, 2))] * 3, [((0,), (1, 255)), ((0,), (1, 255)), OF_CAT]):
        # Such as of land, and one of an object that fills its image.
        assert judge(rows(*given), RULE, NAMES).notes == []


def test_palettes_of_other_numbers_or_colours_than_the_classes_are_told_or_refused():
    red, green = "#ff0000", "#00ff00"
    given = [((0,), (0, 1))] * 3 + [((1,), (0, 1))] * 3
    colours = [((0, BLACK), (1, red))] * 3 + [((0, BLACK), (1, green))] * 3
    (problem,) = judge(rows(*given, colours=colours), RULE, NAMES).problems
    assert "value 1 has different colours in the palettes" in problem
    assert f'{{"{BLACK}": background, "{green}": dog, "{red}": cat}}' in problem
    assert judge(rows(*given[:3], colours=colours[:3]), RULE, NAMES).problems == []
    swapped = ((0, BLACK), (1, DOG), (2, CAT))
    verdict = judge(rows(OF_CAT, OF_DOG, colours=[swapped] * 2), RULE, NAMES)
    assert verdict.problems == []  # labels agree with the values, so it is only told
    assert f'{{"{BLACK}": background, "{DOG}": dog, "{CAT}": cat}}' in verdict.notes[0]
    verdict = judge(rows(*[((0,), (0, 2))] * 3, colours=[swapped] * 3), RULE, NAMES)
    assert "to read masks by colour" in verdict.problems[0]  # labels and palette both say so
    verdict = judge(rows(OF_CAT, colours=[((0, CAT), (1, BLACK))]), RULE, NAMES)
    assert "value 0 has #800000, the colour of cat" in verdict.problems[0]
    for own in (((0, "#ffffff"), (1, "#123456")), ((0, BLACK), (1, CAT))):
        assert judge(rows(OF_CAT, colours=[own]), RULE, NAMES).notes == []


def test_ignore_alone_needs_no_mapping_where_a_setting_has_one_and_faults_of_one_cause_are_one_problem():
    named = truth_rule({"0": "background", "255": "ignore"}, NAMES, "background", voc_palette())
    assert "mask_values={" not in judge(rows(((0,), (0, 255))), named, NAMES).problems[0]
    assert judge(faulty(4, ("7",), "unnamed"), RULE, NAMES).problems == ["p0.png is odd (4 masks have this fault)"]
    (problem,) = judge(faulty(4, (BLACK, CAT), "colour"), RULE, NAMES).problems
    assert f'{{"{BLACK}": background, "{CAT}": cat}}' in problem
    many = tuple(f"#{number:06x}" for number in range(30))
    assert "more than 24 colours" in judge(faulty(1, many, "colour"), RULE, NAMES).problems[0]


def test_masks_of_other_classes_than_their_labels_are_told_and_refused_where_nearly_all_are():
    for given, says in (
        ([OF_CAT] * 3 + [((1,), (0, 1))] * 3, "no mask holds dog (3 images) for an image with that label; correct"),
        ([((0,), (0, 2))] * 4 + [((1,), (0, 1))] * 4, "no mask holds cat (4 images), dog (4 images) for"),
        ([((0,), (0, 2))] * 5 + [OF_CAT, OF_DOG] * 2, "contradict their labels (5 lack a class of the label, 5 hold"),
        ([((), (0, 1, 2))] * 2, "the masks of 2 of 2 images contradict their labels"),
        ([((0,), (0, 2))] * 2 + [OF_CAT, OF_DOG] * 2, "the masks of 2 of 6 images contradict their labels"),
    ):
        verdict = judge(rows(*given), RULE, NAMES)
        assert verdict.problems == []
        assert says in verdict.notes[0]
        assert ("; correct masks or labels" in verdict.notes[0]) == (len(given) > 6 or "no mask" in says)
    swapped = [((0,), (0, 2))] * 5 + [((1,), (0, 1))] * 4
    assert judge(rows(*swapped), RULE, NAMES).problems == []  # few
    (problem,) = judge(rows(*swapped, ((1,), (0, 1)), OF_CAT), RULE, NAMES).problems
    assert "the masks of 10 of 11 images contradict their labels" in problem
    beside = [((0,), (0, 1, 2))] * 20  # labels name the main class only
    assert judge(rows(*beside), RULE, NAMES).problems == []


def test_values_of_no_class_are_told_once_with_the_line_to_add():
    (problem,) = judge(rows(*[((0,), (0, 8))] * 3, *[((1,), (0, 12, 255))] * 3), AS_IS, NAMES).problems
    assert "p0.png has value 8; expected 0..2 or 255 (6 such); found 0, 8, 12, 255;" in problem
    assert "{0: background, 8: cat, 12: dog, 255: ignore}" in problem
    given = rows(*[((0,), (0, 1))] * 3, *[((1,), (0, 12))] * 3, ((0,), (0,)))
    (problem,) = judge(given, AS_IS, NAMES).problems
    assert "(3 such)" in problem
    assert "{0: background, 1: cat, 12: dog}" in problem  # also what the other masks hold
    given = rows(*[((0,), (3, 4))] * 3)
    assert "{3: CLASS, 4: CLASS}" in judge(given, RULE, NAMES).problems[0]
    assert "{0: background, 3: cat, 4: cat}" in judge(rows(*[((0,), (0, 3, 4))] * 3), RULE, NAMES).problems[0]


def test_objects_around_background_may_have_changed_places(tmp_path):
    values = np.ones((6, 6), np.uint8)
    values[2:4, 2:4] = 0
    Image.fromarray(values).save(tmp_path / "turned.png")
    Image.fromarray(1 - values).save(tmp_path / "right.png")
    turned, right = (read_with_facts(tmp_path / name)[1] for name in ("turned.png", "right.png"))
    assert (turned.frame, right.frame) == (1, 0)
    records = [record for record, _ in rows(*[((0,), ())] * 5)]
    (note,) = judge([(record, turned) for record in records], RULE, NAMES).notes
    assert "in 5 of 5 masks an object covers the border and background lies inside, first p0.png" in note
    few = [(record, turned if number < 2 else right) for number, record in enumerate(records)]
    assert judge(few, RULE, NAMES).notes == []
