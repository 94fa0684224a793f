"""Masks of many images: read ahead of the network, written behind it, so that all wait for the network alone.

Every image is marked as done when all its files are there. After a stop the same call goes on.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.artifacts import Seed, write_mask, write_seed
from data.images import UnreadableImage, frames_of
from data.pixels import look_of
from inference import output_folder as out
from inference.gallery import JPEG_QUALITY, publish
from inference.images import DONE, MAPS, MASKS, OVERLAYS, InputImage, file_of, find_inputs, read_labels
from inference.predictor import Prediction, Predictor
from utils.console import progress
from utils.distributed import WorkQueue, from_main, gather, is_main
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import atomic_path, digest, is_whole, write_json
from utils.ignore import IGNORE
from utils.names import is_too_long
from utils.reading import read_ahead
from utils.visualize import fit, overlay, printable

DRAWING = 1  # raised when drawing changes, so that old overlays are drawn anew
OVERLAY_SIDE = 1600
AHEAD = 1  # images read before they are needed, beside the batch itself, and as many waiting to be written


@dataclass(frozen=True)
class Options:
    """What to do with the images."""

    labels: Path | None = None  # a CSV (`read_labels`); the network predicts the classes of images without a row
    limit: int = 0  # the most images to take; 0 takes all
    maps: bool = False  # also write soft maps; images that are done but for these are predicted again
    recursive: bool = True  # search folders at any depth
    batch: int = 1  # images that the network is given at once
    check: Callable[[Sequence[InputImage], out.ClassValues], None] | None = None  # raises before the first is read


@dataclass(frozen=True)
class Summary:
    """What a call of `predict_images` has done."""

    new: int  # images that were predicted
    kept: int  # images that were done already
    seconds: float  # for the new ones
    unreadable: list[dict[str, str]]  # `image` and `reason` of each file that could not be read
    others: int  # images done earlier in this folder that were not among the input
    entries: list[dict[str, Any]]  # of all images of the input that were read, as in `predictions.json`

    @property
    def without_value(self) -> list[str]:
        """Classes that occur and have no mask value left (see `ClassValues`)."""
        return sorted({row["name"] for entry in self.entries for row in entry["classes"] if row["value"] == IGNORE})

    def with_note(self, key: str) -> list[str]:
        """Images whose entries have a note, each with it: `looks`, or `frames`, whose first one was read."""
        return [f"{entry['image']} ({str(entry[key]).rstrip(',')})" for entry in self.entries if key in entry]


@dataclass
class _Job:
    """An image, its given classes, what its outputs depend on, and the result: an entry, or why it is unreadable."""

    image: InputImage
    classes: list[int] | None
    fingerprint: str = ""
    entry: dict[str, Any] | None = None
    unreadable: str = ""
    notes: dict[str, Any] = field(default_factory=dict)  # that its entry begins with: `looks`, `frames`


def predict_images(
    source: str | Path | Sequence[str | Path], output: Path, predictor: Predictor, options: Options | None = None
) -> Summary:
    """Masks, overlays and a gallery for images, folders and patterns; those done already are kept.

    The output folder (`output_folder.claim`) may lie inside `source`.
    """
    options = options or Options()
    sources = [source] if isinstance(source, str | Path) else list(source)
    images = from_main(lambda: find_inputs(sources, output, options.recursive))
    images = [replace(image, pixels=predictor.pixels) for image in images[: options.limit or None]]
    given = read_labels(options.labels, images, predictor.class_names) if options.labels is not None else {}
    base = digest([*out.made_with(predictor), DRAWING, out.OPACITY])
    jobs = [_Job(image, given.get(image.relative)) for image in images]
    for job in jobs:
        job.fingerprint = digest([base, job.image.relative, out.identity(job.image.path), job.classes])
    work = _Work(output, predictor, out.ClassValues(output, predictor.class_names), options)
    if (check := options.check) is not None:
        from_main(lambda: check(images, work.values))
    todo = [jobs[index] for index in from_main(lambda: work.find_missing(jobs))]
    started = time.perf_counter()
    work.predict(todo)
    seconds = time.perf_counter() - started
    return from_main(lambda: work.publish(jobs, todo, sources, seconds))


@dataclass(frozen=True)
class _Work:
    output: Path
    predictor: Predictor
    values: out.ClassValues
    options: Options

    def find_missing(self, jobs: Sequence[_Job]) -> list[int]:
        """Indices of the jobs that are to be done, which replace nobody's mask; the others have their entries now."""
        for job in jobs:
            if not self.options.maps or is_whole(self.output / file_of(job.image, MAPS)):
                job.entry = out.find_done(self.output, job.image, job.fingerprint, self.values)
        out.require_own(self.output, [job.image for job in jobs if job.entry is None])
        return [index for index, job in enumerate(jobs) if job.entry is None]

    def predict(self, jobs: Sequence[_Job]) -> None:
        """Do the jobs, and note the result in each, in all processes.

        Some threads read, some run the network, one writes. On an interrupt, what is done so far is still written.
        Where classes get mask values as they occur, the main process takes all jobs, else each the next one.
        """
        queue, batch = WorkQueue(range(len(jobs))), self.options.batch
        mine = queue if is_main() or not self.values.by_occurrence else ()
        writing: deque[Future[None]] = deque()
        with ThreadPoolExecutor(1) as writer, progress(None, len(jobs), "images") as bar:
            own = (jobs[index] for index in mine)
            readable = ((job, image) for job, image in read_ahead(_read, own, batch + AHEAD) if image is not None)
            batches = iter(lambda: list(islice(readable, batch)), [])
            for pairs, predictions in self.predictor.compute.each(self._predict, batches):
                for (job, image), prediction in zip(pairs, predictions, strict=True):
                    values = [self.values.value(index) for index in prediction.classes]
                    writing.append(writer.submit(self._finish, job, image, prediction, values))
                while len(writing) > batch + AHEAD:
                    writing.popleft().result()
                bar.update(queue.taken - bar.n)
            for future in writing:
                future.result()
        found = {index: (job.entry, job.unreadable) for index, job in enumerate(jobs) if job.entry or job.unreadable}
        for part in gather(found):
            for index, (entry, unreadable) in part.items():
                jobs[index].entry, jobs[index].unreadable = entry, unreadable

    def _predict(self, pairs: list[tuple[_Job, np.ndarray]]) -> tuple[list[tuple[_Job, np.ndarray]], list[Prediction]]:
        images, classes = [image for _, image in pairs], [job.classes for job, _ in pairs]
        return pairs, self.predictor.predict_many(images, classes)

    def _finish(self, job: _Job, image: np.ndarray, prediction: Prediction, values: list[int]) -> None:
        """Write everything about an image, and last that it is done; `values` are those of the prediction's classes."""
        # What later images add to the table, or have added before a stop, changes no file.
        names = self.values.names[: max(values, default=0) if self.values.by_occurrence else None]
        if self.options.maps:
            kept = [index for index, value in enumerate(values) if value != IGNORE]
            seed = Seed(np.array(values, np.int64)[kept] - 1, prediction.maps[kept], image.shape[:2])
            write_seed(self.output / file_of(job.image, MAPS), seed, names)
        else:  # those of another network or of former settings
            (self.output / file_of(job.image, MAPS)).unlink(missing_ok=True)
        mask, palette = out.to_values(prediction.mask, values), self.values.palette
        write_mask(self.output / file_of(job.image, MASKS), mask, palette, names)
        drawn = overlay(fit(image, OVERLAY_SIDE), fit(mask, OVERLAY_SIDE, nearest=True), palette, out.OPACITY)
        with atomic_path(self.output / file_of(job.image, OVERLAYS)) as temporary:
            Image.fromarray(drawn).save(temporary, quality=JPEG_QUALITY)
        found = out.classes_on(prediction, values, self.predictor.class_names)
        entry = job.notes | {
            "image": printable(job.image.relative),
            "width": image.shape[1],
            "height": image.shape[0],
            "mask": printable(file_of(job.image, MASKS)),
            "overlay": printable(file_of(job.image, OVERLAYS)),
            "labels": "predicted" if job.classes is None else "given",
            "classes": [asdict(one) | {"score": round(one.score, 4), "share": round(one.share, 5)} for one in found],
            "background_share": round(float((mask == 0).mean()), 5),
            "unsure_share": round(float((prediction.mask == IGNORE).mean()), 5),
        }
        made = {
            "source": os.fsencode(job.image.path.absolute()).decode("latin-1"),
            "mask": digest_files([self.output / file_of(job.image, MASKS)])[0],
        }
        out.write_done(self.output / file_of(job.image, DONE), job.fingerprint, entry, **made)
        job.entry = entry

    def publish(
        self, jobs: Sequence[_Job], todo: Sequence[_Job], sources: Sequence[str | Path], seconds: float
    ) -> Summary:
        """Write what concerns all images together."""
        done = [(job.image, job.entry) for job in jobs if job.entry is not None]
        entries = [entry for _, entry in done]
        failed = ((job.image.relative, job.unreadable) for job in jobs if job.unreadable)
        unreadable = [{"image": printable(name), "reason": printable(reason)} for name, reason in failed]
        report = {
            "input": printable(", ".join(map(str, sources))),
            "network": self.predictor.about,
            "settings": self.predictor.settings,
            "made_of": digest([job.fingerprint for job in jobs]),  # also of images whose entries are as before
            "images": entries,
            "unreadable": unreadable,
        }
        if not done:
            write_json(self.output / out.PREDICTIONS, report)
            what = f"not one image can be read ({len(unreadable)} tried)"
            raise UserError(f"--input {sources[0]}: {what}; give other files. The first: {unreadable[0]['reason']}")
        publish(self.output, report, done, self.values)
        known = {self.output / file_of(job.image, MASKS) for job in jobs}
        others = sum(path not in known for path in (self.output / MASKS).rglob("[!.]*.png"))
        new = sum(not job.unreadable for job in todo)
        return Summary(new, len(entries) - new, seconds, unreadable, others, entries)


def _read(job: _Job) -> tuple[_Job, np.ndarray | None]:
    """The job with its image (H, W, 3) uint8, or with None where it cannot be read; the job then holds the reason."""
    try:
        if is_too_long(job.image.name):
            raise UnreadableImage(f"image {job.image.path} has a name too long to write others like it; rename it")
        image = job.image.read_image()
        if looks := look_of(image):
            job.notes["looks"] = looks
        if not job.image.pixels.bands and (frames := frames_of(job.image.path)) > 1:  # pages may be bands
            job.notes["frames"] = frames
        return job, image
    except UnreadableImage as error:
        job.unreadable = str(error)
        return job, None
