"""Plots: where lines, points and ticks lie. The template draws them as SVG, which follows light and dark mode."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# In the plot's own units, which are few, so that its letters can be read on a phone.
FRAME = {"width": 440, "height": 270, "left": 46, "right": 428, "top": 12, "bottom": 230}
TICKS = 5
STYLES = 7  # of lines in page.css, s0 .. s6: each has its own colour and its own dash
MOST_POINTS = 24  # a longer line is drawn without its points


@dataclass(frozen=True)
class Series:
    """A line: `x` and `y` of the same length; points with NaN or infinity are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Plot:
    """Lines over a common x."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    note: str = ""


def layout(plot: Plot) -> dict[str, Any]:
    """Positions for the template: `x_ticks` and `y_ticks` as (position, text), `lines` as (name, style, points)."""
    lines = [
        [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]
        for line in plot.series
    ]
    x_ticks = ticks([x for line in lines for x, _ in line])
    y_ticks = ticks([y for line in lines for _, y in line])

    def across(x: float) -> float:
        share = (x - x_ticks[0]) / (x_ticks[-1] - x_ticks[0])
        return round(FRAME["left"] + share * (FRAME["right"] - FRAME["left"]), 1)

    def down(y: float) -> float:
        share = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return round(FRAME["bottom"] - share * (FRAME["bottom"] - FRAME["top"]), 1)

    return {
        "x_ticks": [(across(value), f"{value:.6g}") for value in x_ticks],
        "y_ticks": [(down(value), f"{value:.6g}") for value in y_ticks],
        "lines": [
            (series.name, index % STYLES, [(across(x), down(y)) for x, y in line])
            for index, (series, line) in enumerate(zip(plot.series, lines, strict=True))
        ],
    }


def ticks(values: Sequence[float]) -> list[float]:
    """Two or more round numbers, evenly spaced, from at or below the least value to at or above the largest."""
    low, high = min(values, default=0), max(values, default=1)
    if not high > low:
        high = low + (abs(low) or 1.0)
    is_whole = all(float(value).is_integer() for value in values)  # such as epochs
    rough = max((high - low) / TICKS, float(is_whole))
    power = 10.0 ** math.floor(math.log10(rough))
    factors = (1, 2, 5, 10) if is_whole else (1, 2, 2.5, 5, 10)
    step = next(factor * power for factor in factors if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]
