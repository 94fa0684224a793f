"""Whatever a file holds, it is read or refused: no other exception, no hang, no flood of memory, no stray file.

Fifty inputs of each kind; IBBNET_FUZZ=1000 makes a thousand.
"""

import io
import json
import os
import pickle
import resource
import signal
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import stages.networks
from data.artifacts import Seed, read_mask, read_seed, write_mask, write_seed
from data.dataset import Index
from data.images import read_image
from data.index import open_index
from data.settings import DataSettings
from evaluation.gather import gather, table
from evaluation.report_page import settings as settings_tables
from evaluation.report_page import stage_table
from evaluation.stages import pipeline
from exports.mask_sets import open_mask_set
from exports.masks import export_masks
from inference.images import InputImage, read_labels
from inference.output_folder import CLASSES, DONE, PREDICTIONS, ClassValues, file_of, find_done, write_done
from models.weights import read_weights
from stages.config import load_config
from stages.describe import describe
from stages.networks import load_network
from tests.conftest import VOC_OBJECT, VOC_XML
from tests.models.tiny import TinyBackbone, tiny_classifier
from tests.mutations import TOKENS, VALUES, changed_bytes, changed_document, changed_json
from utils.checkpoint import load_checkpoint
from utils.errors import UserError
from utils.files import read_json
from utils.metrics_log import read_metrics
from utils.run import Run

INPUTS = int(os.environ.get("IBBNET_FUZZ", "50"))  # of each kind
SECONDS = 30  # from which an input is said to hang
MEMORY = 4 * 2**30  # bytes that reading may take beside what the process has
NAMES = ("cat", "dog", "train")

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs a system with alarms"),
]


def fuzz(*strategies: st.SearchStrategy) -> Callable:
    """The test is given `INPUTS` inputs, the same ones each time; it fails with the smallest that it fails with."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    quiet.append(HealthCheck.function_scoped_fixture)
    return lambda test: settings(
        max_examples=INPUTS, deadline=None, derandomize=True, database=None, suppress_health_check=quiet
    )(given(*strategies)(test))


def tried(read: Callable[[], Any]) -> Any:
    """What reading gave, None where it was refused; anything else fails the test."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return read()
    except UserError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bounds memory and time, and looks afterwards whether files were made or changed outside `out/` and the caches."""

    def hangs(*_: Any) -> None:
        raise AssertionError(f"it takes more than {SECONDS} seconds")

    monkeypatch.chdir(tmp_path)
    before_alarm, before_limit = signal.signal(signal.SIGALRM, hangs), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else None
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before_limit[1]))
    beside = set(tmp_path.parent.iterdir())
    yield
    signal.signal(signal.SIGALRM, before_alarm)
    resource.setrlimit(resource.RLIMIT_AS, before_limit)
    assert set(tmp_path.parent.iterdir()) == beside
    allowed = ("out", "in", "run")
    assert {path.name for path in tmp_path.iterdir()} <= set(allowed)
    strange = [
        path for path in (tmp_path / "in").rglob("*") if path.name not in KNOWN and "masks_cache" not in path.parts
    ]
    assert not strange


# Names under `in/`; a file of another name was written by what should only read.
KNOWN = {
    *("labels.csv", "labels.json", "image_labels.csv", "cls_labels.npy", "list.txt", "a b.jpg", "a.jpg", "b.jpg"),
    *("c.png", "p0.jpg", "p1.jpg", "p0.xml", "p1.xml", "cat", "JPEGImages", "ImageSets", "Segmentation", "Annotations"),
    *("annotations", "val", "instances_val.json", "input", "a.npz", "a.pth", "a.png", "b.png", "predictions.json"),
    *("classes.json", "masks", "config.yaml", "b.json", "a.json"),
}


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(next(CLOCK), 0))  # readers that remember a file tell its versions apart by its time
    return path


CLOCK = iter(range(10**9, 10**18, 10**9))


def put_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_file():
            Image.new("RGB", (8, 6)).save(folder / name)


def write_all(index: Index | None, output: Path) -> None:
    """Write as stages do, a mask by each image's name; all of them stay in the folder."""
    for record in index.records if index is not None else ():
        write_mask(output / f"{record.name}.png", [[0]])
        assert (output / f"{record.name}.png").resolve().is_relative_to(output.resolve())


# Settings

CONFIG = b"""preset: demo
seed: 3
data: {kind: folder, root: in, classes: [cat, dog], colors: ["#ff8000", "#00ff00"]}
cam:
  scales: [1.0, 0.5]
  lr: 1e-2
  resize_long: [32, 48]
presets:
  demo: &demo
    run: run/demo
    segment: {epochs: 3}
  other: {<<: *demo, precision: off}
"""


