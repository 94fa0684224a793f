"""What people look at of infer.py's output: the page `index.html` and the contact sheet."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.images import read_image
from stages.output_folder import (
    MASKS,
    OVERLAYS,
    PAGE,
    PREDICTIONS,
    SHEET,
    ClassValues,
    mask_path,
    overlay_path,
    read_json,
)  # fmt: skip
from stages.pictures import Picture
from utils.files import atomic_path, write_json
from utils.visualize import Card, Label, Table, Tile, contact_sheet, fit, write_page

JPEG_QUALITY = 90
MOST_CARDS, THUMBNAIL = 400, 360  # pictures inside the page, some 20 KB each, and their long side
SHEET_PICTURES, SHEET_TILES = 24, 4  # two tiles a picture
NOTHING = "none of the classes"


def publish(output: Path, report: dict[str, Any], pictures: list[Picture], values: ClassValues) -> None:
    """Write `predictions.json`, the page and the contact sheet, unless they say all this already."""
    there = all((output / name).is_file() for name in (PAGE, SHEET))
    if there and read_json(output / PREDICTIONS) == json.loads(json.dumps(report)):
        return
    entries = report["pictures"]
    _write_page(output, report, pictures, values)
    chosen = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), SHEET_PICTURES)).round().astype(int))
    tiles = [tile for number in chosen for tile in _tiles(output, pictures[number], entries[number], values)]
    rows = [tiles[start : start + SHEET_TILES] for start in range(0, len(tiles), SHEET_TILES)]
    count = len(entries) if len(chosen) == len(entries) else f"{len(chosen)} of {len(entries)}"
    title = f"{count} pictures; beside each class its share of the picture"
    with atomic_path(output / SHEET) as temporary:
        contact_sheet(rows, title=title).save(temporary, quality=JPEG_QUALITY)
    write_json(output / PREDICTIONS, report)  # the last, because it says that the others are there


def _write_page(output: Path, report: dict[str, Any], pictures: list[Picture], values: ClassValues) -> None:
    entries, network = report["pictures"], report["network"]
    cards = [
        Card(
            title=entry["picture"],
            image=_thumbnail(output / overlay_path(picture)),
            labels=[
                Label(row["name"], values.colour(row["value"]), f"{row['score']:.2f} · {_percent(row['share'])}")
                for row in entry["classes"]
            ],
            links=[("overlay", overlay_path(picture)), ("mask", mask_path(picture))],
            note="" if entry["classes"] else NOTHING,
        )
        for picture, entry in zip(pictures[:MOST_CARDS], entries[:MOST_CARDS], strict=True)
    ]
    source = network["path"] or "the packaged ImageNet weights"
    intro = [
        f"{len(entries)} pictures of {report['input']}, by a {network['kind']} ({network['backbone']}, "
        f"{network['classes']} classes) from {source}.",
        f"Beside each class: its score ({network['score']}) and its share of the picture.",
    ]
    if len(entries) > MOST_CARDS:
        intro.append(f"Shown are the first {MOST_CARDS}; all are in {OVERLAYS} and {MASKS}.")
    totals: Counter[str] = Counter(row["name"] for entry in entries for row in entry["classes"])
    shares: Counter[str] = Counter()
    for entry in entries:
        for row in entry["classes"]:
            shares[row["name"]] += row["share"]
    rows = [(name, count, round(100 * shares[name] / count, 1)) for name, count in totals.most_common()]
    tables = [
        Table("Classes", ("class", "pictures", "mean share, %"), rows),
        Table("Files that could not be read", ("file", "reason"),
              [(row["picture"], row["reason"]) for row in report["unreadable"]]),
    ]  # fmt: skip
    write_page(output / PAGE, "Segmentation masks", intro, cards, [table for table in tables if table.rows])


def _tiles(output: Path, picture: Picture, entry: dict[str, Any], values: ClassValues) -> list[Tile]:
    """The picture and its overlay for the contact sheet."""
    drawn = _thumbnail(output / overlay_path(picture))
    image = fit(np.array(read_image(picture.path)), THUMBNAIL)
    seen = [row for row in entry["classes"] if row["pixels"]]
    swatches = [(f"{row['name']} {_percent(row['share'])}", values.colour(row["value"])) for row in seen]
    return [Tile(image, picture.relative), Tile(drawn, "" if swatches else NOTHING, swatches)]


def _percent(share: float) -> str:
    return "<1 %" if 0 < share < 0.01 else f"{100 * share:.0f} %"


def _thumbnail(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        image.draft("RGB", (THUMBNAIL, THUMBNAIL))  # JPEG is decoded at a fraction of its size
        return fit(np.asarray(image), THUMBNAIL)
