"""The demo dataset: generated images in VOC layout; every class has a most discriminative part and a usual context.

So the two faults of plain class activation maps show: only the most discriminative part of an object lights up
(under-activation), and so does the context (over-activation). The same numbers always give the same files.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from data.artifacts import write_mask
from data.dataset import Index
from data.shapes_art import DRAWINGS
from data.shapes_fields import Frame, background, make_frame, paint
from data.voc import open_voc
from utils.errors import UserError
from utils.files import atomic_path, read_json, remove_leftovers, write_json, write_text

SHAPES_CLASSES = tuple(drawing.name for drawing in DRAWINGS)

VERSION = 1  # raise it when the images change: datasets of an older version are written anew
SEED = 2024
MARKER = "shapes.json"
LISTS = ("train", "val")

ASPECTS = (1.0, 1.0, 4 / 3, 3 / 4, 5 / 4)  # width : height, drawn evenly
TWO_OBJECTS = 0.25  # share of images
CONTEXT_WITH_CLASS = 0.92  # share of objects that stand in their context
STRAY_CONTEXT = 0.04  # share of images with the context of a class that they do not show
LEAST_VISIBLE = 0.03  # share of the image that each object must show
JPEG_QUALITY = 92


@dataclass(frozen=True)
class Scene:
    """One image and all that is known about it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    mask: np.ndarray  # (H, W) uint8, class c has value c + 1
    labels: tuple[int, ...]  # the classes shown, sorted
    objects: tuple[tuple[int, bool], ...]  # class of each object, and whether it stands in its context


def open_shapes(root: str | Path, list_name: str, train: int, val: int, size: int, masks: bool = False) -> Index:
    """Index of the list `train` or `val`, generated first where it is missing, unfinished or of other numbers.

    `train` and `val` count images, `size` is the long side in pixels. A folder of something else is a `UserError`.
    """
    root = Path(root)
    wanted = {"generator": "ibbnet shapes", "version": VERSION, "seed": SEED, "train": train, "val": val, "size": size}
    wanted["complete"] = True

    folders = [("JPEGImages", ".jpg")] + ([("SegmentationClass", ".png")] if masks else [])
    names = _names("train", train) + _names("val", val)
    files = [root / folder / f"{name}{suffix}" for folder, suffix in folders for name in names]
    files += [root / "image_labels.csv"] + [root / "ImageSets/Segmentation" / f"{name}.txt" for name in LISTS]

    def is_there() -> bool:
        return read_json(root / MARKER) == wanted and all(path.is_file() for path in files)

    if not is_there():
        root.absolute().parent.mkdir(parents=True, exist_ok=True)
        # Beside the root, which must be empty. Several processes may ask at once: one generates and the others wait.
        with FileLock(root.absolute().parent / f".{root.name}.lock"):
            if not is_there():
                remove_leftovers(root)
                if root.is_dir() and any(root.iterdir()) and not (root / MARKER).exists():
                    what = f"data.root {root} is not empty and holds no generated dataset ({MARKER})"
                    remedy = "set data.root to a new folder, or data.kind to voc"
                    raise UserError(f"{what}; the demo images would be mixed with what is there; {remedy}")
                generate(root, train, val, size)
                write_json(root / MARKER, wanted)
    return open_voc(root, list_name, masks=masks)


def generate(root: Path, train: int, val: int, size: int) -> None:
    """Write images, masks, lists and labels; until all are there, the folder is marked as unfinished."""
    write_json(root / MARKER, {"generator": "ibbnet shapes", "complete": False})
    names = [_names(list_name, count) for list_name, count in zip(LISTS, (train, val), strict=True)]
    for folder in ("JPEGImages", "SegmentationClass"):
        for path in (root / folder).glob("*_*.*"):
            is_kept = any(path.stem in of_list for of_list in names)
            if not is_kept and not path.name.startswith("."):  # hidden: what another process is writing
                path.unlink()
    table = [",".join(("image", *SHAPES_CLASSES))]
    for split, of_list in enumerate(names):
        for name, scene in zip(of_list, scenes(split, len(of_list), size), strict=True):
            with atomic_path(root / "JPEGImages" / f"{name}.jpg") as temporary:
                Image.fromarray(scene.image).save(temporary, format="JPEG", quality=JPEG_QUALITY)
            write_mask(root / "SegmentationClass" / f"{name}.png", scene.mask)
            table.append(",".join((name, *(str(int(k in scene.labels)) for k in range(len(SHAPES_CLASSES))))))
        write_text(root / "ImageSets/Segmentation" / f"{LISTS[split]}.txt", "\n".join(of_list) + "\n")
    write_text(root / "image_labels.csv", "\n".join(table) + "\n")