@fuzz(changed_bytes([CONFIG]))
def test_settings_files(tmp_path, content):
    tried(lambda: load_config(put(tmp_path / "in/config.yaml", content)))


KEYS = [
    *("seed", "data.root", "data.classes", "cam.lr", "cam.scales", "precision", "segment.scale_range", "nonsense"),
    *("data", "", "data.max_pixels"),
]


@fuzz(
    st.tuples(
        st.sampled_from(KEYS) | st.text(max_size=10),
        st.sampled_from(["=", "=", "=", "", "=="]),
        st.text(max_size=20) | VALUES.map(repr) | st.sampled_from([token.decode("latin1") for token in TOKENS]),
    ).map("".join)
)
def test_set(text):
    tried(lambda: load_config(None, overrides=[text]))


# Labels and lists

TABLE = b'image,labels\na.jpg,cat;dog\nb.jpg,\n"c.png",dog\n'


@fuzz(changed_bytes([TABLE]))
def test_tables_of_own_images(tmp_path, content):
    put_images(tmp_path / "in", "a.jpg", "b.jpg", "c.png")
    put(tmp_path / "in/labels.csv", content)
    write_all(
        tried(lambda: open_index(DataSettings(kind="folder", root=str(tmp_path / "in")), "all")), tmp_path / "out"
    )


@fuzz(changed_bytes([TABLE, b"image,cat,dog\na.jpg,1,0\nb,0,1\n"]))
def test_tables_for_inference(tmp_path, content):
    images = [InputImage(Path(name), name, Path(name).stem) for name in ("a.jpg", "b.jpg", "c.png")]
    tried(lambda: read_labels(put(tmp_path / "in/labels.csv", content), images, NAMES))


VECTORS = {"p0": np.array([1, 0, 0], np.float32), "p1": np.array([0, 1, 1], np.int64), "p2": [1, 0, 1]}


def label_array(protocol: int) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
    pickle.dump(np.array(VECTORS, dtype=object), file, protocol=protocol)
    return file.getvalue()


VOC_FILES = {
    "image_labels.csv": [b"image,cat,dog,train\np0,1,0,0\np1,0,1,1\n"],
    "ImageSets/Segmentation/list.txt": [b"p0\np1\n", b"/JPEGImages/p0.jpg /SegmentationClass/p0.png\np1 1\n"],
    "Annotations/p0.xml": [VOC_XML.format(name="p0", objects=VOC_OBJECT.format(name="cat", difficult=0)).encode()],
    "cls_labels.npy": [label_array(protocol) for protocol in (2, 4, 5)],
}


@pytest.mark.parametrize("name", VOC_FILES)
@fuzz(st.data())
def test_files_of_voc(tmp_path, name, data):
    root = tmp_path / "in"
    put_images(root / "JPEGImages", "p0.jpg", "p1.jpg")
    put(root / "ImageSets/Segmentation/list.txt", b"p0\n" if name.endswith("xml") else b"p0\np1\n")
    if name.endswith("list.txt"):
        put(root / "image_labels.csv", VOC_FILES["image_labels.csv"][0])
    put(root / name, data.draw(changed_bytes(VOC_FILES[name])))
    cfg = DataSettings(kind="voc", root=str(root), classes=NAMES)
    write_all(tried(lambda: open_index(cfg, "list")), tmp_path / "out")


POLYGON, COUNTS = [[0, 0, 2, 0, 2, 2]], {"size": [6, 8], "counts": [40, 8]}
SIZE = {"height": 6, "width": 8}
COCO = {
    "images": [{"id": 7, "file_name": "a b.jpg"} | SIZE, {"id": 9, "file_name": "b.jpg"} | SIZE],
    "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 90, "area": 4, "bbox": [0, 0, 2, 2], "segmentation": POLYGON},
        {"id": 2, "image_id": 9, "category_id": 3, "iscrowd": 1, "segmentation": COUNTS},
        {"id": 3, "image_id": 9, "category_id": 3, "segmentation": {"size": [6, 8], "counts": "X18"}},
    ],
}


@fuzz(changed_json(COCO), st.booleans())
def test_annotations_of_coco(tmp_path, content, masks):
    put_images(tmp_path / "in/val", "a b.jpg", "b.jpg")
    put(tmp_path / "in/annotations/instances_val.json", content)
    cfg = DataSettings(kind="coco", root=str(tmp_path / "in"))
    write_all(tried(lambda: open_index(cfg, "val", masks=masks)), tmp_path / "out")


# Images, masks, maps


