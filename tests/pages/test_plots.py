"""Plots: positions follow the numbers and lie inside the frame."""

import itertools
import math

import pytest

from pages.plots import FRAME, Plot, Series, layout, ticks


def points(*series: Series) -> list[list[tuple[float, float]]]:
    return [line for _, _, line in layout(Plot("t", "x", "y", series))["lines"]]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 0.6), (-3, 7), (0.0123, 0.0131), (1, 1), (0, 0), (37.1, 49.4), (1, 1e6)]
)
def test_ticks_are_even_and_enclose(low, high):
    found = ticks([low, high])
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))


@pytest.mark.parametrize("epochs", [1, 2, 4, 9, 12, 13, 30])
def test_ticks_of_whole_numbers_are_whole(epochs):
    found = ticks(range(1, epochs + 1))
    assert found == [int(tick) for tick in found]
    assert 2 <= len(found) <= 8


def test_a_line_is_linear_in_its_numbers_stands_where_the_ticks_say_and_inside():
    at = layout(Plot("t", "x", "y", [Series("a", [0, 1, 2, 4], [0, 10, 20, 40])]))
    first, second, third, last = at["lines"][0][2]
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)
    assert {(first[0], "0"), (last[0], "4")} <= set(at["x_ticks"])
    assert {(first[1], "0"), (last[1], "40")} <= set(at["y_ticks"])
    assert FRAME["left"] <= first[0] < last[0] <= FRAME["right"]
    assert FRAME["top"] <= last[1] < first[1] <= FRAME["bottom"]  # up is more


def test_points_that_are_no_number_are_left_out_and_series_of_different_length_refused():
    assert [len(line) for line in points(Series("a", [0, 1, 2], [1, math.nan, 3]), Series("b", [], []))] == [2, 0]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        points(Series("a", [0, 1], [1]))
