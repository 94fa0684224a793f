"""Videos: the same video with masks drawn over its frames."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np

from data.images import check_pixels
from inference import output_folder as out
from inference.images import DONE, VIDEOS
from inference.predictor import Predictor
from utils.console import progress
from utils.distributed import WorkQueue, gather, is_main
from utils.errors import UserError
from utils.files import atomic_path, digest
from utils.visualize import overlay

QUALITY = 7  # of 0..10
ENCODING: dict[str, Any] = {
    "codec": "libx264",
    "pixelformat": "yuv420p",
    "quality": QUALITY,
    "macro_block_size": 1,
    # The format needs even sides: an odd one gets a line more. Players start while they load.
    "output_params": ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-movflags", "+faststart"],
}
# What imageio raises for files that hold no video, or a damaged one; its reader thread's errors are RuntimeError.
DAMAGED_VIDEO = (OSError, RuntimeError, ValueError, IndexError, StopIteration)


@dataclass(frozen=True)
class VideoSummary:
    """The result of a video."""

    path: Path  # of the overlay video
    frames: int  # in it
    seconds: float  # that they took; 0 where the video was done already
    classes: list[tuple[str, int]]  # names, those in most frames first, with the number of their frames


def predict_videos(
    videos: Sequence[Path], output: Path, predictor: Predictor, limit: int = 0, batch: int = 1
) -> Iterator[VideoSummary]:
    """`predict_video` of each; in the main process all summaries, its own as soon as they are there.

    Several processes share the videos, except where classes get mask values as they occur.
    """
    names = video_names(videos)
    queue, own = WorkQueue(range(len(videos))), []
    for index in queue if is_main() or len(predictor.class_names) <= out.LAST_VALUE else ():
        own.append(predict_video(videos[index], output, predictor, limit, batch, names[index]))
        yield own[-1]
    yield from itertools.chain.from_iterable(gather(own)[1:])


def video_names(videos: Sequence[Path]) -> list[str]:
    """Names of the overlays: the videos' own, with a number where several have the same."""
    names: list[str] = []
    for video in videos:
        taken = {other.casefold() for other in names}
        numbered = (f"{video.stem} ({number})" for number in itertools.count(2))
        wanted = itertools.chain([video.stem], numbered)
        names.append(next(name for name in wanted if name.casefold() not in taken))
    return names


def predict_video(
    source: Path, output: Path, predictor: Predictor, limit: int = 0, batch: int = 1, name: str = ""
) -> VideoSummary:
    """Draw the masks of every frame over it, `videos/NAME.mp4` in `output`; a video that is done already is kept.

    The network reads each frame by itself, `batch` of them at once, and at most `limit` (0: all). The overlay has the
    frames' size and rate, and no sound. It is written whole or not at all: after a stop the video begins anew.
    """
    values = out.ClassValues(output, predictor.class_names)
    target = output / VIDEOS / f"{name or source.stem}.mp4"
    note = output / DONE / VIDEOS / f"{target.name}.json"
    fingerprint = digest([*out.made_with(predictor), out.identity(source), limit, out.OPACITY, QUALITY])
    record = out.read_done(note, fingerprint)
    if record is not None and target.is_file():
        return VideoSummary(target, record["frames"], 0.0, [tuple(row) for row in record["classes"]])
    started = time.perf_counter()
    with closing(_open(source)) as reader, atomic_path(target) as temporary:
        fps = reader.get_meta_data()["fps"]
        with closing(imageio.get_writer(temporary, format="FFMPEG", fps=fps, **ENCODING)) as writer:
            frames, seen = _draw(_frames(reader, source, limit), batch, writer, predictor, values)
        if not frames:
            raise _no_video(source, "it has no frame that can be decoded")
    out.write_done(note, fingerprint, {"frames": frames, "classes": [list(row) for row in seen.most_common()]})
    return VideoSummary(target, frames, time.perf_counter() - started, seen.most_common())


def _draw(
    frames: Iterator[np.ndarray], batch: int, writer: Any, predictor: Predictor, values: out.ClassValues
) -> tuple[int, Counter[str]]:
    """Write the overlay of all frames; returns their number, and the number of frames with each class."""
    count = 0
    seen: Counter[str] = Counter()
    batches = iter(lambda: list(islice(frames, batch)), [])
    for images, predictions in predictor.compute.each(lambda some: (some, predictor.predict_many(some)), batches):
        for image, prediction in zip(images, predictions, strict=True):
            mask = out.to_values(prediction.mask, [values.value(index) for index in prediction.classes])
            writer.append_data(overlay(image, mask, values.palette, out.OPACITY))
            found = np.unique(prediction.mask)
            classes = enumerate(prediction.classes, 1)
            seen.update(predictor.class_names[index] for value, index in classes if value in found)
            count += 1
    return count, seen


def _open(source: Path) -> Any:
    logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)  # it warns of the size of a video that is turned
    try:
        reader = imageio.get_reader(source, format="FFMPEG")
        width, height = reader.get_meta_data()["size"]
        check_pixels(height, width, f"--input {source}: a frame")
        return reader
    except DAMAGED_VIDEO as error:
        lines = str(error).strip().splitlines() or ["ffmpeg finds no frames"]
        raise _no_video(source, lines[-1]) from error


def _frames(reader: Any, source: Path, limit: int) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 each. A video that breaks off gives the frames before it does, as players show them."""
    about = reader.get_meta_data()
    expected = max(1, round(about["fps"] * about.get("duration", 0)))
    expected = min(expected, limit) if limit else expected
    for frame in progress(islice(reader.iter_data(), limit or None), expected, source.name, unit="frame"):
        yield np.asarray(frame)[..., :3]


def _no_video(source: Path, reason: str) -> UserError:
    remedy = "give another file, or convert this one: ffmpeg -i FILE -c:v libx264 new.mp4"
    return UserError(f"--input {source} cannot be read as a video ({reason}); {remedy}")
