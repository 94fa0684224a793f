"""Whatever a file holds, it is read or refused: no other exception, no hang, no flood of memory, no stray file.

Fifty inputs of each kind; IBBNET_FUZZ=1000 makes a thousand.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image

from data.artifacts import write_mask
from data.hints import open_hints
from data.index import open_index
from data.settings import DataSettings
from evaluation.gather import gather, table
from evaluation.report_page import settings as settings_tables
from evaluation.report_page import stage_table
from evaluation.stages import pipeline
from exports.mask_sets import open_mask_set
from exports.masks import export_masks
from inference.images import InputImage, read_labels
from inference.output_folder import CLASSES, DONE, ClassValues, file_of, find_done, write_done
from stages.config import load_config
from tests import mutations
from tests.conftest import VOC_OBJECT, VOC_XML
from tests.data.test_voc import npy
from tests.mutations import FUZZED, TOKENS, VALUES, changed_bytes, changed_json, fuzz, put, tried
from utils.files import read_json
from utils.pipeline import stale_stages
from utils.run import Run, read_metrics

NAMES = ("cat", "dog", "train")

pytestmark, bounded = FUZZED, mutations.bounded


def put_images(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name).is_file():
            Image.new("RGB", (8, 6)).save(folder / name)
    return folder


def open_and_write(data: DataSettings, list_name: str, masks: bool = False) -> None:
    """Write as stages do, a mask by each image's name; all of them stay in the folder."""
    index, output = tried(lambda: open_index(data, list_name, masks=masks)), Path("out")
    for record in index.records if index is not None else ():
        write_mask(output / f"{record.name}.png", [[0]])
        assert (output / f"{record.name}.png").resolve().is_relative_to(output.resolve())


# Text: settings, tables, lists, annotations, and what runs have written

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
COCO_HINTS = COCO | {"images": [{"id": 7, "file_name": "cat/a.jpg"} | SIZE, {"id": 9, "file_name": "cat/b.jpg"}]}
FIGURES = {
    "evaluated": {"kind": "masks", "labels": "given", "list": "val"},
    **{"n_images": 3, "miou": 0.5, "miou_best": 0.5, "over_activation": 0.1, "under_activation": 0.2},
    "per_class": {"cat": {"iou": 0.5}, "dog": {"iou": None}},
}
TABLE = b'image,labels\na.jpg,cat;dog\nb.jpg,\n"c.png",dog\n'
METRICS = b'{"stage": "cam", "epoch": 1, "loss": 0.5}\n{"stage": "cam", "epoch": 2, "loss": 0.5}\n'
VOC_TABLE = b"image,cat,dog,train\np0,1,0,0\np1,0,1,1\n"
VOC_LISTS = [b"p0\np1\n", b"/JPEGImages/p0.jpg /SegmentationClass/p0.png\np1 1\n"]
CAT_XML = VOC_XML.format(name="p0", objects=VOC_OBJECT.format(name="cat", difficult=0)).encode()
VECTORS = {"p0": np.array([1, 0, 0], np.float32), "p1": np.array([0, 1, 1], np.int64), "p2": [1, 0, 1]}
POINTS = {"image": "cat/a.jpg", **SIZE, "shapes": [{"shape_type": "point", "label": "cat", "points": [[2, 3.5]]}]}
LINES = {"image": "cat/b.jpg", "shapes": [{"shape_type": "line", "label": "background", "points": [[0, 0], [7, 5]]}]}
LABELME = {"imagePath": "cat\\a.jpg", "imageHeight": 6, "imageWidth": 8, "shapes": POINTS["shapes"]}
HINTS = [changed_json(each) for each in ({"hints": [POINTS, LINES]}, LABELME, COCO_HINTS)]
# What we have written ourselves, and somebody has changed
CLASS = {"name": "cat", "value": 1, "score": 0.5, "pixels": 24, "share": 0.5}
SHOWN = {"image": "a.jpg", "mask": "masks/a.png", "overlay": "overlays/a.jpg", "labels": "predicted", **SIZE}
REPORT = {
    "images": [
        SHOWN | {"classes": [CLASS], "background_share": 0.5, "unsure_share": 0.0},
        {"image": "b.jpg", "mask": "masks/b.png", "classes": []},
    ],
    "unreadable": [],
    "network": {"kind": "classifier"},
}
VALUES_OF_CLASSES = {"background": 0, "unsure": 255, "classes": [{"value": 1, "name": "cat", "colour": [1, 2, 3]}]}
MADE = {"finished": 1e9, "seconds": 3.5, "peak_memory_mb": {"memory": 300}, "result": {"x": 1}}
RECORD = {"cam": {"fingerprint": "a", **MADE}, "seeds": {"fingerprint": "b", **MADE, "peak_memory_mb": {}}}
ABOUT = {"command": ["train.py"], "started": "2026-01-01T00:00:00", "seed": 0, "commit": "", "torch": "2"}


def put_beside(path: Path, **documents: Any) -> None:
    """JSON files beside the changed one, as they should be."""
    for name, document in documents.items():
        if not path.with_name(f"{name}.json").is_file():
            put(path.with_name(f"{name}.json"), json.dumps(document).encode())


