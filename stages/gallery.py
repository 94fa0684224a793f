"""The output folder of infer.py: which pictures, which are done already, and everything that is written about them.

    out/masks/NAME.png        palette PNG at the picture's own size; 0 background, 255 unsure
    out/overlays/NAME.jpg     the mask drawn over the picture
    out/maps/NAME.npz         where asked for: soft maps, a seed file (data/artifacts.py) whose class k has mask value k + 1
    out/classes.json          mask value -> class name and colour
    out/predictions.json      per picture: size, classes with score, share and pixels; unreadable files; network; settings
    out/index.html, out/contact_sheet.jpg
    out/.done/NAME.json       what is known of a picture that is done, with the fingerprint of what it was made from

NAME is the picture's path under the input folder without suffix; pictures that differ in nothing but the suffix keep it.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from data.artifacts import Seed, voc_palette, write_mask, write_seed
from data.images import IMAGE_SUFFIXES, UnreadableImage, find_images, read_image
from stages.inference import IGNORE, Prediction, Predictor
from stages.pictures import Picture, output_names, read_labels
from utils.engine import progress
from utils.errors import UserError
from utils.files import atomic_path, digest, write_json
from utils.visualize import Card, Label, Table, Tile, bright_palette, contact_sheet, fit, overlay, printable, write_page

MASKS, OVERLAYS, MAPS, DONE, SHEET = "masks", "overlays", "maps", ".done", "contact_sheet.jpg"
CLASSES, PREDICTIONS, PAGE = "classes.json", "predictions.json", "index.html"
DRAWING = 1  # raised when drawing changes, so that old overlays are drawn anew
OVERLAY_SIDE, OPACITY, JPEG_QUALITY = 1600, 0.45, 90
MOST_CARDS, THUMBNAIL = 400, 360  # pictures inside the page, some 20 KB each, and their long side
SHEET_PICTURES, SHEET_TILES = 24, 4  # two tiles a picture
NOTHING = "none of the classes"
LAST_VALUE = IGNORE - 1  # of a class in a mask


@dataclass(frozen=True)
class Summary:
    """What a call of `predict_pictures` has done.

    Attributes:
        new: pictures that were predicted.
        kept: pictures that were done already.
        seconds: for the new ones.
        unreadable: `picture` and `reason` of each file that could not be read.
        others: pictures done earlier in this folder that were not among the input.
        without_value: classes that occur and have no mask value left (see `ClassValues`).
    """

    new: int
    kept: int
    seconds: float
    unreadable: list[dict[str, str]]
    others: int
    without_value: list[str]


class ClassValues:
    """Which mask value stands for which class.

    Class c has value c + 1 as long as masks hold all classes of the network. With more than 254 classes (ImageNet's 1,000)
    values 1, 2, ... are given to classes as they first occur, written to `classes.json` before any mask uses them, and kept
    when a folder is gone on with. The 255th class that occurs, and those after it, have no value left: their pixels are 255.
    """

    def __init__(self, folder: Path, class_names: Sequence[str]):
        self.path, self.class_names = folder / CLASSES, class_names
        self.by_occurrence = len(class_names) > LAST_VALUE
        self.palette = bright_palette() if self.by_occurrence else voc_palette()
        self.values = {} if self.by_occurrence else {index: index + 1 for index in range(len(class_names))}
        if self.by_occurrence:
            known = _read_json(self.path)
            if known.get("network_classes") == digest(list(class_names)):
                self.values = {class_names.index(row["name"]): row["value"] for row in known["classes"]}
        self._write()

    def value(self, index: int) -> int:
        """The class's value, a new one where it occurs for the first time."""
        if index not in self.values:
            if len(self.values) == LAST_VALUE:
                return IGNORE
            self.values[index] = len(self.values) + 1
            self._write()
        return self.values[index]

    def colour(self, value: int) -> tuple[int, int, int]:
        """The colour of a mask value."""
        return tuple(self.palette[value].tolist())

    def _write(self) -> None:
        rows = [
            {"value": value, "name": self.class_names[index], "colour": list(self.colour(value))}
            for index, value in sorted(self.values.items(), key=lambda item: item[1])
        ]
        content = {
            "background": 0,
            "unsure": IGNORE,
            "values": "as classes occur in this folder" if self.by_occurrence else "the network's order",
            "network_classes": digest(list(self.class_names)),
            "classes": rows,
        }
        if _read_json(self.path) != content:
            write_json(self.path, content)


def predict_pictures(
    source: Path, output: Path, predictor: Predictor, labels: Path | None = None, limit: int = 0, maps: bool = False
) -> Summary:
    """Masks, overlays and a gallery for a picture or a folder of pictures; those done already are kept.

    Args:
        source: a picture, or a folder that is searched at any depth.
        output: the folder to write into; may lie inside `source`.
        labels: a CSV of what pictures contain (see `read_labels`); for the others the network says.
        limit: the most pictures to take; 0 takes all.
        maps: also write soft maps; pictures that are done but for these are predicted again.

    Raises:
        UserError: no pictures, none that can be read, an output folder that is not ours, or bad labels.
    """
    pictures = find_pictures(source, output)
    given = read_labels(labels, pictures, predictor.class_names) if labels is not None else {}
    pictures = pictures[:limit] if limit else pictures
    _claim(output)
    values = ClassValues(output, predictor.class_names)
    base = digest([predictor.about["weights"], predictor.class_names, predictor.settings, DRAWING, OPACITY])
    entries: list[dict[str, Any]] = []
    done: list[Picture] = []
    unreadable: list[dict[str, str]] = []
    new, started = 0, time.perf_counter()
    for picture in progress(pictures, len(pictures), "pictures"):
        classes = given.get(picture.relative)
        fingerprint = digest([base, picture.relative, _identity(picture.path), classes])
        entry = _done(output, picture, fingerprint, values, predictor)
        if entry is None or (maps and not (output / _maps_path(picture)).is_file()):
            try:
                image = np.array(read_image(picture.path))
            except UnreadableImage as error:
                unreadable.append({"picture": printable(picture.relative), "reason": printable(str(error))})
                continue
            prediction = predictor.predict(image, classes)
            if maps:
                _write_maps(output / _maps_path(picture), prediction, values, image.shape[:2])
            entry = _write(output, picture, image, prediction, values, predictor, classes is not None)
            write_json(_done_path(output, picture), {"fingerprint": fingerprint, "entry": entry})
            new += 1
        entries.append(entry)
        done.append(picture)
    seconds = time.perf_counter() - started
    known = {_done_path(output, picture) for picture in pictures}
    others = sum(path not in known for path in (output / DONE).rglob("*.json"))
    report = {
        "input": printable(str(source)),
        "network": predictor.about,
        "settings": predictor.settings,
        "pictures": entries,
        "unreadable": unreadable,
    }
    if entries:
        _publish(output, report, done, values)
    else:
        write_json(output / PREDICTIONS, report)
        raise UserError(
            f"--input {source}: not one picture can be read ({len(unreadable)} tried): {unreadable[0]['reason']}"
        )
    without_value = {row["name"] for entry in entries for row in entry["classes"] if row["value"] == IGNORE}
    return Summary(new, len(entries) - new, seconds, unreadable, others, sorted(without_value))


def find_pictures(source: Path, output: Path) -> list[Picture]:
    """The pictures of the input, without what infer.py itself has written there.

    Raises:
        UserError: there is nothing of that name, or no picture in it.
    """
    if source.is_file():
        return [Picture(source, source.name, PurePosixPath(source.name).stem)]
    if not source.is_dir():
        raise UserError(f"--input {source}: there is no such file or folder")
    written = [done.parent for done in source.rglob(DONE) if done.is_dir()]
    if output.is_dir():
        written.append(output)
    ours = [path.resolve() / part for path in written for part in (MASKS, OVERLAYS, SHEET)]
    paths = [path for path in find_images(source) if not any(path.resolve().is_relative_to(part) for part in ours)]
    if not paths:
        suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
        raise UserError(f"--input {source}: no pictures in this folder; expected files that end in {suffixes}")
    relative = [path.relative_to(source).as_posix() for path in paths]
    names = output_names(relative)
    return [Picture(path, place, names[place]) for path, place in zip(paths, relative, strict=True)]


def _claim(output: Path) -> None:
    """Make the output folder; refuse one whose masks are somebody else's work."""
    try:
        for name in (MASKS, OVERLAYS):
            if any((output / name).glob("*")) and not (output / DONE).is_dir():
                raise UserError(f"--output {output}: its folder {name} was not written by infer.py and would be overwritten; "
                                "choose another folder")  # fmt: skip
        (output / DONE).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output} cannot be written: {error}") from error


