"""Plots: values stand where the axes say, and text stays text."""

import itertools
import math
import re
import xml.etree.ElementTree as Tree

import pytest

from utils.plots import HEIGHT, STYLES, WIDTH, Interval, Series, interval_plot, line_plot, marker, ticks


def points(plot) -> list[list[tuple[float, float]]]:
    """The points of each polyline."""
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in Tree.fromstring(str(plot.svg)).iter("polyline")
    ]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0, 0.6), (-3, 7), (0.0123, 0.0131), (1, 1), (0, 0), (37.1, 49.4), (1, 1e6)]
)
def test_ticks_are_even_and_enclose(low, high):
    found = ticks(low, high)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))


def test_a_line_is_linear_in_its_numbers_and_inside():
    plot = line_plot("t", [Series("a", [0, 1, 2, 4], [0, 10, 20, 40])], "x", "y")
    ((first, second, third, last),) = points(plot)
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)
    assert last[1] < first[1]  # up is more
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in (first, last))


def test_points_that_are_no_number_are_left_out():
    ((*left,),) = points(line_plot("t", [Series("a", [0, 1, 2], [1, math.nan, 3])], "x", "y"))
    assert len(left) == 2


def test_a_plot_without_points_is_still_a_plot():
    Tree.fromstring(str(line_plot("t", [Series("a", [], [])], "x", "y").svg))
    Tree.fromstring(str(interval_plot("t", [], "x").svg))


def test_series_of_different_length_are_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        line_plot("t", [Series("a", [0, 1], [1])], "x", "y")


def test_series_differ_by_more_than_colour():
    assert len({re.sub(r"[\d. -]", "", marker(style, 0, 0)) + str(style // 4) for style in range(STYLES)}) >= 4
    plot = line_plot("t", [Series(str(n), [0, 1], [n, n]) for n in range(9)], "x", "y")
    assert [style for _, style in plot.legend] == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def test_whiskers_reach_from_low_to_high_around_the_value():
    plot = interval_plot("t", [Interval("a", 0.5, 0.4, 0.6), Interval("b", 0.45)], "x")
    tree = Tree.fromstring(str(plot.svg))
    (whisker,) = [path.get("d") for path in tree.iter("path") if path.get("class") == "whisker"]
    low, high = float(re.match(r"M([\d.]+)", whisker)[1]), float(re.search(r"H([\d.]+)", whisker)[1])
    circles = [float(circle.get("cx")) for circle in tree.iter("circle")]
    assert low < circles[0] < high
    assert circles[0] - low == pytest.approx(high - circles[0], abs=0.3)
    assert low < circles[1] < circles[0]


def test_text_stays_text():
    plot = line_plot("<b>", [Series("<i>", [0, 1], [0, 1])], "<x>&", "\"'")
    tree = Tree.fromstring(str(plot.svg))
    assert tree.get("aria-label") == "<b>: \"' over <x>&"
    assert "<x>&" in [element.text for element in tree.iter("text")]
