"""`write_page`: plain data as one HTML file, which holds its images, and by its policy runs no script but its own."""

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from utils.files import write_text
from utils.visualize import printable

TEMPLATES = Path(__file__).parent / "templates"
# In the plot's own units, which are few, so that its letters can be read on a phone.
FRAME = {"width": 440, "height": 270, "left": 46, "right": 428, "top": 12, "bottom": 230}
TICKS = 5
STYLES = 7  # of lines in page.css, s0 .. s6: each has its own colour and its own dash
MOST_POINTS = 24  # a longer line is drawn without its points


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | None = None  # what a sortable table sorts by
    shade: float = 0.0  # 0..1, how strongly the cell is filled
    strong: bool = False  # bold


@dataclass(frozen=True)
class Table:
    """Rows of texts, numbers and cells; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float | Cell]]
    note: str = ""
    sortable: bool = False  # by a click on a heading


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


@dataclass(frozen=True)
class Layer:
    """One way to see an image."""

    name: str  # such as `truth` or `CAM`; layers of one name in all images belong together
    uri: str  # from pages/images.py
    over: bool = True  # lies over the image, at the slider's opacity; else it stands alone
    legend: Sequence[tuple[str, str, str]] = ()  # (name, CSS colour, detail) of its colours
    names: Sequence[tuple[str, float, float]] = ()  # (text, x, y) written on it, x and y in 0..1
    score: float | None = None  # mIoU of the image, 0..1
    by_class: Mapping[str, float] = field(default_factory=dict)  # IoU by class name


@dataclass(frozen=True)
class Item:
    """An image of the gallery."""

    title: str
    uri: str  # the image itself
    size: tuple[int, int]  # (height, width), for its shape
    classes: Sequence[str] = ()  # what the class filter finds it by
    layers: Sequence[Layer] = ()
    links: Sequence[tuple[str, str]] = ()  # (text, path relative to the page), offered as downloads
    content: str = ""  # digest of the image's file; hints that are given on the page keep it
    certainty: float | None = None  # 0..1; a person who gives hints sees the least certain images first


@dataclass(frozen=True)
class Section:
    """A part of the page, if it has any content. One may have a gallery: `items`, and the layer to show first."""

    title: str
    note: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    items: Sequence[Item] = ()
    show: str = ""
    hint_labels: Sequence[str] = ()  # what a person may say of its images, the background first; empty: no hints


def write_page(path: Path, title: str, intro: Sequence[str], sections: Sequence[Section]) -> None:
    """Write one HTML file that needs only the files that its download links name; `intro` are its first paragraphs."""
    shown = [part for part in sections if part.plots or part.items or any(table.rows for table in part.tables)]
    items = [item for part in shown for item in part.items]
    layers = [layer for item in items for layer in item.layers]
    hint_labels = [name for part in shown for name in part.hint_labels]
    scripts = ("page.js", "hints.js") if hint_labels else ("page.js",)
    script = "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in scripts)
    content = {
        "title": title,
        "intro": intro,
        "sections": shown,
        "layers": list(dict.fromkeys(layer.name for layer in layers)),
        "scored": any(layer.score is not None for layer in layers),
        "classes": sorted({name for item in items for name in item.classes}),
        "hint_labels": _json(hint_labels) if hint_labels else "",
        "data": _json([asdict(item) | {"links": _safe(item.links)} for item in items]) if items else "",
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "digest": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    write_text(path, _template().render(content))


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


def percent(share: float | None, digits: int = 1, **more: Any) -> Cell:
    """A cell of a share in 0..1 in per cent, a dash for None; `more` are other attributes of the cell."""
    return Cell("–") if share is None else Cell(f"{100 * share:.{digits}f}", share, **more)


def css(colour: Sequence[int]) -> str:
    """An RGB colour for a legend."""
    return "#" + "".join(f"{int(value):02x}" for value in colour)


def _safe(links: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """A link stays a path below the page, whatever characters it has."""
    return [(text, quote(os.fsencode(target.lstrip("/")))) for text, target in links]


def _json(value: Any) -> Markup:
    """JSON in ASCII for a script element: without `<` nothing in it can end the element."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"))


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.globals |= {"layout": layout, "frame": FRAME, "most_points": MOST_POINTS}
    return environment.get_template("page.html")
