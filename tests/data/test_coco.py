import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest

import data.coco
import data.coco_file
from data.artifacts import read_mask
from data.coco import open_coco, unpacked_counts
from data.coco_file import CocoRules
from data.index import open_index
from data.settings import DataSettings
from tests.data.layouts_of_tools import build, coco, labels_of, put, put_json
from tests.project import refused
from utils.errors import UserError
from utils.ignore import IGNORE

HEIGHT, WIDTH = 20, 30
CATEGORIES = {90: "toothbrush", 1: "person", 3: "car"}  # ids with gaps, not in order
PERSON, CAR, TOOTHBRUSH = 1, 2, 3  # mask values: sorted by id
VAL = "annotations/instances_val2017.json"


def box(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def run_lengths(*counts: int) -> dict[str, Any]:
    """Lengths of runs down the columns, background first, as COCO keeps crowds."""
    return {"size": [HEIGHT, WIDTH], "counts": counts}


FOUND: dict[str, list[tuple[int, int, Any]]] = {  # category id, is a crowd, segmentation
    "a": [(90, 0, box(2, 2, 6, 6) + box(12, 2, 14, 4)), (1, 0, box(0, 0, 20, 15))]
    + [(category, 0, box(8, 8, 10, 10)) for category in (1, 90)],
    "b": [(3, 0, box(5, 5, 10, 10)), (1, 1, run_lengths(0, *[8, 12] * 30))],
    "c": [(1, 1, run_lengths(63, *[6, 14] * 5, 6, 431))],
    "d": [],
}


@pytest.fixture
def root(tmp_path) -> Path:
    """Images with two objects, a crowd and an object, a crowd alone, and nothing."""
    put(tmp_path / "coco/val2017", *(f"{name}.jpg" for name in FOUND))
    images = [{"id": n, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH} for n, name in enumerate(FOUND)]
    rows = [(number, *row) for number, found in enumerate(FOUND.values()) for row in found]
    annotations = [
        {"id": n, "image_id": image, "category_id": category, "iscrowd": crowd, "segmentation": outline, "area": 1.0}
        for n, (image, category, crowd, outline) in enumerate(rows, 1)
    ]
    categories = [{"id": number, "name": category} for number, category in CATEGORIES.items()]
    document = {"images": images[::-1], "annotations": annotations, "categories": categories}
    return put_json(tmp_path / "coco", VAL, document)


def change(root: Path, part: str, place: int, **values: Any) -> None:
    document = json.loads((root / VAL).read_text())
    document[part][place] |= values
    put_json(root, VAL, document)


def masks_of(root: Path, *given, **options) -> dict[str, np.ndarray]:
    records = open_coco(root, "val2017", *given, masks=True, **options).records
    return {record.name: read_mask(record.mask) for record in records}


def test_ids_become_contiguous_and_labels_leave_crowds_and_the_background_category_out(root):
    index = open_coco(root, "val2017")
    assert index.class_names == ("person", "car", "toothbrush")
    assert {record.name: record.labels for record in index.records} == {"a": (0, 2), "b": (1,), "c": (), "d": ()}
    assert all(record.mask is None for record in index.records)
    assert index.records[0].image == root / "val2017/a.jpg"
    rules = CocoRules(background="Person")
    index = open_coco(root, "val2017", rules=rules)
    assert index.class_names == ("car", "toothbrush")
    assert [record.labels for record in index.records] == [(1,), (0,), (), ()]
    assert set(np.unique(masks_of(root, rules=rules)["a"])) == {0, 2}


def test_given_classes_set_the_order_of_labels_and_mask_values_and_scores_are_told(root):
    index = open_coco(root, "val2017", ("toothbrush", "car", "person"), masks=True)
    assert index.records[0].labels == (0, 2)
    mask, again = read_mask(index.records[0].mask), masks_of(root)["a"]
    assert (mask[3, 3], mask[14, 19], again[3, 3], again[14, 19]) == (1, 3, TOOTHBRUSH, PERSON)
    assert open_coco(root, "val2017", ("dog", "toothbrush", "car", "person")).records[0].labels == (1, 3)
    with pytest.raises(UserError, match="must name all of its categories, and lacks person"):
        open_coco(root, "val2017", ("toothbrush", "car", "dog"))
    change(root, "annotations", 0, score=0.2)
    assert any("annotations with a score, as of a network: 1, first 1" in n for n in open_coco(root, "val2017").notes)


EMPTY = [{"bbox": [30, 0, 0, 8], "area": 64}, {"bbox": [30, 0, 8, -1]}, {"bbox": [], "area": 0}, {"area": 0}]
NOT_EMPTY = [{"bbox": [30, 0, 8, 8], "area": 0}, {"area": None}, {"iscrowd": "0"}]  # areas are not computed


@pytest.mark.parametrize("size", EMPTY + NOT_EMPTY)
def test_an_annotation_whose_box_is_empty_shows_nothing(root, size):
    change(root, "annotations", len(FOUND["a"]), **size)  # the car of b
    index = open_coco(root, "val2017")
    assert labels_of(index)["b"] == ({"car"} if size in NOT_EMPTY else set())
    assert any("has no area: 1" in note for note in index.notes) == (size in EMPTY)


def test_images_that_differ_in_their_suffix_alone_are_two(root):
    put(root / "val2017", "b.png")
    change(root, "images", 0, file_name="b.png")  # it was d
    expected = {"a": {"person", "toothbrush"}, "b.jpg": {"car"}, "c": set(), "b.png": set()}
    assert labels_of(open_coco(root, "val2017")) == expected
    masks = masks_of(root)
    assert masks["b.jpg"].any()
    assert not masks["b.png"].any()


class TestMasks:
    def test_smaller_objects_lie_on_larger_ones_and_objects_on_crowds(self, root):
        masks = masks_of(root)
        expected = {name: np.zeros((HEIGHT, WIDTH), np.uint8) for name in "abcd"}
        expected["a"][0:15, 0:20] = PERSON
        expected["a"][2:6, 2:6] = TOOTHBRUSH  # listed before the larger person, and yet on top
        expected["a"][2:4, 12:14] = TOOTHBRUSH
        expected["a"][8:10, 8:10] = TOOTHBRUSH  # as large as a person, and listed after it
        expected["b"][0:8, 0:30] = IGNORE
        expected["b"][5:10, 5:10] = CAR
        expected["c"][3:9, 3:9] = IGNORE
        for name in "abcd":
            assert np.array_equal(masks[name], expected[name]), name
            assert (root / f"masks_cache/val2017/{name}.png").is_file()
        assert set(np.unique(masks_of(root, rules=CocoRules(crowd="object"))["c"])) == {0, PERSON}

    def test_what_is_missing_is_rendered_and_no_more_until_annotations_change(self, root, monkeypatch):
        write, written = data.coco.write_mask, []

        def cut_off(path, mask):
            if len(written) == 2:
                written.append("cut off")
                raise KeyboardInterrupt
            written.append(path.stem)
            write(path, mask)

        monkeypatch.setattr(data.coco, "write_mask", cut_off)
        with pytest.raises(KeyboardInterrupt):
            open_coco(root, "val2017", masks=True)
        index = open_coco(root, "val2017", masks=True)
        assert sorted(written) == ["a", "b", "c", "cut off", "d"]
        index.records[1].mask.unlink()
        assert open_coco(root, "val2017", masks=True) == index
        assert written[5:] == ["b"]
        with monkeypatch.context() as patch:
            patch.setattr(os, "access", lambda path, mode: False)  # nor where nothing can be written
            assert open_coco(root, "val2017", masks=True) == index
        change(root, "annotations", 0, category_id=3)
        assert masks_of(root)["a"][3, 3] == CAR
        assert open_coco(root, "val2017").records[0].labels == (0, 1, 2)

    def test_root_that_cannot_be_written_uses_the_users_cache_and_says_so(self, root, tmp_path, monkeypatch, caplog):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        access = os.access
        monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(root) and access(path, mode))
        for record in open_coco(root, "val2017", masks=True).records:
            assert record.mask.is_relative_to(tmp_path / "cache/ibbnet")
            assert read_mask(record.mask).shape == (HEIGHT, WIDTH)
        assert not (root / "masks_cache").exists()
        assert "cannot be written" in caplog.text

    def test_they_are_the_same_drawn_in_parallel_and_a_mistake_is_one_line(self, root, monkeypatch):
        expected = masks_of(root)
        shutil.rmtree(root / "masks_cache")
        monkeypatch.setattr(data.coco, "FEW", 0)
        assert all(np.array_equal(mask, expected[name]) for name, mask in masks_of(root).items())
        change(root, "annotations", 1, segmentation=[])
        with pytest.raises(UserError, match="annotation 2 cannot be rendered") as caught:
            masks_of(root)
        assert len(str(caught.value).splitlines()) == 1

    @pytest.mark.parametrize("place", ["masks_cache", "masks_cache/val2017"])
    def test_they_are_not_written_through_a_link_that_came_with_the_data(self, root, tmp_path, place):
        (tmp_path / "outside").mkdir()
        (root / place).parent.mkdir(exist_ok=True)
        (root / place).symlink_to(tmp_path / "outside")
        refused(r"leads out of .* by a link.*remove the link", masks_of, root)
        assert list((tmp_path / "outside").iterdir()) == []


