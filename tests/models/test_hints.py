"""What is said of an image holds in maps, scores, masks and losses."""

import pytest
import torch

from models.hints import HINT_WEIGHT, ImageHints, hint_loss
from models.random_walk import feature_walk
from utils.ignore import IGNORE


def values(*said, size=(16, 16)):
    found = torch.full(size, IGNORE, dtype=torch.uint8)
    for row, column, value in said:
        found[row, column] = value
    return found


def test_maps_have_what_is_said_on_any_grid():
    hints = ImageHints(values((1, 1, 3), (14, 14, 0), (4, 12, 8)), [], [2, 7])
    maps = torch.rand(2, 4, 4)
    held = hints.hold(maps)
    assert held[:, 0, 0].tolist() == [1, 0]
    assert held[:, 3, 3].tolist() == [0, 0]
    assert held[:, 1, 3].tolist() == [0, 1]
    rest = torch.ones(4, 4, dtype=torch.bool)
    rest[[0, 3, 1], [0, 3, 3]] = False
    torch.testing.assert_close(held[:, rest], maps[:, rest])
    assert hints.hold(torch.rand(2, 16, 16))[0, 1, 1] == 1


def test_a_cell_of_two_classes_has_the_part_of_each_and_a_refinement_cannot_leave_what_is_said():
    held = ImageHints(values((0, 0, 1), (1, 1, 0), (2, 2, 0), (3, 3, 0)), [], [0]).hold(torch.zeros(1, 4, 4))
    assert held[0, 0, 0] == pytest.approx(0.25)
    refine = ImageHints(values((0, 0, 1)), [(0, 0, 0, 8, 8)], [0]).hold_around(
        lambda scores: torch.full_like(scores, 0.5)
    )
    scores = refine(torch.full((2, 16, 16), 0.5))
    assert scores[:, 0, 0].tolist() == [0, 1]
    assert (scores[1, 8:] == 0).all()


def test_a_class_is_nowhere_outside_of_its_boxes_and_somewhere_in_each():
    hints = ImageHints(values(size=(16, 32)), [(0, 0, 0, 8, 4), (0, 16, 8, 32, 16)], [0, 1])
    maps = torch.full((2, 16, 16), 0.1)  # a cell is two pixels wide
    maps[0, 10, 10] = 0.4
    held = hints.hold(maps)
    inside = torch.zeros(16, 16, dtype=torch.bool)
    inside[:4, :4] = inside[8:, 8:] = True
    assert torch.equal(held[0] > 0, inside)
    assert held[0, :4, :4].max() == held[0, 8:, 8:].max() == 1
    torch.testing.assert_close(held[1], maps[1])  # it has no boxes
    assert hints.hold(torch.zeros(2, 4, 4))[0, 0, 0] == 1  # the map knows nothing


def test_a_mask_is_never_contradicted_and_no_box_is_empty():
    hints = ImageHints(values((2, 2, 0), (12, 3, 2)), [(0, 0, 0, 8, 8), (1, 0, 8, 8, 16)], [0, 1])
    maps = torch.zeros(2, 16, 16)
    maps[0, 4, 5] = 0.3
    mask = hints.hold_mask(torch.full((16, 16), 9, dtype=torch.uint8), hints.hold(maps))
    assert [int(mask[place]) for place in ((2, 2), (12, 3), (4, 5))] == [0, 2, 1]
    assert (mask[:8, :8] == 1).any()
    assert mask[15, 15] == 9


def test_a_click_walks_to_what_is_similar():
    unit = torch.zeros(2, 8, 8)
    unit[0, :, :4] = unit[1, :, 4:] = 1
    hints = ImageHints(values((4, 14, 1)), [], [0])
    start = hints.hold(torch.zeros(1, 8, 8))
    walked = hints.spread(torch.zeros(1, 8, 8), unit)
    assert torch.equal(walked, feature_walk(start, unit, hold=hints.hold, weights=hints.cell_weights(start)))
    assert walked[0, :, 4:].min() > 0.3
    assert walked[0, :, :4].max() == 0
    assert walked[0, 2, 7] == 1
    assert hints.cell_weights(start).sum() == pytest.approx(63 * (1 + HINT_WEIGHT))
    assert hints.cell_weights(start, most=8).max() == 8


def test_the_loss_of_hints_is_that_of_each_image_alone():
    logits = torch.zeros(3, 2, 4, 4)
    logits[0, 1], logits[1, 0] = 3, 3
    hints = torch.full((3, 16, 16), IGNORE)
    hints[0, 5, 5] = 1  # one click, right
    hints[1, 8:, :] = 1  # many pixels, wrong
    hints[1, 0, 0], hints[1, 1, 1] = 0, 1  # a cell of two classes says nothing
    right, wrong = torch.log1p(torch.exp(torch.tensor(-3.0))), torch.log1p(torch.exp(torch.tensor(3.0)))
    torch.testing.assert_close(hint_loss(logits, hints), (right + wrong) / 3)
    assert hint_loss(logits, torch.full_like(hints, IGNORE)) == 0
