"""Images that are nearly the same as others: another exposure of one scene, or the next frame of a video."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32  # pixels of the small grey copies by which images are compared
ALIKE = 0.93  # correlation of two of them: one scene seen twice; of different photographs of VOC at most 0.88
# What most images share is taken away before: aligned parts look alike but for what is told apart.
FAINT = 0.05  # length of what is left of an image, below which it is noise
USUAL = 1  # image that shares nothing is added, so that a single one does not take itself away

Thumbnails = Sequence[tuple[Path, bytes]]  # of each image, as `thumbnail_of` makes it


def thumbnail_of(image: Image.Image) -> bytes:
    """The pixels of a small grey copy."""
    return image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX).tobytes()


def near_copies(found: Thumbnails, others: Thumbnails) -> Iterator[str]:
    """Those of which one of the others is a near copy, with it."""
    if not others:
        return
    pixels = _standardised(others)
    usual = pixels.sum(axis=0) / (len(others) + USUAL)
    thumbnails = _of_length_one(pixels - usual, FAINT)
    for path, thumbnail in found:
        own = _of_length_one(_standardised([(path, thumbnail)]) - usual, FAINT)[0]
        if (similarity := thumbnails @ own).max() > ALIKE:
            yield f"{path} (like {others[similarity.argmax()][0]})"


def _standardised(found: Thumbnails) -> np.ndarray:
    """(N, pixels) float32: thumbnails of mean 0 and length 1, shorter where they have no contrast."""
    pixels = np.frombuffer(b"".join(thumbnail for _, thumbnail in found), np.uint8).reshape(-1, SIDE**2)
    return _of_length_one(pixels - pixels.mean(axis=1, keepdims=True, dtype=np.float32), SIDE)


def _of_length_one(rows: np.ndarray, least: float) -> np.ndarray:
    """Rows divided by their length, or by `least` where they are shorter."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), least)