def test_a_run_reads_the_annotation_file_once(root, monkeypatch):
    read, reads = data.coco_file.json.load, []
    monkeypatch.setattr(data.coco_file.json, "load", lambda *args, **named: (reads.append(1), read(*args, **named))[1])
    settings = DataSettings(kind="coco", root=str(root))
    first = open_index(settings, "val2017")
    assert open_index(settings, "val2017") == first
    assert len(reads) == 1
    open_index(settings, "val2017", masks=True)
    open_index(settings, "val2017", masks=True)
    assert len(reads) == 2  # once with the outlines, to draw them
    change(root, "annotations", 0, category_id=3)
    assert open_index(settings, "val2017") != first


def test_where_images_may_lie(root):
    first = open_coco(root, "val2017")
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images/val2017")
    index = open_coco(root, "val2017")
    assert [(r.name, r.labels) for r in index.records] == [(r.name, r.labels) for r in first.records]
    (root / "images/val2017/camera 1").mkdir()
    (root / "images/val2017/d.jpg").rename(root / "images/val2017/camera 1/d.jpg")
    change(root, "images", 0, file_name="camera 1/d.jpg")
    (root / "images/val2017/a.jpg").rename(root / "images/val2017/a.raw")
    change(root, "images", 3, file_name="a.raw")  # a suffix that is not that of an image
    records = open_coco(root, "val2017", masks=True).records
    assert (records[0].image.name, records[-1].name) == ("a.raw", "camera 1/d")
    assert all(record.mask.is_file() for record in records)