def _write(
    output: Path, picture: Picture, image: np.ndarray, prediction: Prediction, values: ClassValues, predictor: Predictor,
    given: bool,
) -> dict[str, Any]:  # fmt: skip
    """Write the mask and the overlay of a picture, and return its entry in `predictions.json`."""
    classes = [values.value(index) for index in prediction.classes]
    table = np.zeros(256, np.uint8)
    table[1 : len(classes) + 1] = classes
    table[IGNORE] = IGNORE
    mask = table[prediction.mask]
    counts = np.bincount(prediction.mask.ravel(), minlength=256)
    mask_path, overlay_path = _mask_path(picture), _overlay_path(picture)
    write_mask(output / mask_path, mask, values.palette)
    drawn = overlay(fit(image, OVERLAY_SIDE), fit(mask, OVERLAY_SIDE, nearest=True), values.palette, OPACITY)
    with atomic_path(output / overlay_path) as temporary:
        Image.fromarray(drawn).save(temporary, quality=JPEG_QUALITY)
    rows = [
        {
            "name": predictor.class_names[index],
            "value": value,
            "score": round(score, 4),
            "pixels": int(counts[number]),
            "share": round(float(counts[number] / mask.size), 5),
        }
        for number, (index, value, score) in enumerate(
            zip(prediction.classes, classes, prediction.scores, strict=True), 1
        )
    ]
    return {
        "picture": printable(picture.relative),
        "width": image.shape[1],
        "height": image.shape[0],
        "mask": printable(mask_path),
        "overlay": printable(overlay_path),
        "labels": "given" if given else "predicted",
        "classes": sorted(rows, key=lambda row: -row["pixels"]),
        "background_share": round(float(counts[0] / mask.size), 5),
        "unsure_share": round(float(counts[IGNORE] / mask.size), 5),
    }