def read_own_images(path: Path) -> None:
    put_images(path.parent, "a.jpg", "b.jpg", "c.png")
    open_and_write(DataSettings(kind="folder", root=str(path.parent)), "all")


def read_labels_for_inference(path: Path) -> None:
    images = [InputImage(Path(name), name, Path(name).stem) for name in ("a.jpg", "b.jpg", "c.png")]
    tried(lambda: read_labels(path, images, NAMES))


def read_coco(path: Path) -> None:
    put_images(path.parents[1] / "val", "a b.jpg", "b.jpg")
    for masks in (False, True):
        open_and_write(DataSettings(kind="coco", root=str(path.parents[1])), "val", masks)


def read_voc(path: Path) -> None:
    root = Path("in")
    put_images(root / "JPEGImages", "p0.jpg", "p1.jpg")
    if path.name == "list.txt":
        put(root / "image_labels.csv", VOC_TABLE)
    else:
        put(root / "ImageSets/Segmentation/list.txt", b"p0\n" if path.suffix == ".xml" else b"p0\np1\n")
    open_and_write(DataSettings(kind="voc", root=str(root), classes=NAMES), "list")


def read_hints(path: Path) -> None:
    put_images(path.parent / "cat", "a.jpg", "b.jpg")
    data = DataSettings(kind="folder", root=str(path.parent), hints=str(path))
    index = open_index(data, "all")
    hints = tried(lambda: open_hints(data, index))
    for record in index.records if hints is not None else ():
        tried(lambda name=record.name: hints.of(name))


def read_figures(path: Path) -> None:
    put_beside(path, a=FIGURES)
    tried(lambda: table(gather([path.with_name("a.json"), path])))


def read_outputs_of_inference(path: Path) -> None:
    put_beside(path, predictions=REPORT, classes=VALUES_OF_CLASSES)
    for mask in ("a.png", "b.png"):
        if not (path.parent / "masks" / mask).is_file():
            write_mask(path.parent / "masks" / mask, [[0, 1]])
    tried(lambda: export_masks(open_mask_set(path.parent), ["coco", "yolo"], Path("out")))


def read_run(path: Path) -> None:
    put_beside(path, stages=RECORD, run=ABOUT)
    cfg = load_config(None, overrides=[f"run={path.parent}"])
    stages = pipeline()

    def table() -> None:
        run = Run.reopen(path.parent)
        stage_table(stages, run, {}, stale_stages(stages, cfg, run, ()))

    tried(table)
    tried(lambda: settings_tables(cfg, read_json(path.with_name("run.json"))))


FILES: list[tuple[str, st.SearchStrategy[bytes], Callable[[Path], Any]]] = [
    ("in/config.yaml", changed_bytes([CONFIG]), lambda path: tried(lambda: load_config(path))),
    ("in/labels.csv", changed_bytes([TABLE]), read_own_images),
    ("in/labels.csv", changed_bytes([TABLE, b"image,cat,dog\na.jpg,1,0\nb,0,1\n"]), read_labels_for_inference),
    ("in/annotations/instances_val.json", changed_json(COCO), read_coco),
    ("in/image_labels.csv", changed_bytes([VOC_TABLE]), read_voc),
    ("in/ImageSets/Segmentation/list.txt", changed_bytes(VOC_LISTS), read_voc),
    ("in/Annotations/p0.xml", changed_bytes([CAT_XML]), read_voc),
    ("in/cls_labels.npy", changed_bytes([npy(VECTORS, protocol) for protocol in (2, 4, 5)]), read_voc),
    ("in/hints.json", st.one_of(HINTS), read_hints),
    ("in/b.json", changed_json(FIGURES), read_figures),
    ("in/predictions.json", changed_json(REPORT), read_outputs_of_inference),
    ("in/classes.json", changed_json(VALUES_OF_CLASSES), read_outputs_of_inference),
    ("run/stages.json", changed_json(RECORD), read_run),
    ("run/run.json", changed_json(ABOUT), read_run),
    ("run/metrics.jsonl", changed_bytes([METRICS]), lambda path: tried(lambda: read_metrics(path))),
]


@pytest.mark.parametrize(("name", "contents", "read"), FILES)
@fuzz(st.data())
def test_texts(tmp_path, name, contents, read, data):
    read(put(tmp_path / name, data.draw(contents)))


@fuzz(st.data())
def test_notes_of_what_is_done(tmp_path, data):
    output, names = tmp_path / "out", tuple(f"class {number}" for number in range(300))
    image = InputImage(Path("a.jpg"), "a.jpg", "a")
    entry = REPORT["images"][0] | {"classes": [{"name": "class 7", "value": 1}]}
    write_mask(output / "masks/a.png", [[0, 1]])
    put_images(output / "overlays", "a.jpg")
    (output / CLASSES).unlink(missing_ok=True)
    ClassValues(output, names).value(7)
    write_done(output / file_of(image, DONE), "abc", entry)
    assert find_done(output, image, "abc", ClassValues(output, names)) == entry
    for path in (output / file_of(image, DONE), output / CLASSES):
        if data.draw(st.booleans()):
            put(path, data.draw(changed_json(json.loads(path.read_text(encoding="utf-8")))))
    values = tried(lambda: ClassValues(output, names))
    assert tried(lambda: find_done(output, image, "abc", values)) in (entry, None)