TURNED = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def images(*modes: str, formats: tuple[str, ...]) -> list[bytes]:
    files = []
    pixels = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
    for mode in modes:
        for name in formats:
            file = io.BytesIO()
            exif = {"exif": TURNED} if name == "JPEG" else {}
            Image.fromarray(pixels).convert(mode).save(file, format=name, **exif)
            files.append(file.getvalue())
    return files


def with_checksums(content: bytes) -> bytes:
    """A PNG whose chunks' checksums are right again, so that what was changed gets as far as the decoder."""
    place, fixed = 8, bytearray(content)
    while place + 8 <= len(fixed):
        end = place + 8 + int.from_bytes(fixed[place : place + 4], "big")
        if end + 4 > len(fixed):
            break
        fixed[end : end + 4] = struct.pack(">I", zlib.crc32(bytes(fixed[place + 4 : end])))
        place = end + 4
    return bytes(fixed)


@pytest.mark.parametrize(
    ("read", "contents"),
    [
        (read_image, images("RGB", "L", "P", "RGBA", "1", formats=("PNG",))),
        (read_image, images("RGB", "L", "CMYK", formats=("JPEG",))),
        (lambda path: read_image(path, 4), images("RGB", "L", "CMYK", formats=("JPEG",))),
        (read_image, images("RGB", "P", formats=("GIF", "TIFF", "BMP", "WEBP"))),
        (read_image, images("RGB", formats=("PPM", "JPEG2000"))),
        (read_mask, images("P", "L", "1", formats=("PNG",))),
    ],
    ids=["png", "jpeg", "draft", "other", "more", "mask"],
)
@fuzz(st.data(), st.booleans())
def test_images_and_masks(tmp_path, read, contents, data, fixed):
    content = data.draw(changed_bytes(contents))
    tried(
        lambda: read(
            put(tmp_path / "in/input", with_checksums(content) if fixed and content[1:4] == b"PNG" else content)
        )
    )


ARRAYS = st.builds(
    lambda shape, kind: np.zeros(shape, kind),
    st.lists(st.sampled_from([0, 1, 2, 3, 13]), max_size=4).map(tuple),
    st.sampled_from(["u1", "i8", "f4", "f8", "?", "U3", "S2", "M8[s]", "u1,i4", "c8"]),
) | st.lists(st.integers(-(2**40), 2**62) | st.sampled_from([0, 1, 9, 13, 35, 50]), max_size=3).map(np.array)


def seed_file() -> bytes:
    write_seed(path := Path("in/a.npz"), Seed(np.array([0, 2]), np.random.default_rng(0).random((2, 3, 4)), (10, 14)))
    return path.read_bytes()


@fuzz(st.data())
def test_seeds(tmp_path, data):
    path = tmp_path / "in/a.npz"
    if data.draw(st.booleans()):
        put(path, data.draw(changed_bytes([seed_file()])))
    else:
        arrays = {"classes": np.array([0]), "maps": np.zeros((1, 9, 13), np.uint8), "size": np.array([35, 50])}
        arrays |= data.draw(st.dictionaries(st.sampled_from([*arrays, "other"]), ARRAYS, min_size=1, max_size=2))
        np.savez_compressed(path.parent.mkdir(exist_ok=True) or path, **arrays)
    tried(lambda: read_seed(path))


# Weights


TENSORS = (
    VALUES
    | st.sampled_from(["tiny", "resnet50", "timm/hf-hub:a/b"])
    | st.builds(torch.zeros, st.sampled_from([(), (1,), (2, 3), (0,)]))
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> tuple[bytes, dict[str, Any]]:
    """A checkpoint of a network of a few hundred weights, as bytes and as what it holds."""
    path = tmp_path_factory.mktemp("checkpoint") / "a.pth"
    cfg = load_config(None, overrides=["model.backbone=tiny"])
    stages.networks.save_network(path, "classifier", tiny_classifier(3), NAMES, cfg, {"loss": 0.5})
    return path.read_bytes(), torch.load(path, weights_only=True)


@fuzz(st.data())
def test_checkpoints(tmp_path, checkpoint, data):
    build = stages.networks.build_backbone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            stages.networks,
            "build_backbone",
            lambda name, weights: TinyBackbone() if name == "tiny" else build(name, weights),
        )
        content, values = checkpoint
        path = tmp_path / "in/a.pth"
        if data.draw(st.booleans()):
            put(path, data.draw(changed_bytes([content])))
        else:
            file = io.BytesIO()
            torch.save(data.draw(changed_document(values, TENSORS)), file)
            put(path, file.getvalue())
        for read in (load_checkpoint, describe, read_weights, load_network):
            tried(lambda read=read: read(path))


