"""HTML pages that are one file and open without a network: sections of tables, plots and text, and a gallery of images.

One page code for the report of a run and for the gallery of infer.py. Images lie inside the page as data; its only script
is its own (utils/templates/page.js), allowed by its digest, so that no name of a file or class can become code.
"""

import base64
import hashlib
import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from utils.files import write_text
from utils.plots import STYLES, Plot, marker
from utils.visualize import HEAT, IGNORE, Swatch, class_places, fit, printable

SIDE = 320  # long side of an image in the page, in pixels
IMAGE_QUALITY = 72  # of WebP
HEAT_STEPS = 64  # colours of a heat map in the page
OPACITY = 0.55  # that the slider starts with
LEAST_NAMED = 0.004  # share of an image from which a class gets its name written on it


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what is shown.
        number: what it is sorted by; makes it stand right.
        shade: 0..1, how strongly the cell is filled.
        strong: whether it stands out.
        note: shown when one points at it.
    """

    text: str
    number: float | None = None
    shade: float = 0.0
    strong: bool = False
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a page; cells are text, numbers, or `Cell`. The first column names the rows.

    Attributes:
        sortable: whether a click on a heading sorts.
        upright: whether headings stand upright, for many narrow columns.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str | float | Cell]]
    note: str = ""
    sortable: bool = False
    upright: bool = False
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Plots:
    """Plots side by side, as many as fit."""

    plots: Sequence[Plot]
    kind: str = field(default="plots", init=False)


@dataclass(frozen=True)
class Text:
    """Paragraphs; with `folded` a heading that opens a block of text set as it is, such as a settings file."""

    paragraphs: Sequence[str]
    folded: str = ""
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Layer:
    """One way to see an image.

    Attributes:
        name: such as `truth` or `CAM`; the layers of that name in all images belong together.
        uri: of `image_uri`, `mask_uri` or `heat_uri`.
        over: whether it is laid over the image, at the slider's opacity; else it stands for itself.
        swatches: what its colours mean.
        places: (name, x, y) written on it, x and y in 0..1.
        score: the image's mIoU, 0..1, where the layer was measured.
        by_class: IoU by class name.
        ramp: whether it has the colours of a heat map.
    """

    name: str
    uri: str
    over: bool = True
    swatches: Sequence[Swatch] = ()
    places: Sequence[tuple[str, float, float]] = ()
    score: float | None = None
    by_class: Mapping[str, float] = field(default_factory=dict)
    ramp: bool = False


@dataclass(frozen=True)
class Item:
    """An image of the gallery.

    Attributes:
        title: its name.
        uri: the image itself (`image_uri`); empty where it cannot be shown.
        size: (height, width), for its shape.
        classes: names that the class filter finds it by.
        layers: ways to see it, beside the image itself.
        details: (class name, colour, text) lines below it, such as score and share.
        links: (text, path relative to the page), offered as downloads.
        note: a line of text.
    """

    title: str
    uri: str
    size: tuple[int, int]
    classes: Sequence[str] = ()
    layers: Sequence[Layer] = ()
    details: Sequence[tuple[str, tuple[int, int, int], str]] = ()
    links: Sequence[tuple[str, str]] = ()
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """The images, with filter, order, layers and slider; a page has one at most.

    Attributes:
        items: in the order of names.
        show: the layer that is shown first.
        extremes: how many of the worst and of the best images are shown above it.
    """

    items: Sequence[Item]
    show: str = ""
    extremes: int = 0
    kind: str = field(default="gallery", init=False)


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading."""

    title: str
    blocks: Sequence[Table | Plots | Text | Gallery]
    note: str = ""


def write_page(
    path: str | Path, title: str, intro: Sequence[str], sections: Sequence[Section], made_from: str = ""
) -> None:
    """Write one HTML file that needs nothing else, except where its download links lead.

    Args:
        path: the file; written whole or not at all.
        title: its heading.
        intro: paragraphs below it.
        sections: its parts; those without blocks are left out. With more than two, links to them stand at the top.
        made_from: anything that changes with the content, kept for `page_made_from`.
    """
    shown = [section for section in sections if section.blocks]
    gallery = next((block for section in shown for block in section.blocks if isinstance(block, Gallery)), None)
    script = _source("page.js")
    names = list(dict.fromkeys(layer.name for item in gallery.items for layer in item.layers)) if gallery else []
    scored = (
        {layer.name for item in gallery.items for layer in item.layers if layer.score is not None} if gallery else set()
    )
    write_text(
        path,
        _template("page.html").render(
            title=title,
            intro=intro,
            sections=shown,
            made_from=made_from,
            gallery=gallery,
            layers=names,
            scored=bool(scored),
            classes=sorted({name for item in gallery.items for name in item.classes}) if gallery else [],
            data=_json(_gallery_data(gallery, names)) if gallery else "",
            opacity=round(100 * OPACITY),
            style=Markup(_source("style.css")),
            script=Markup(script),
            digest=_digest(script),
            ramp=", ".join(_css(colour) for colour in HEAT),
            keys=[
                Markup(
                    f'<svg class="key s{n}" viewBox="0 0 34 12"><polyline points="1,6 33,6"/>{marker(n, 17, 6)}</svg>'
                )
                for n in range(STYLES)
            ],
        ),
    )


