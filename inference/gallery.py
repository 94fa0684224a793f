"""The page `index.html` and the contact sheet of infer.py's output."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import itemgetter
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from data.artifacts import read_mask
from data.faults import grouped
from data.images import UnreadableImage, read_image
from data.inspection import spread
from inference import output_folder as out
from inference.images import MAPS, MASKS, OVERLAYS, SHEET, InputImage, file_of
from pages.images import SIDE, image_uri, mask_layer
from pages.page import Item, Section, Table, css, percent, write_page
from utils.compute import cores
from utils.console import progress
from utils.file_digests import digest_files
from utils.files import atomic_path, read_json, write_json
from utils.reading import read_ahead
from utils.visualize import Tile, contact_sheet, fit

JPEG_QUALITY = 90
MOST_ITEMS = 400  # images inside the page, some 25 KB each
THUMBNAIL = 360  # long side on the sheet
SHEET_IMAGES, SHEET_TILES = 24, 4  # two tiles an image
NOTHING = "none of the classes"
LAYER = "mask"
BACKGROUND = "background"
MOST_LABELS = 100  # classes that hints offer; of a network with more, those that the images show
HINTS = (
    "For images of a training list: click where a mask is wrong, save hints.json, and train with --set "
    "data.hints=hints.json. An image's certainty is the lowest score of its classes."
)


Done = list[tuple[InputImage, dict[str, Any]]]  # images with their entries in `predictions.json`


def publish(output: Path, report: dict[str, Any], done: Done, values: out.ClassValues) -> None:
    """Write `predictions.json`, the page and the contact sheet, unless they are of this report already."""
    there = all((output / name).is_file() for name in (out.PAGE, SHEET))
    if there and read_json(output / out.PREDICTIONS) == json.loads(json.dumps(report)):
        return
    with ThreadPoolExecutor(1) as beside:  # decoding and drawing leave the interpreter free
        sheet = beside.submit(_write_sheet, output, done, values)
        _write_page(output, report, done, values)
        sheet.result()
    write_json(output / out.PREDICTIONS, report)  # the last, because it stands for the others


def _write_page(output: Path, report: dict[str, Any], done: Done, values: out.ClassValues) -> None:
    entries, network = report["images"], report["network"]
    drawn = progress(done[:MOST_ITEMS], min(len(done), MOST_ITEMS), "page")
    items = list(read_ahead(lambda pair: _item(output, pair[0], pair[1], values), drawn, cores()))
    intro = [
        f"{len(entries)} images of {report['input']}, by a {network['kind']} ({network['backbone']}, "
        f"{network['classes']} classes) from {network['path'] or 'the packaged ImageNet weights'}.",
        f"Beside each class: its score ({network['score']}) and its share of the image.",
    ]
    if len(entries) > MOST_ITEMS:
        intro.append(f"These are the first {MOST_ITEMS}; all are in {OVERLAYS} and {MASKS}.")
    by_name = grouped((row for entry in entries for row in entry["classes"]), itemgetter("name"))
    by_count = sorted(by_name.items(), key=lambda item: -len(item[1]))
    rows = [(name, len(found), percent(fmean(row["share"] for row in found))) for name, found in by_count]
    unreadable = [(row["image"], row["reason"]) for row in report["unreadable"]]
    offered = values.names if len(values.names) <= MOST_LABELS else sorted(by_name)
    sections = [
        Section("Images", HINTS, items=items, show=LAYER, hint_labels=(BACKGROUND, *offered)),
        Section("Classes", tables=[Table("", ("class", "images", "mean share, %"), rows, sortable=True)]),
        Section("Files that could not be read", tables=[Table("", ("file", "reason"), unreadable)]),
    ]
    write_page(output / out.PAGE, "Segmentation masks", intro, sections)


def _item(output: Path, source: InputImage, entry: dict[str, Any], values: out.ClassValues) -> Item:
    mask, classes = read_mask(output / file_of(source, MASKS)), entry["classes"]
    legend = [
        (row["name"], css(values.palette[row["value"]]), f"{row['score']:.2f} · {100 * row['share']:.1f} %")
        for row in classes
    ]
    links = {"overlay": file_of(source, OVERLAYS), "mask": file_of(source, MASKS), "maps": file_of(source, MAPS)}
    item = Item(
        title=entry["image"],
        uri=image_uri(_read(output, source, SIDE)),
        size=mask.shape,
        classes=[row["name"] for row in classes],
        layers=[mask_layer(LAYER, mask, values.palette, values.names, legend=legend)],
        links=[(text, path) for text, path in links.items() if (output / path).is_file()],
        certainty=min((row["score"] for row in classes), default=None),
    )
    return replace(item, content=digest_files([source.path])[0])


def _write_sheet(output: Path, done: Done, values: out.ClassValues) -> None:
    chosen = spread(done, SHEET_IMAGES)
    tiles = []
    for source, entry in chosen:
        image = fit(_read(output, source, THUMBNAIL), THUMBNAIL)
        overlay = fit(np.array(read_image(output / file_of(source, OVERLAYS), THUMBNAIL)), THUMBNAIL)
        shown = [row for row in entry["classes"] if row["pixels"]]
        swatches = [(f"{row['name']} {100 * row['share']:.1f} %", values.palette[row["value"]]) for row in shown]
        tiles += [Tile(image, source.relative), Tile(overlay, "" if swatches else NOTHING, swatches)]
    rows = [tiles[start : start + SHEET_TILES] for start in range(0, len(tiles), SHEET_TILES)]
    count = len(done) if len(chosen) == len(done) else f"{len(chosen)} of {len(done)}"
    with atomic_path(output / SHEET) as temporary:
        title = f"{count} images; beside each class its share of the image"
        contact_sheet(rows, title=title).save(temporary, quality=JPEG_QUALITY)


def _read(output: Path, source: InputImage, least_side: int) -> np.ndarray:
    """The image by the rule of its data, or its overlay where the image is gone or has changed since."""
    try:
        return source.read_image(least_side)
    except UnreadableImage:
        return np.array(read_image(output / file_of(source, OVERLAYS), least_side))
