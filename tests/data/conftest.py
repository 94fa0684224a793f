"""Images of two classes, which tests of the check share."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

random = np.random.default_rng(0)


def put(path: Path, pixels: np.ndarray | None = None) -> np.ndarray:
    """An image of noise, or of these pixels."""
    pixels = random.integers(0, 256, (6, 8, 3), dtype=np.uint8) if pixels is None else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for name in ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"):
        put(tmp_path / "pets" / name)
    return tmp_path / "pets"
