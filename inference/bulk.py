"""Masks of many images: read ahead of the network, written behind it, so that the network is what is waited for.

Every image is written by itself and marked as done when all its files are there; a call that is stopped is gone on with by the
same call, and ends with the same files. Memory holds a few images, however many there are.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.artifacts import Seed, write_mask, write_seed
from data.images import UnreadableImage
from data.pixels import look_of
from inference.gallery import JPEG_QUALITY, publish
from inference.images import InputImage, read_labels
from inference.output_folder import (
    DONE,
    PREDICTIONS,
    ClassValues,
    Occurrences,
    claim,
    done_path,
    find_done,
    identity,
    maps_path,
    mask_path,
    overlay_path,
    write_done,
)
from inference.predictor import IGNORE, Prediction, Predictor
from inference.sources import find_inputs
from utils.console import progress
from utils.distributed import WorkQueue, from_main, gather
from utils.errors import UserError
from utils.files import atomic_path, digest, is_whole, write_json
from utils.names import is_too_long
from utils.visualize import fit, overlay, printable

DRAWING = 1  # raised when drawing changes, so that old overlays are drawn anew
OVERLAY_SIDE, OPACITY = 1600, 0.45
AHEAD = 1  # images read before they are needed, beside the batch itself, and as many waiting to be written


@dataclass(frozen=True)
class Summary:
    """What a call of `predict_images` has done.

    Attributes:
        new: images that were predicted.
        kept: images that were done already.
        seconds: for the new ones.
        unreadable: `image` and `reason` of each file that could not be read.
        others: images done earlier in this folder that were not among the input.
        without_value: classes that occur and have no mask value left (see `ClassValues`).
        odd: images that look nearly black, nearly white or flat to the network, each with that.
    """

    new: int
    kept: int
    seconds: float
    unreadable: list[dict[str, str]]
    others: int
    without_value: list[str]
    odd: list[str]


@dataclass
class _Job:
    """An image, what it is known to show, what its outputs depend on, its number among those to do, and what became of it."""

    image: InputImage
    classes: list[int] | None
    fingerprint: str
    number: int = -1
    entry: dict[str, Any] | None = None
    unreadable: str = ""
    looks: str = ""


def predict_images(
    source: str | Path | Sequence[str | Path],
    output: Path,
    predictor: Predictor,
    labels: Path | None = None,
    limit: int = 0,
    maps: bool = False,
    *,
    recursive: bool = True,
    batch: int = 1,
) -> Summary:
    """Masks, overlays and a gallery for images, folders and patterns; those done already are kept.

    Several processes share the images and end with the files that one would have written.

    Args:
        source: images, folders, patterns such as `shots/*.jpg`, or one of these.
        output: the folder to write into; may lie inside `source`.
        labels: a CSV of what images contain (see `read_labels`); for the others the network says.
        limit: the most images to take; 0 takes all.
        maps: also write soft maps; images that are done but for these are predicted again.
        recursive: search folders at any depth.
        batch: images that the network is given at once.

    Raises:
        UserError: no images, none that can be read, an output folder that is not ours or cannot be written, or bad labels.
    """
    sources = [source] if isinstance(source, str | Path) else list(source)
    images = from_main(lambda: find_inputs(sources, output, recursive))
    given = read_labels(labels, images, predictor.class_names) if labels is not None else {}
    images = [replace(image, pixels=predictor.pixels) for image in images[: limit or None]]
    claim(output)
    values = ClassValues(output, predictor.class_names)
    base = digest([predictor.about["weights"], predictor.class_names, predictor.settings, DRAWING, OPACITY])
    jobs = []
    for image in images:
        classes = given.get(image.relative)
        jobs.append(_Job(image, classes, digest([base, image.relative, identity(image.path), classes])))
    todo = [jobs[place] for place in from_main(lambda: _find_missing(jobs, output, values, predictor, maps))]
    for number, job in enumerate(todo):
        job.number = number
    started = time.perf_counter()
    _predict(todo, output, predictor, values, maps, batch)
    _share_results(todo)
    seconds = time.perf_counter() - started
    return from_main(lambda: _publish(jobs, todo, output, predictor, values, sources, seconds))


def _find_missing(
    jobs: Sequence[_Job], output: Path, values: ClassValues, predictor: Predictor, maps: bool
) -> list[int]:
    """Places of the jobs that are to be done; the others have their entries now."""
    for job in jobs:
        if not maps or is_whole(output / maps_path(job.image)):
            job.entry = find_done(output, job.image, job.fingerprint, values, predictor)
    return [place for place, job in enumerate(jobs) if job.entry is None]


def _share_results(jobs: Sequence[_Job]) -> None:
    """Let every process know what became of the jobs of the others."""
    own = {job.number: (job.entry, job.unreadable) for job in jobs if job.entry is not None or job.unreadable}
    for part in gather(own):
        for number, (entry, unreadable) in part.items():
            jobs[number].entry, jobs[number].unreadable = entry, unreadable


def _publish(
    jobs: Sequence[_Job],
    todo: Sequence[_Job],
    output: Path,
    predictor: Predictor,
    values: ClassValues,
    sources: Sequence[str | Path],
    seconds: float,
) -> Summary:
    """Write what is said of all images together."""
    done = [job for job in jobs if job.entry is not None]
    unreadable = [
        {"image": printable(job.image.relative), "reason": printable(job.unreadable)} for job in jobs if job.unreadable
    ]
    known = {done_path(output, job.image) for job in jobs}
    others = sum(path not in known for path in (output / DONE).rglob("[!.]*.json"))
    entries = [job.entry for job in done if job.entry is not None]
    report = {
        "input": printable(", ".join(map(str, sources))),
        "network": predictor.about,
        "settings": predictor.settings,
        "images": entries,
        "unreadable": unreadable,
    }
    if entries:
        publish(output, report, [job.image for job in done], values)
    else:
        write_json(output / PREDICTIONS, report)
        raise UserError(
            f"--input {sources[0]}: not one image can be read ({len(unreadable)} tried); give other files. The first: "
            f"{unreadable[0]['reason']}"
        )
    without_value = {row["name"] for entry in entries for row in entry["classes"] if row["value"] == IGNORE}
    new = sum(not job.unreadable for job in todo)
    odd = [f"{entry['image']} ({entry['looks']})" for entry in entries if entry.get("looks")]
    return Summary(new, len(entries) - new, seconds, unreadable, others, sorted(without_value), odd)


def _predict(
    jobs: Sequence[_Job], output: Path, predictor: Predictor, values: ClassValues, maps: bool, batch: int
) -> None:
    """Do the jobs, and note in each what became of it.

    One thread reads, one writes, this one asks the network: decoding, scaling and compression leave the interpreter free. On an
    interrupt, what the network has done is still written. Of several processes each takes the next image when it is ready.
    """
    writing: deque[Future[None]] = deque()
    queue, occurrences = WorkQueue(range(len(jobs))), Occurrences(values)
    with ThreadPoolExecutor(1) as writer, _giving_up(occurrences), progress(None, len(jobs), "images") as bar:
        readable = _only_readable(_read_ahead((jobs[number] for number in queue), _read, batch + AHEAD), occurrences)
        while pairs := list(islice(readable, batch)):
            images, known = [image for _, image in pairs], [job.classes for job, _ in pairs]
            if len(pairs) == 1:
                predictions = [predictor.predict(images[0], known[0])]
            else:
                predictions = predictor.predict_many(images, known)
            for (job, image), prediction in zip(pairs, predictions, strict=True):
                occurrences.announce(job.number, prediction.classes)
                task = (job, output, image, prediction, occurrences, values, predictor, maps)
                writing.append(writer.submit(_finish, *task))
            while len(writing) > batch + AHEAD:
                writing.popleft().result()
            bar.update(queue.taken - bar.n)
        for future in writing:
            future.result()
        occurrences.catch_up(len(jobs))


@contextmanager
def _giving_up(occurrences: Occurrences) -> Iterator[None]:
    """On an error, let the writer write what it can and wait for nothing."""
    try:
        yield
    except BaseException:
        occurrences.give_up()
        raise


def _only_readable(
    images: Iterable[tuple[_Job, np.ndarray | None]], occurrences: Occurrences
) -> Iterator[tuple[_Job, np.ndarray]]:
    for job, image in images:
        if image is None:
            occurrences.announce(job.number, [])
        else:
            yield job, image


def _read_ahead(
    jobs: Iterable[_Job], read: Callable[[_Job], np.ndarray | None], ahead: int
) -> Iterator[tuple[_Job, np.ndarray | None]]:
    """Jobs in order with their images, at most `ahead` of which are in memory or being read."""
    with ThreadPoolExecutor(1) as reader:
        waiting: deque[tuple[_Job, Future[np.ndarray | None]]] = deque()
        try:
            for job in jobs:
                waiting.append((job, reader.submit(read, job)))
                if len(waiting) >= ahead:
                    first, image = waiting.popleft()
                    yield first, image.result()
            while waiting:
                first, image = waiting.popleft()
                yield first, image.result()
        finally:
            reader.shutdown(cancel_futures=True)


def _read(job: _Job) -> np.ndarray | None:
    """The image (H, W, 3) uint8, or None where it cannot be read, which the job then says."""
    try:
        if is_too_long(job.image.name):
            raise UnreadableImage(f"image {job.image.path} has a name too long to write others like it; rename it")
        image = job.image.read_image()
        job.looks = look_of(image)
        return image
    except UnreadableImage as error:
        job.unreadable = str(error)
        return None


def _finish(
    job: _Job,
    output: Path,
    image: np.ndarray,
    prediction: Prediction,
    occurrences: Occurrences,
    values: ClassValues,
    predictor: Predictor,
    maps: bool,
) -> None:
    """Write everything about an image, and last that it is done."""
    found = occurrences.values_of(job.number, prediction.classes)
    if maps:
        _write_maps(output / maps_path(job.image), prediction, found, image.shape[:2])
    entry = _write(job, output, image, prediction, found, values, predictor)
    write_done(done_path(output, job.image), job.fingerprint, entry)
    job.entry = entry


def _write(
    job: _Job,
    output: Path,
    image: np.ndarray,
    prediction: Prediction,
    found: list[int],
    values: ClassValues,
    predictor: Predictor,
) -> dict[str, Any]:
    """Write the mask and the overlay of an image, and return its entry in `predictions.json`."""
    table = np.zeros(256, np.uint8)
    table[1 : len(found) + 1] = found
    table[IGNORE] = IGNORE
    mask = table[prediction.mask]
    counts = Image.fromarray(prediction.mask).histogram()  # np.bincount would make eight bytes of each pixel
    write_mask(output / mask_path(job.image), mask, values.palette)
    drawn = overlay(fit(image, OVERLAY_SIDE), fit(mask, OVERLAY_SIDE, nearest=True), values.palette, OPACITY)
    with atomic_path(output / overlay_path(job.image)) as temporary:
        Image.fromarray(drawn).save(temporary, quality=JPEG_QUALITY)
    rows = [
        {
            "name": predictor.class_names[index],
            "value": value,
            "score": round(score, 4),
            "pixels": counts[number],
            "share": round(counts[number] / mask.size, 5),
        }
        for number, (index, value, score) in enumerate(
            zip(prediction.classes, found, prediction.scores, strict=True), 1
        )
    ]
    looks = {"looks": job.looks} if job.looks else {}
    return looks | {
        "image": printable(job.image.relative),
        "width": image.shape[1],
        "height": image.shape[0],
        "mask": printable(mask_path(job.image)),
        "overlay": printable(overlay_path(job.image)),
        "labels": "predicted" if job.classes is None else "given",
        "classes": sorted(rows, key=lambda row: -row["pixels"]),
        "background_share": round(counts[0] / mask.size, 5),
        "unsure_share": round(counts[IGNORE] / mask.size, 5),
    }


def _write_maps(path: Path, prediction: Prediction, found: list[int], size: tuple[int, int]) -> None:
    """The soft maps of the classes that have a mask value."""
    assert prediction.maps is not None  # networks know them
    kept = [place for place, value in enumerate(found) if value != IGNORE]
    classes = np.array([found[place] - 1 for place in kept], np.int64)
    write_seed(path, Seed(classes, prediction.maps[kept], size))
