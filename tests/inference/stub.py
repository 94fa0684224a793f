"""A predictor without a network, and images for it."""

import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data.artifacts import seed_size
from data.pixels import AUTO, PixelRule
from inference.predictor import Prediction
from utils.compute import Compute

NAMES = ("cat", "dog", "train")
MANY = tuple(f"class {number}" for number in range(300))  # more than masks can hold
ABOUT = {"kind": "classifier", "path": "x.pth", "weights": "w", "backbone": "b", "classes": 3, "score": "probability"}

QUICK = [
    *("model.backbone=efficientnet_lite0", "cam.scales=[1.0]", "cam.flip=false", "ibb.iterations=1", "ibb.epochs=1"),
    *("segment.stage=2", "segment.scales=[1.0,0.5]"),
]


@dataclass
class Stub:
    """A predictor without a network: the class is the image's first red value, over its upper half."""

    class_names: tuple[str, ...] = NAMES
    pixels: PixelRule = AUTO
    settings: dict[str, Any] = field(default_factory=lambda: {"threshold": 0.3})
    about: dict[str, Any] = field(default_factory=lambda: dict(ABOUT))
    asked: list[Any] = field(default_factory=list)
    fails_at: int | None = None
    killed: bool = False  # it then ends the process, else it is interrupted
    compute: Compute = field(default_factory=lambda: Compute(torch.device("cpu")))

    def predict(self, image: np.ndarray, classes: list[int] | None = None) -> Prediction:
        if len(self.asked) == self.fails_at:
            if self.killed:
                os.kill(os.getpid(), signal.SIGKILL)
            raise KeyboardInterrupt
        self.asked.append(classes)
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[: len(mask) // 2] = 1
        found = tuple(classes or [int(image[0, 0, 0])])
        maps = np.full((len(found), *seed_size(*image.shape[:2])), 0.4, np.float32)
        return Prediction(mask, found, (0.5,) * len(found), maps)

    def predict_many(self, images: list[np.ndarray], classes: list[list[int] | None] | None = None) -> list[Prediction]:
        return [self.predict(*each) for each in zip(images, classes or [None] * len(images), strict=True)]


def save(path: Path, size: tuple[int, int], red: int | None = None, mode: str = "RGB", orientation: int = 1) -> None:
    """An image of `size` (H, W); with `red`, of that one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(size).integers(0, 256, (*size, 3), dtype=np.uint8)
    if red is not None:
        pixels[:] = red, 0, 0
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).convert(mode).save(path, **({"exif": exif} if orientation != 1 else {}))


def save_three(folder: Path) -> Path:
    """Of a jpg, a grey png in a sub-folder, and a jpg that lies on its side."""
    save(folder / "a.jpg", (40, 60))
    save(folder / "b/c.png", (48, 32), mode="L")
    save(folder / "rotated.jpg", (40, 60), orientation=6)
    return folder


def predictions(output: Path) -> dict[str, Any]:
    return json.loads((output / "predictions.json").read_text(encoding="utf-8"))


def times(output: Path) -> dict[Path, int]:
    return {
        path: path.stat().st_mtime_ns
        for path in output.rglob("*")
        if path.is_file() and not path.name.startswith(".lock")
    }
