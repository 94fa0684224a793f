"""`write_page`: plain data as one HTML file, which holds its images, and by its policy runs no script but its own."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from pages.plots import FRAME, MOST_POINTS, Plot, layout
from utils.files import write_text
from utils.visualize import printable

TEMPLATES = Path(__file__).parent / "templates"
OPACITY = 55  # per cent, what the slider starts with
BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"  # a clear pixel


@dataclass(frozen=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | None = None  # what a sortable table sorts by
    shade: float = 0.0  # 0..1, how strongly the cell is filled
    strong: bool = False  # bold
    interval: tuple[float, float, float] | None = None  # (low, middle, high) to draw, in 0..1 of the cell's width


@dataclass(frozen=True)
class Table:
    """Rows of texts, numbers and cells; the first column names the rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float | Cell]]
    note: str = ""
    sortable: bool = False  # by a click on a heading


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
    uri: str  # the image itself; empty where it cannot be shown
    size: tuple[int, int]  # (height, width), for its shape
    classes: Sequence[str] = ()  # what the class filter finds it by
    layers: Sequence[Layer] = ()
    links: Sequence[tuple[str, str]] = ()  # (text, path relative to the page), offered as downloads
    note: str = ""
    certainty: float | None = None  # 0..1; a person who gives hints sees the least certain images first


@dataclass(frozen=True)
class Section:
    """A part of the page. One section of a page may have a gallery: `items`, and the layer to show first."""

    title: str
    note: str = ""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()
    items: Sequence[Item] = ()
    show: str = ""
    hint_labels: Sequence[str] = ()  # what a person may say of its images, the background first; empty: no hints


def write_page(path: Path, title: str, intro: Sequence[str], sections: Sequence[Section]) -> None:
    """Write one HTML file that needs only the files that its download links name; `intro` are its first paragraphs."""
    shown = [part for part in sections if part.plots or part.tables or part.items]
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
        "data": _json([_data(item) for item in items]) if items else "",
        "opacity": OPACITY,
        "blank": BLANK,
        "style": Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
        "script": Markup(script),
        "digest": "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    write_text(path, _template().render(content))


def percent(share: float | None, digits: int = 1, **more: Any) -> Cell:
    """A cell of a share in 0..1 in per cent, a dash for None; `more` are other attributes of the cell."""
    return Cell("–") if share is None else Cell(f"{100 * share:.{digits}f}", share, **more)


def css(colour: Sequence[int]) -> str:
    """An RGB colour for a legend."""
    return "#" + "".join(f"{int(value):02x}" for value in colour)


def _data(item: Item) -> dict[str, Any]:
    """What page.js reads of an image. A link stays a path below the page, whatever characters it has."""
    links = [(text, quote(os.fsencode(target.lstrip("/")))) for text, target in item.links]
    return asdict(item) | {"links": links}


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
