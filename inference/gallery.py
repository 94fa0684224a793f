"""What people look at of infer.py's output: the page `index.html` and the contact sheet."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from data.artifacts import read_mask
from data.images import UnreadableImage, open_image
from inference.images import InputImage
from inference.output_folder import (
    LAST_VALUE,
    MASKS,
    OVERLAYS,
    PAGE,
    PREDICTIONS,
    SHEET,
    ClassValues,
    maps_path,
    mask_path,
    overlay_path,
)
from utils.console import progress
from utils.files import atomic_path, read_json, write_json
from utils.page import SIDE, Cell, Gallery, Item, Section, Table, image_uri, mask_layer, write_page
from utils.visualize import Tile, contact_sheet, fit

JPEG_QUALITY = 90
MOST_ITEMS = 400  # images inside the page, some 25 KB each
THUMBNAIL = 360  # long side on the sheet
SHEET_IMAGES, SHEET_TILES = 24, 4  # two tiles an image
NOTHING = "none of the classes"
LAYER = "mask"


def publish(output: Path, report: dict[str, Any], images: list[InputImage], values: ClassValues) -> None:
    """Write `predictions.json`, the page and the contact sheet, unless they say all this already."""
    there = all((output / name).is_file() for name in (PAGE, SHEET))
    if there and read_json(output / PREDICTIONS) == json.loads(json.dumps(report)):
        return
    entries = report["images"]
    _write_page(output, report, images, values)
    chosen = np.unique(np.linspace(0, len(images) - 1, min(len(images), SHEET_IMAGES)).round().astype(int))
    tiles = [tile for number in chosen for tile in _tiles(output, images[number], entries[number], values)]
    rows = [tiles[start : start + SHEET_TILES] for start in range(0, len(tiles), SHEET_TILES)]
    count = len(entries) if len(chosen) == len(entries) else f"{len(chosen)} of {len(entries)}"
    title = f"{count} images; beside each class its share of the image"
    with atomic_path(output / SHEET) as temporary:
        contact_sheet(rows, title=title).save(temporary, quality=JPEG_QUALITY)
    write_json(output / PREDICTIONS, report)  # the last, because it says that the others are there


def _write_page(output: Path, report: dict[str, Any], images: list[InputImage], values: ClassValues) -> None:
    entries, network = report["images"], report["network"]
    shown = zip(images[:MOST_ITEMS], entries[:MOST_ITEMS], strict=True)
    items = [
        _item(output, source, entry, values) for source, entry in progress(shown, min(len(images), MOST_ITEMS), "page")
    ]
    source = network["path"] or "the packaged ImageNet weights"
    intro = [
        f"{len(entries)} images of {report['input']}, by a {network['kind']} ({network['backbone']}, "
        f"{network['classes']} classes) from {source}.",
        f"Beside each class: its score ({network['score']}) and its share of the source.",
    ]
    if len(entries) > MOST_ITEMS:
        intro.append(f"Shown are the first {MOST_ITEMS}; all are in {OVERLAYS} and {MASKS}.")
    totals: Counter[str] = Counter(row["name"] for entry in entries for row in entry["classes"])
    shares: Counter[str] = Counter()
    for entry in entries:
        for row in entry["classes"]:
            shares[row["name"]] += row["share"]
    rows = [
        (name, count, Cell(f"{100 * shares[name] / count:.1f}", shares[name] / count))
        for name, count in totals.most_common()
    ]
    classes = Table("", ("class", "images", "mean share, %"), rows, sortable=True)
    unreadable = [(row["image"], row["reason"]) for row in report["unreadable"]]
    sections = [
        Section("Images", [Gallery(items, LAYER)]),
        Section("Classes", [classes] if rows else []),
        Section("Files that could not be read", [Table("", ("file", "reason"), unreadable)] if unreadable else []),
    ]
    write_page(output / PAGE, "Segmentation masks", intro, sections)


def _item(output: Path, source: InputImage, entry: dict[str, Any], values: ClassValues) -> Item:
    """An image of the page: its mask to lay over it, its classes, and its files to download."""
    mask = read_mask(output / mask_path(source))
    names = {row["value"]: row["name"] for row in entry["classes"]}
    layer = mask_layer(LAYER, mask, values.palette, [names.get(value, "") for value in range(1, LAST_VALUE + 1)])
    try:
        image = source.read_image(least_side=SIDE)
    except UnreadableImage:  # gone or changed since
        image = _thumbnail(output / overlay_path(source))
    links = [("overlay", overlay_path(source)), ("mask", mask_path(source))]
    if (output / maps_path(source)).is_file():
        links.append(("maps", maps_path(source)))
    return Item(
        title=entry["image"],
        uri=image_uri(image),
        size=mask.shape,
        classes=[row["name"] for row in entry["classes"]],
        layers=[layer],
        details=[
            (row["name"], values.colour(row["value"]), f"{row['score']:.2f} · {_percent(row['share'])}")
            for row in entry["classes"]
        ],
        links=links,
        note="" if entry["classes"] else NOTHING,
    )


def _tiles(output: Path, source: InputImage, entry: dict[str, Any], values: ClassValues) -> list[Tile]:
    """The image and its overlay for the contact sheet."""
    drawn = _thumbnail(output / overlay_path(source))
    image = fit(source.read_image(), THUMBNAIL)
    seen = [row for row in entry["classes"] if row["pixels"]]
    swatches = [(f"{row['name']} {_percent(row['share'])}", values.colour(row["value"])) for row in seen]
    return [Tile(image, source.relative), Tile(drawn, "" if swatches else NOTHING, swatches)]


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _thumbnail(path: Path) -> np.ndarray:
    with open_image(path, "overlay") as image:
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))  # JPEG is decoded at a fraction of its size
        return fit(np.asarray(image), THUMBNAIL)
