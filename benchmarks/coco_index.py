"""An index of COCO's size: python -m benchmarks.coco_index

Generates an annotation file of 118,000 images and 860,000 annotations (with outlines as long as COCO's, about 450 MB), and in
a process of its own each: opens the list with the class `pycocotools.coco.COCO`, opens it as the stages do, opens it a second
time, and makes the first batch of training with two loader processes. The processor's seconds leave out what other work on the
machine takes. Targets: under 60 s and under 4 GB.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader

from benchmarks.common import no_options, scratch_folder
from data.dataset import TrainingImages, TrainingSampler
from data.index import open_index
from data.settings import DataSettings
from data.transforms import RandomCrop

IMAGES, ANNOTATIONS, CATEGORIES = 118_000, 860_000, 80
OUTLINES, FILES = 2_000, 64  # different ones, repeated
BATCH, WORKERS = 16, 2
LIST = "train2017"


def main() -> None:
    no_options(__doc__)
    with scratch_folder() as name:
        root = Path(name)
        size = generate(root)
        print(f"{IMAGES} images, {ANNOTATIONS} annotations, {size / 2**20:.0f} MB")
        bare = in_own_process("bare", root)
        ours = in_own_process("ours", root)
    for title, figures in (("pycocotools.coco.COCO", bare), ("ours", ours)):
        print(f"{title:22} " + ", ".join(f"{key} {value:.2f}" for key, value in figures.items()))
    print(
        f"ratio: time {ours['of the processor s'] / bare['of the processor s']:.2f}, memory {ours['peak GB'] / bare['peak GB']:.2f}"
    )


def generate(root: Path) -> int:
    """COCO's layout with links to a few images; the annotation file's size in bytes."""
    random = np.random.default_rng(0)
    outlines = []
    for _ in range(OUTLINES):
        count = int(np.clip(random.lognormal(3.0, 0.7), 4, 200))  # points; COCO's mean is about 25
        angles, radius = np.sort(random.uniform(0, 2 * np.pi, count)), random.uniform(10, 150)
        points = np.stack([320 + radius * np.cos(angles), 240 + radius * np.sin(angles)], axis=1).round(2)
        outlines.append(json.dumps([points.ravel().tolist()]))
    images, originals = root / LIST, root / "originals"
    images.mkdir()
    originals.mkdir()
    for number in range(FILES):
        pixels = random.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((640, 480), Image.Resampling.BICUBIC).save(
            originals / f"{number}.jpg", quality=92
        )
    for number in range(1, IMAGES + 1):
        (images / f"{number:012d}.jpg").symlink_to(originals / f"{number % FILES}.jpg")
    path = root / "annotations" / f"instances_{LIST}.json"
    path.parent.mkdir()
    owners, kinds = random.integers(1, IMAGES + 1, ANNOTATIONS), random.integers(1, CATEGORIES + 1, ANNOTATIONS)
    with path.open("w") as file:
        file.write('{"images": [')
        file.write(", ".join(_image(number) for number in range(1, IMAGES + 1)))
        file.write('], "annotations": [')
        for place, (owner, kind) in enumerate(zip(owners.tolist(), kinds.tolist(), strict=True)):
            file.write(
                f'{", " if place else ""}{{"segmentation": {outlines[place % OUTLINES]}, "area": 2765.1486, "iscrowd": 0, '
                f'"image_id": {owner}, "bbox": [199.84, 200.46, 77.71, 70.88], "category_id": {kind}, "id": {place + 1}}}'
            )
        categories = [
            {"supercategory": "thing", "id": number, "name": f"class {number}"} for number in range(1, CATEGORIES + 1)
        ]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return path.stat().st_size


def _image(number: int) -> str:
    return json.dumps(
        {"license": 3, "file_name": f"{number:012d}.jpg", "height": 480, "width": 640, "id": number}
        | {"coco_url": f"http://images.example.org/{LIST}/{number:012d}.jpg", "date_captured": "2013-11-14 16:28:13"}
        | {"flickr_url": f"http://farm9.example.org/8186/{number}_c8dbe330cb_z.jpg"}
    )


def in_own_process(what: str, root: Path) -> dict[str, float]:
    """Figures of one way; a process's peak memory is its own."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.coco_index", what, str(root)], check=True, capture_output=True, text=True
    )
    return json.loads(answer.stdout.splitlines()[-1])


def bare(root: Path) -> dict[str, float]:
    """pycocotools' class, and nothing made of it."""
    from pycocotools.coco import COCO

    started, worked = time.perf_counter(), time.process_time()
    COCO(str(root / "annotations" / f"instances_{LIST}.json"))
    return {
        "load s": time.perf_counter() - started,
        "of the processor s": time.process_time() - worked,
        "peak GB": peak(),
    }


def ours(root: Path) -> dict[str, float]:
    """The index of a training run and its first batch."""
    settings = DataSettings(kind="coco", root=str(root))
    started, worked = time.perf_counter(), time.process_time()
    index = open_index(settings, LIST)
    loaded, worked = time.perf_counter(), time.process_time() - worked
    index.fingerprint()
    fingerprinted = time.perf_counter()
    open_index(settings, LIST)
    again = time.perf_counter()
    crop = RandomCrop(320, (0.5,) * 3, (0.5,) * 3, resize_long=(280, 480))
    loader = DataLoader(
        TrainingImages(index, crop), BATCH, sampler=TrainingSampler(len(index), BATCH, 0), num_workers=WORKERS
    )
    before = time.perf_counter()
    next(iter(loader))
    batch = time.perf_counter()
    return {
        "load s": loaded - started,
        "of the processor s": worked,
        "peak GB": peak(),
        "fingerprint s": fingerprinted - loaded,
        "second opening s": again - fingerprinted,
        "first batch s": batch - before,
        "kept GB": _status("VmRSS"),
    }


def peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    """GB, from Linux's account of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) / 2**20


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"bare": bare, "ours": ours}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