# What we have written ourselves, and somebody has changed

REPORT = {
    "images": [
        {
            "image": "a.jpg",
            "mask": "masks/a.png",
            "overlay": "overlays/a.jpg",
            "width": 8,
            "height": 6,
            "labels": "predicted",
            "classes": [{"name": "cat", "value": 1, "score": 0.5, "pixels": 24, "share": 0.5}],
            "background_share": 0.5,
            "unsure_share": 0.0,
        },
        {"image": "b.jpg", "mask": "masks/b.png", "classes": []},
    ],
    "unreadable": [],
    "network": {"kind": "classifier"},
}
VALUES_OF_CLASSES = {"background": 0, "unsure": 255, "classes": [{"value": 1, "name": "cat", "colour": [1, 2, 3]}]}


@fuzz(changed_json(REPORT), changed_json(VALUES_OF_CLASSES), st.sampled_from([PREDICTIONS, CLASSES]))
def test_outputs_of_inference(tmp_path, report, classes, name):
    folder = tmp_path / "in"
    put(folder / PREDICTIONS, report if name == PREDICTIONS else json.dumps(REPORT).encode())
    put(folder / CLASSES, classes if name == CLASSES else json.dumps(VALUES_OF_CLASSES).encode())
    for mask in ("a.png", "b.png"):
        if not (folder / "masks" / mask).is_file():
            write_mask(folder / "masks" / mask, [[0, 1]])
    tried(lambda: export_masks(open_mask_set(folder), ["coco", "yolo"], tmp_path / "out"))


@fuzz(st.data())
def test_notes_of_what_is_done(tmp_path, data):
    output, names = tmp_path / "out", tuple(f"class {number}" for number in range(300))
    image = InputImage(Path("a.jpg"), "a.jpg", "a")
    entry = REPORT["images"][0] | {"classes": [{"name": "class 7", "value": 1}]}
    write_mask(output / "masks/a.png", [[0, 1]])
    put(output / "overlays/a.jpg", images("RGB", formats=("JPEG",))[0])
    (output / CLASSES).unlink(missing_ok=True)
    ClassValues(output, names).value(7)
    write_done(output / file_of(image, DONE), "abc", entry)
    assert find_done(output, image, "abc", ClassValues(output, names)) == entry
    for path in (output / file_of(image, DONE), output / CLASSES):
        if data.draw(st.booleans()):
            put(path, data.draw(changed_json(json.loads(path.read_text(encoding="utf-8")))))
    values = tried(lambda: ClassValues(output, names))
    assert tried(lambda: find_done(output, image, "abc", values)) in (entry, None)


RECORD = {
    "cam": {"fingerprint": "a", "finished": 1e9, "seconds": 3.5, "peak_memory_mb": {"memory": 300}, "result": {"x": 1}},
    "seeds": {"fingerprint": "b", "finished": 1e9, "seconds": 1, "peak_memory_mb": {}, "result": {}},
}
ABOUT = {"command": ["train.py"], "started": "2026-01-01T00:00:00", "seed": 0, "commit": "", "torch": "2"}


@fuzz(changed_json(RECORD), changed_json(ABOUT), st.booleans())
def test_records_of_a_run(tmp_path, stages_json, about, first):
    put(tmp_path / "run/stages.json", stages_json if first else json.dumps(RECORD).encode())
    put(tmp_path / "run/run.json", json.dumps(ABOUT).encode() if first else about)
    cfg = load_config(None, overrides=[f"run={tmp_path / 'run'}"])
    tried(lambda: stage_table(pipeline(), cfg, Run.reopen(tmp_path / "run")))
    tried(lambda: settings_tables(cfg, read_json(tmp_path / "run/run.json")))


FIGURES = {
    "evaluated": {"kind": "masks", "labels": "given", "list": "val"},
    "n_images": 3,
    "miou": 0.5,
    "miou_best": 0.5,
    "over_activation": 0.1,
    "under_activation": 0.2,
    "per_class": {"cat": {"iou": 0.5}, "dog": {"iou": None}},
}


@fuzz(changed_json(FIGURES))
def test_figures(tmp_path, content):
    paths = [put(tmp_path / "in/a.json", json.dumps(FIGURES).encode()), put(tmp_path / "in/b.json", content)]
    tried(lambda: table(gather(paths)))


@fuzz(changed_bytes([b'{"stage": "cam", "epoch": 1, "loss": 0.5}\n{"stage": "cam", "epoch": 2, "loss": 0.4}\n']))
def test_metrics(tmp_path, content):
    tried(lambda: read_metrics(put(tmp_path / "run/metrics.jsonl", content)))