def _write_maps(path: Path, prediction: Prediction, values: ClassValues, size: tuple[int, int]) -> None:
    """The soft maps of the classes that have a mask value."""
    found = [values.value(index) for index in prediction.classes]
    kept = [place for place, value in enumerate(found) if value != IGNORE]
    classes = np.array([found[place] - 1 for place in kept], np.int64)
    write_seed(path, Seed(classes, prediction.maps[kept], size))


def _done(
    output: Path, picture: Picture, fingerprint: str, values: ClassValues, predictor: Predictor
) -> dict[str, Any] | None:
    """The entry of a picture that was done from the same file with the same network and settings, else None."""
    record = _read_json(_done_path(output, picture))
    if record.get("fingerprint") != fingerprint:
        return None
    entry = record["entry"]
    if not (output / _mask_path(picture)).is_file() or not (output / _overlay_path(picture)).is_file():
        return None
    known = {predictor.class_names[index]: value for index, value in values.values.items()}
    if any(known.get(row["name"], IGNORE) != row["value"] for row in entry["classes"]):
        return None  # the table of values was lost
    return entry


def _publish(output: Path, report: dict[str, Any], pictures: list[Picture], values: ClassValues) -> None:
    """Write `predictions.json`, the page and the contact sheet, unless they say all this already."""
    there = all((output / name).is_file() for name in (PAGE, SHEET))
    if there and _read_json(output / PREDICTIONS) == json.loads(json.dumps(report)):
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
            image=_thumbnail(output / _overlay_path(picture)),
            labels=[
                Label(row["name"], values.colour(row["value"]), f"{row['score']:.2f} · {_percent(row['share'])}")
                for row in entry["classes"]
            ],
            links=[("overlay", _overlay_path(picture)), ("mask", _mask_path(picture))],
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
    drawn = _thumbnail(output / _overlay_path(picture))
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


def _mask_path(picture: Picture) -> str:
    return f"{MASKS}/{picture.name}.png"


def _overlay_path(picture: Picture) -> str:
    return f"{OVERLAYS}/{picture.name}.jpg"


def _maps_path(picture: Picture) -> str:
    return f"{MAPS}/{picture.name}.npz"


def _done_path(output: Path, picture: Picture) -> Path:
    return output / DONE / f"{picture.name}.json"


def _identity(path: Path) -> list[int]:
    """What changes when a picture's file does."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _read_json(path: Path) -> dict[str, Any]:
    """A file of ours, or nothing where it is missing or damaged: it is only a short cut."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
