"""Plots as inline SVG, without a drawing library: lines over numbers, and values with their intervals.

Colours, dashes and text come from the page's style sheet (utils/templates/style.css), so that a plot follows light and dark
mode. Each series has a colour that colour-blind people can tell apart *and* a dash and a marker of its own.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

STYLES = 7  # of series in the style sheet, s0 .. s6; more repeat
WIDTH, HEIGHT = 440, 270  # of a plot's own units; small, so that its letters can be read on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40
ROW = 30  # height of a line of `interval_plot`
NAMES = 176  # width of its names
TICKS = 5
MARKER_SIDE = 3.2
MOST_MARKERS = 24  # a line of more points is drawn without


@dataclass(frozen=True)
class Series:
    """A line: `x` and `y` of the same length; points that are no number are left out."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Interval:
    """A value between `low` and `high`, which may be missing."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Plot:
    """A finished plot: its title, its SVG, and `(name, style number)` of each series for the legend."""

    title: str
    svg: Markup
    legend: Sequence[tuple[str, int]] = ()
    note: str = ""


def line_plot(title: str, series: Sequence[Series], x_label: str, y_label: str, note: str = "") -> Plot:
    """Lines over a common x.

    Raises:
        ValueError: a series whose x and y differ in length.
    """
    lines = [_finite(line) for line in series]
    points = [point for line in lines for point in line]
    x_ticks = ticks(min((x for x, _ in points), default=0), max((x for x, _ in points), default=1))
    y_ticks = ticks(min((y for _, y in points), default=0), max((y for _, y in points), default=1))

    def place(x: float, y: float) -> tuple[float, float]:
        right, up = _share(x, x_ticks), _share(y, y_ticks)
        return LEFT + right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value, text in zip(y_ticks, _texts(y_ticks), strict=True):
        _, y = place(x_ticks[0], value)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for value, text in zip(x_ticks, _texts(x_ticks), strict=True):
        x, _ = place(value, y_ticks[0])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{text}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>')
    for number, line in enumerate(lines):
        places = [place(x, y) for x, y in line]
        style = number % STYLES
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<g class="s{style}"><polyline points="{path}"/>')
        if len(places) <= MOST_MARKERS:
            parts += [marker(style, x, y) for x, y in places]
        parts.append("</g>")
    legend = [(line.name, number % STYLES) for number, line in enumerate(series)]
    return Plot(title, _svg(HEIGHT, f"{title}: {y_label} over {x_label}", parts), legend, note)


def interval_plot(title: str, rows: Sequence[Interval], label: str, note: str = "") -> Plot:
    """Values in per cent, one below the other, each with a whisker from `low` to `high` (both 0..1)."""
    ends = [end for row in rows for end in (row.value, row.low, row.high) if end is not None and math.isfinite(end)]
    scale = ticks(100 * min(ends, default=0), 100 * max(ends, default=1))
    height = TOP + ROW * len(rows) + BOTTOM

    def place(value: float) -> float:
        return NAMES + _share(100 * value, scale) * (WIDTH - NAMES - 50)

    parts = []
    for value, text in zip(scale, _texts(scale), strict=True):
        x = place(value / 100)
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - BOTTOM + 17}" text-anchor="middle">{text}</text>')
    parts.append(f'<text class="axis" x="{NAMES}" y="{height - 6}">{escape(label)}</text>')
    for number, row in enumerate(rows):
        y = TOP + ROW * (number + 0.5)
        parts.append(f'<text x="{NAMES - 10}" y="{y + 4:.1f}" text-anchor="end">{escape(row.name)}</text>')
        if not math.isfinite(row.value):
            continue
        end = place(row.value)
        if row.low is not None and row.high is not None:
            low, end = place(row.low), place(row.high)
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {y}H{end:.1f}M{low:.1f} {y - 5}v10M{end:.1f} {y - 5}v10"/>'
            )
        parts.append(f'<g class="s0">{marker(0, place(row.value), y, 1.6)}</g>')
        parts.append(f'<text class="value" x="{end + 8:.1f}" y="{y + 4:.1f}">{100 * row.value:.1f}</text>')
    said = "; ".join(f"{row.name} {100 * row.value:.1f}" for row in rows)
    return Plot(title, _svg(height, f"{title}: {said}", parts), (), note)


def marker(style: int, x: float, y: float, size: float = 1.0) -> str:
    """The marker of a style as SVG: circle, square, triangle or diamond."""
    side = MARKER_SIDE * size
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{side:.1f}"/>',
        f'<rect x="{x - side:.1f}" y="{y - side:.1f}" width="{2 * side:.1f}" height="{2 * side:.1f}"/>',
        f'<path class="mark" d="M{x:.1f} {y - 1.2 * side:.1f}l{1.2 * side:.1f} {2.2 * side:.1f}h{-2.4 * side:.1f}z"/>',
        f'<path class="mark" d="M{x:.1f} {y - 1.4 * side:.1f}l{1.4 * side:.1f} {1.4 * side:.1f}l{-1.4 * side:.1f} {1.4 * side:.1f}'
        f'l{-1.4 * side:.1f} {-1.4 * side:.1f}z"/>',
    )
    return shapes[style % len(shapes)]


def ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, from at or below `low` to at or above `high`; at least two."""
    if not high > low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _finite(line: Series) -> list[tuple[float, float]]:
    return [(x, y) for x, y in zip(line.x, line.y, strict=True) if math.isfinite(x) and math.isfinite(y)]


def _share(value: float, scale: Sequence[float]) -> float:
    return (value - scale[0]) / (scale[-1] - scale[0])


def _texts(values: Sequence[float]) -> list[str]:
    return [f"{value:.6g}".replace("-", "−") for value in values]


def _svg(height: float, said: str, parts: Sequence[str]) -> Markup:
    return Markup(
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(said)}">{"".join(parts)}</svg>'
    )