def page_made_from(path: str | Path) -> str:
    """The `made_from` of a page that `write_page` wrote; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            head = file.read(2000)
    except (OSError, UnicodeDecodeError):
        return ""
    _, _, rest = head.partition('<meta name="made-from" content="')
    return rest.partition('"')[0]


def image_uri(image: np.ndarray, side: int = SIDE, quality: int = IMAGE_QUALITY) -> str:
    """An image (H, W, 3) uint8 as an address that holds it, made smaller to `side`."""
    buffer = io.BytesIO()
    Image.fromarray(fit(image, side)).save(buffer, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def mask_uri(mask: np.ndarray, palette: np.ndarray, side: int = SIDE) -> str:
    """A mask as an image to lay over another: background is clear, objects have a light rim.

    Args:
        mask: (H, W) uint8 class values; 255 is striped in grey.
        palette: (N, 3) uint8 with a row for each value below 255 that occurs.
    """
    small = fit(mask, side, nearest=True)
    values, numbers = np.unique(small, return_inverse=True)
    indexed = numbers.reshape(small.shape).astype(np.uint8)
    colours = [(128, 128, 128) if value == IGNORE else tuple(palette[value].tolist()) for value in values]
    alpha = [0 if value == 0 else 255 for value in values]
    rim, dark = len(colours), len(colours) + 1
    if rim < IGNORE:  # a mask of 254 classes has no index left for them
        colours += [(255, 255, 255), (70, 70, 70)]
        alpha += [255, 255]
        rows, columns = np.indices(small.shape)
        indexed[(small == IGNORE) & ((rows + columns) // 3 % 2 == 0)] = dark
        edge = np.zeros(small.shape, bool)
        edge[:, 1:] |= small[:, 1:] != small[:, :-1]
        edge[1:] |= small[1:] != small[:-1]
        indexed[edge] = rim
    return _indexed_uri(indexed, colours, alpha)


def heat_uri(map_: np.ndarray) -> str:
    """A map (h, w) of 0..1 as an image to lay over another, dark for 0 and bright for 1; a page enlarges it smoothly."""
    steps = np.linspace(0, 1, HEAT_STEPS)
    stops = np.linspace(0, 1, len(HEAT))
    colours = np.stack([np.interp(steps, stops, channel) for channel in np.array(HEAT, np.float64).T], axis=-1)
    indexed = np.rint(np.clip(map_, 0, 1) * (HEAT_STEPS - 1)).astype(np.uint8)
    return _indexed_uri(indexed, colours.round().astype(int).tolist(), [255] * HEAT_STEPS)


def mask_layer(name: str, mask: np.ndarray, palette: np.ndarray, class_names: Sequence[str], **more: Any) -> Layer:
    """A mask with the names of its classes, both as a legend and written on it: colours alone tell not everyone.

    Args:
        class_names: of the values from 1 on.
        more: other attributes of the layer.
    """
    found = [int(value) for value in np.unique(mask) if 0 < value < IGNORE]
    swatches = [(class_names[value - 1], tuple(palette[value].tolist())) for value in found]
    places = class_places(fit(mask, SIDE, nearest=True), class_names, LEAST_NAMED)
    return Layer(name, mask_uri(mask, palette), True, swatches, places, **more)


def _indexed_uri(indexed: np.ndarray, colours: Sequence[Sequence[int]], alpha: Sequence[int]) -> str:
    image = Image.fromarray(indexed)
    image.putpalette(bytes(channel for colour in colours for channel in colour))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True, transparency=bytes(alpha))
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _gallery_data(gallery: Gallery, names: Sequence[str]) -> dict[str, Any]:
    """What page.js reads; short keys, because there are thousands of them."""
    items = [
        {
            "title": printable(item.title),
            "uri": item.uri,
            "h": item.size[0],
            "w": item.size[1],
            "classes": [printable(name) for name in item.classes],
            "note": printable(item.note),
            "details": [[printable(name), _css(colour), printable(text)] for name, colour, text in item.details],
            "links": [[printable(text), _address(target)] for text, target in item.links],
            "layers": [_layer_data(layer) for layer in item.layers],
        }
        for item in gallery.items
    ]
    return {"items": items, "layers": [printable(name) for name in names]}


def _layer_data(layer: Layer) -> dict[str, Any]:
    return {
        "name": printable(layer.name),
        "uri": layer.uri,
        "over": layer.over,
        "ramp": layer.ramp,
        "swatches": [[printable(name), _css(colour)] for name, colour in layer.swatches],
        "places": [[printable(name), round(100 * x, 1), round(100 * y, 1)] for name, x, y in layer.places],
        "score": _rounded(layer.score),
        "by": {printable(name): _rounded(value) for name, value in layer.by_class.items()},
    }


def _rounded(value: float | None) -> float | None:
    return round(float(value), 4) if value is not None and math.isfinite(value) else None


def _json(value: Any) -> Markup:
    """JSON for a script element: no character in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _digest(script: str) -> str:
    """What the page's policy knows its script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _address(target: str) -> str:
    """A relative path as a link; whatever characters it has, it stays a path and never leads to another host."""
    return quote(os.fsencode(target.lstrip("/")))


def _css(colour: Sequence[int]) -> str:
    return "#" + "".join(f"{int(value):02x}" for value in colour)


@cache
def _source(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Any:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters["css_id"] = lambda title: "-".join(
        "".join(c if c.isalnum() else " " for c in title).lower().split()
    )
    return environment.get_template(name)