def test_layout_errors(root, tmp_path):
    refused(r"no annotation file .*instances_val2014\.json.*lists there: val2017", open_coco, root, "val2014")
    refused("lists there: none", open_coco, tmp_path, "val2017")
    (root / "val2017/b.jpg").unlink()
    (root / "val2017/c.jpg").unlink()
    refused(r"no image 'b\.jpg' in .*\(2 such\)", open_coco, root, "val2017")
    shutil.rmtree(root / "val2017")
    refused(r"no folder of images .*/val2017 or .*put the images of", open_coco, root, "val2017")


def test_malformed_segmentation_is_named(root):
    far = ([[0, 0, far, 0, 5, 5]] for far in (1e9, float("inf"), float("nan"), 10**400))  # gigabytes for an outline
    # "0": pycocotools would fill the rest with what lay in memory.
    counts = ([HEIGHT * WIDTH + 5, -5], [HEIGHT * WIDTH / 2] * 2, [10, 20], "nonsense", "zzzzzzzzz", "0", "", "ü")
    other_size = {"size": [HEIGHT, WIDTH + 1], "counts": [HEIGHT * (WIDTH + 1)]}
    of_counts = ({"size": [HEIGHT, WIDTH], "counts": values} for values in counts)
    outside = box(WIDTH - 9, 0, 2 * WIDTH, 9)  # of an image that was made smaller
    for segmentation in (outside, [], [[]], None, [[1, 1, 2, 2]], [["a"] * 6], other_size, *of_counts, *far):
        change(root, "annotations", 1, segmentation=segmentation)
        assert len(open_coco(root, "val2017")) == 4
        refused(r"segmentation of annotation 2 cannot be rendered.*30 x 20", masks_of, root)


def test_packed_counts_are_what_pycocotools_packs():
    random = np.random.default_rng(0)
    for number in range(20):
        block = np.ones((1, 1) if number % 2 else (40, 30), np.uint8)  # short runs, long runs
        mask = np.kron((random.random(random.integers(1, 40, 2)) < random.random()).astype(np.uint8), block)
        counts = unpacked_counts(pycocotools.mask.encode(np.asfortranarray(mask))["counts"])
        values = np.repeat(np.arange(len(counts)) % 2, counts)
        assert np.array_equal(values.reshape(mask.shape, order="F"), mask)


def test_what_tools_write_is_read_and_marks_on_all_annotations_of_a_class_are_refused(root, tmp_path):
    document = json.loads((root / VAL).read_text())
    for record in (*document["images"], *document["annotations"], *document["categories"]):
        record |= {name: str(record[name]) for name in ("id", "image_id", "category_id") if name in record}
    for record in document["images"]:
        record |= {"height": float(HEIGHT), "width": float(WIDTH), "file_name": f"val2017/{record['file_name']}"}
    expected = open_coco(root, "val2017")
    put_json(root, VAL, document)
    found = open_coco(root, "val2017", masks=True)
    assert (found.label_counts(), found.notes) == (expected.label_counts(), expected.notes)
    build("Roboflow, COCO", tmp_path / "roboflow")
    (note,) = open_coco(tmp_path / "roboflow", "train").notes
    assert "category 'pets' has no annotation and only groups others" in note
    build("CVAT, COCO", tmp_path / "cvat")
    document = coco("1.jpg", "2.jpg")
    document["annotations"][0]["iscrowd"] = 1
    put_json(tmp_path / "cvat", "annotations/instances_default.json", document)
    refused("all annotations of cat are marked iscrowd", open_coco, tmp_path / "cvat", "default")
    objects = open_coco(tmp_path / "cvat", "default", rules=CocoRules(crowd="object"))
    assert objects.label_counts() == {"cat": 1, "dog": 1}
    ignored = open_coco(tmp_path / "cvat", "default", rules=CocoRules(crowd="ignore"))
    assert ignored.label_counts() == {"cat": 0, "dog": 1}
    assert any("1 of 2 annotations are marked iscrowd" in note for note in ignored.notes)
    put(tmp_path / "cvat", "images/3.jpg")
    ignored = open_coco(tmp_path / "cvat", "default", rules=CocoRules(crowd="ignore"))
    assert any("not in the file: 1, first 3.jpg" in note for note in ignored.notes)