def scenes(split: int, count: int, size: int) -> Iterator[Scene]:
    """The images of list `split` (0 train, 1 val) in order; classes take turns, so that few images show them all."""
    for number in range(count):
        random = np.random.default_rng([SEED, split, number])
        while True:
            scene = _try_scene(number % len(DRAWINGS), size, random)
            areas = [np.count_nonzero(scene.mask == value + 1) for value, _ in scene.objects]
            if min(areas) >= LEAST_VISIBLE * scene.mask.size:
                break
        yield scene


def _try_scene(label: int, size: int, random: np.random.Generator) -> Scene:
    aspect = float(random.choice(ASPECTS))
    width, height = (size, round(size / aspect)) if aspect >= 1 else (round(size * aspect), size)
    canvas = background(height, width, random)
    labels = [label]
    if random.random() < TWO_OBJECTS:
        labels.append(int(random.integers(len(DRAWINGS))))
    short = min(height, width)
    if len(labels) == 1:
        centres = [(random.uniform(0.4, 0.6) * width, random.uniform(0.38, 0.55) * height)]
        scales = [random.uniform(0.28, 0.42) * short]
    else:  # side by side along the longer way, or one above the other
        scales = [random.uniform(0.22, 0.28) * short for _ in labels]
        near, far = random.uniform(0.25, 0.3), random.uniform(0.7, 0.76)
        cross = random.uniform(0.4, 0.56, 2)
        centres = [(near * width, cross[0] * height), (far * width, cross[1] * height)]
        if width < height:
            centres = [(cross[0] * width, near * height), (cross[1] * width, far * height)]
        centres = [centres[position] for position in random.permutation(2)]
    if random.random() < STRAY_CONTEXT:
        stray = int(random.choice([value for value in range(len(DRAWINGS)) if value not in labels]))
        centre = (random.uniform(0, width), random.uniform(0, height))
        paint(canvas, DRAWINGS[stray].draw_context(_frame(stray, (height, width), centre, 0.25 * short, random)))
    frames, objects = [], []
    for value, centre, scale in zip(labels, centres, scales, strict=True):
        frames.append(_frame(value, (height, width), centre, scale, random))
        objects.append((value, bool(random.random() < CONTEXT_WITH_CLASS)))
        if objects[-1][1]:
            paint(canvas, DRAWINGS[value].draw_context(frames[-1]))
    mask = np.zeros((height, width), np.uint8)
    for value, frame in zip(labels, frames, strict=True):
        mask[paint(canvas, DRAWINGS[value].draw(frame)) >= 0.5] = value + 1
    canvas += 0.012 * random.standard_normal(canvas.shape, dtype=np.float32)  # sensor noise
    image = np.clip(np.rint(canvas * 255), 0, 255).astype(np.uint8)
    return Scene(image, mask, tuple(sorted(set(labels))), tuple(objects))


def _frame(
    label: int, size: tuple[int, int], centre: tuple[float, float], scale: float, random: np.random.Generator
) -> Frame:
    lean = DRAWINGS[label].lean
    angle, flip = random.uniform(-lean, lean), bool(random.random() < 0.5)
    return make_frame(*size, (centre, scale, angle, flip), 0.07, random)


def _names(list_name: str, count: int) -> list[str]:
    return [f"{list_name}_{number:04d}" for number in range(1, count + 1)]
