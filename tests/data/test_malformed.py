"""Malformed inputs: a message that names the file and the line or record, and never a traceback.

Each case is also opened the way the check opens it: there the mistake is noted, and everything else is still read.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import write_mask
from data.dataset import WholeImages
from data.index import open_index
from data.settings import DataSettings
from tests.conftest import VOC_OBJECT, VOC_XML
from utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # inside pycocotools

CSV_ROWS = ["a 1.jpg,cat", "ü.jpg,dog;cat", "c.jpg,"]


def settings_of(kind: str, root: Path, **others) -> DataSettings:
    return DataSettings(kind=kind, root=str(root), **others)


def opened_by_the_check(settings: DataSettings, list_name: str) -> tuple[list[str], int]:
    """The mistakes noted, and how many images are left."""
    noted: list[str] = []
    return noted, len(open_index(settings, list_name, complain=noted.append))


# Own images with a CSV


def make_csv(root: Path, text: str | bytes) -> Path:
    for name in ("a 1.jpg", "ü.jpg", "c.jpg"):
        root.mkdir(exist_ok=True)
        Image.new("RGB", (8, 6)).save(root / name)
    (root / "labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def csv_text(*rows: str, end: str = "\n") -> str:
    return end.join(["image,labels", *(rows or CSV_ROWS), ""])


@pytest.mark.parametrize(
    ("text", "message", "left"),
    [
        ("", "labels.csv is empty", None),
        ("image\na 1.jpg\n", r"labels.csv, line 1: expected the header 'image,labels'.*found 'image'", None),
        ("animal,colour\na 1.jpg,cat\n", r"labels.csv, line 1: expected the header", None),
        (csv_text("a 1.jpg"), "labels.csv, line 2: expected 2 cells", None),
        (csv_text(*CSV_ROWS, "a 1.jpg,dog"), r"labels.csv, line 5: image 'a 1.jpg' has a line already \(.*line 2\)", 3),
        (csv_text(*CSV_ROWS, "d.jpg,dog"), r"labels.csv, line 5: there is no image 'd.jpg'", 3),
        (csv_text(*CSV_ROWS, ",dog"), r"labels.csv, line 5: there is no image's name", 3),
        (
            csv_text(*CSV_ROWS, "../x.jpg,dog"),
            r"labels.csv, line 5: the image's name '../x.jpg' leads out of its folder",
            3,
        ),
        (csv_text(*CSV_ROWS, "c.jpg,dog,cat"), r"labels.csv, line 5: expected 2 cells .* found 3", 3),
        (csv_text('a 1.jpg,"cat,dog"', "c.jpg,cat"), r"labels.csv, line 2: separate labels with ';'", 2),
        (csv_text().encode("utf-16"), "labels.csv is text in UTF-16, expected UTF-8", None),
        (csv_text().encode("latin-1"), "labels.csv, line 3: expected text in UTF-8", None),
        (b"PK\x03\x04\xff\xfe\x00 a spreadsheet", "labels.csv, line 1: expected text in UTF-8", None),
        (csv_text("a 1.jpg,cat\0"), "labels.csv, line 2: expected text in UTF-8", None),
    ],
)
def test_csv(tmp_path, text, message, left):
    settings = settings_of("folder", make_csv(tmp_path / "own", text))
    with pytest.raises(UserError, match=message) as caught:
        open_index(settings, "all")
    if left is not None:
        noted, count = opened_by_the_check(settings, "all")
        assert noted == [str(caught.value)]
        assert count == left


# COCO's format


def coco_document() -> dict:
    return {
        "images": [{"id": 7, "file_name": "a 1.jpg", "height": 6, "width": 8}, {"id": 9, "file_name": "ü.jpg"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 90, "area": 4, "bbox": [0, 0, 2, 2]},
            {"id": 2, "image_id": 9, "category_id": 3},
        ],
    }


def put_coco(tmp_path: Path, document: dict | str | bytes, kind: str) -> DataSettings:
    """The same images and file in COCO's layout, or in a folder of own images."""
    images = tmp_path / ("val2017" if kind == "coco" else ".")
    path = tmp_path / ("annotations/instances_val2017.json" if kind == "coco" else "labels.json")
    for folder in (images, path.parent):
        folder.mkdir(exist_ok=True)
    for name in ("a 1.jpg", "ü.jpg"):
        Image.new("RGB", (8, 6)).save(images / name)
    text = document if isinstance(document, str | bytes) else json.dumps(document, ensure_ascii=False)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings_of(kind, tmp_path)


@pytest.fixture(params=["coco", "folder"])
def kind(request) -> str:
    return request.param


def without(part: str, place: int, key: str) -> Callable[[dict], None]:
    return lambda document: document[part][place].pop(key)


def changed(part: str, place: int, **values) -> Callable[[dict], None]:
    return lambda document: document[part][place].update(values)


def added(part: str, *records) -> Callable[[dict], None]:
    return lambda document: document[part].extend(records)


OWN_ID = "expected an id of its own, found id"
WHOLE = "that is a whole number or a text, found"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images", 0, "id"), rf"image number 1 of the list: expected an 'id' {WHOLE} \{{.*a 1.jpg"),
        (changed("images", 1, id=[9]), f"image number 2 of the list: expected an 'id' {WHOLE}"),
        (without("images", 0, "file_name"), r"image number 1 of the list \(id 7\): expected a 'file_name'"),
        (changed("images", 1, id=7), f"image number 2 of the list: {OWN_ID} 7 again"),
        (changed("images", 1, file_name="a 1.jpg"), "image number 2 .* expected a file of its own, found a 1.jpg"),
        (changed("images", 1, file_name="../secret.jpg"), "image '../secret.jpg'.* leads out of its folder"),
        (changed("images", 1, file_name="gone.jpg"), "there is no image 'gone.jpg'"),
        (added("images", 5), f"image number 3 of the list: expected an 'id' {WHOLE} 5"),
        (without("categories", 1, "name"), r"category number 2 of the list \(id 90\): expected a 'name'"),
        (changed("categories", 1, id=3), f"category number 2 of the list: {OWN_ID} 3 again"),
        (changed("categories", 1, name="cat"), "category 90: expected a name of its own, found 'cat' again"),
        (without("annotations", 1, "image_id"), f"annotation 2: expected an 'image_id' {WHOLE}"),
        (without("annotations", 1, "category_id"), f"annotation 2: expected an 'category_id' {WHOLE}"),
        (changed("annotations", 1, image_id=8), "annotation 2: expected one of the 2 ids .* 'image_id', found 8"),
        (changed("annotations", 1, category_id=4), "annotation 2: expected one of the 2 ids .* 'category_id', found 4"),
        (changed("annotations", 1, id=None, image_id=0), "annotation number 2 of the list: expected one of"),
        (added("annotations", [1]), r"annotation number 3 of the list: expected an object, found \[1\]"),
    ],
)
def test_coco_records(tmp_path, kind, change, message):
    document = coco_document()
    change(document)
    settings = put_coco(tmp_path, document, kind)
    list_name = "val2017" if kind == "coco" else "all"
    with pytest.raises(UserError, match=message) as caught:
        open_index(settings, list_name)
    assert ".json" in str(caught.value)
    noted, count = opened_by_the_check(settings, list_name)
    assert noted[0] == str(caught.value)
    assert count >= 1


def test_one_fault_of_all_records_is_one_message(tmp_path, kind):
    document = coco_document()
    for image in document["images"]:
        image.pop("id")
    settings = put_coco(tmp_path, document, kind)
    noted: list[str] = []
    with pytest.raises(UserError) as raised:
        open_index(settings, "val2017" if kind == "coco" else "all", complain=noted.append)
    assert noted == [str(raised.value)]
    assert noted[0].endswith("(2 such)")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"\.json, line 1: this is not JSON"),
        ('{"images": [],\n"annotations": [}', r"\.json, line 2: this is not JSON"),
        (json.dumps(coco_document()).encode("utf-16"), r"\.json cannot be read as JSON in UTF-8"),
        ({"images": {}, "annotations": [], "categories": []}, r"\.json is not an instances file .* no list 'images'"),
        ("[]", r"\.json is not an instances file of COCO: it holds no object"),
        (coco_document() | {"categories": []}, r"\.json has no categories"),
        ("[" * 100_000, r"\.json cannot be read as JSON"),
    ],
)
def test_coco_files(tmp_path, kind, content, message):
    settings = put_coco(tmp_path, content, kind)
    with pytest.raises(UserError, match=message):
        open_index(settings, "val2017" if kind == "coco" else "all")


@pytest.mark.parametrize("empty", [{"bbox": [3, 3, 0, 2]}, {"bbox": [3, 3, 2, -1]}, {"area": 0}])
def test_annotations_without_area_give_nothing_and_are_counted(tmp_path, kind, empty, caplog):
    document = coco_document()
    document["annotations"].append({"id": 3, "image_id": 7, "category_id": 3, **empty})
    index = open_index(put_coco(tmp_path, document, kind), "val2017" if kind == "coco" else "all")
    assert index.records[0].labels == (1,)
    assert "annotations whose box has no area: 1, first 3" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images", 1, "height"), "image ü.jpg has no 'height' and 'width'"),
        (changed("images", 1, height=0), "image ü.jpg has no 'height' and 'width'"),
        (without("annotations", 1, "segmentation"), r"segmentation of annotation 2 cannot be rendered"),
        (changed("annotations", 1, segmentation=[[0, 0, 1, 1]]), "annotation 2 .* at least three points"),
        (changed("annotations", 1, segmentation=[["a"] * 6]), "segmentation of annotation 2 cannot be rendered"),
        (changed("annotations", 1, segmentation={"size": [6, 9], "counts": [54]}), r"annotation 2 .* size is \[6, 9\]"),
    ],
)
def test_coco_outlines(tmp_path, change, message):
    document = coco_document()
    document["images"][1] |= {"height": 6, "width": 8}
    for row in document["annotations"]:
        row["segmentation"] = [[0, 0, 4, 0, 4, 4]]
    settings = put_coco(tmp_path, document, "coco")
    assert len(open_index(settings, "val2017", masks=True)) == 2
    change(document)
    put_coco(tmp_path, document, "coco")
    with pytest.raises(UserError, match=message):
        open_index(settings, "val2017", masks=True)


# VOC layout


@pytest.mark.parametrize(
    ("text", "message", "left"),
    [
        ("p0\np9\np1\n", r"mine.txt, line 2: there is no image .*p9\.jpg", 2),
        ("p0\n\np1\np0\n", r"mine.txt, line 4: image 'p0' is listed already \(.*line 1\)", 2),
        ("p0\n..\n", r"mine.txt, line 2: the image's name '\.\.' is empty or names a folder", 1),
        ("", "list 'mine' of .* has no names", None),
        (b"p0\n\xe9t\xe9\n", "mine.txt, line 2: expected text in UTF-8", None),
        ("p0\n".encode("utf-16"), "mine.txt is text in UTF-16", None),
    ],
)
def test_voc_lists(make_voc, text, message, left):
    root = make_voc(3)
    (root / "ImageSets/Segmentation/mine.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    settings = settings_of("voc", root)
    with pytest.raises(UserError, match=message) as caught:
        open_index(settings, "mine")
    if left is not None:
        assert opened_by_the_check(settings, "mine") == ([str(caught.value)], left)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            VOC_XML.format(name="p1", objects=VOC_OBJECT.format(name="cow", difficult=0)),
            "p1.xml, object 1: unknown class 'cow'",
        ),
        ("<annotation><object>", "p1.xml is not XML"),
        ("", "p1.xml is not XML"),
        (None, "no annotation .*p1.xml"),
    ],
)
def test_voc_annotations(make_voc, content, message):
    root = make_voc(3, labels="xml")
    path = root / "Annotations/p1.xml"
    path.unlink() if content is None else path.write_text(content)
    settings = settings_of("voc", root, classes=("cat", "dog", "train"))
    with pytest.raises(UserError, match=message) as caught:
        open_index(settings, "train")
    assert opened_by_the_check(settings, "train") == ([str(caught.value)], 2)


# Masks


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda path: Image.new("RGB", (40, 30)).save(path),
            r"p2\.png holds colours \(1 different\), expected one channel",
        ),
        (lambda path: Image.new("RGBA", (40, 30)).save(path), r"p2\.png holds colours"),
        (lambda path: write_mask(path, np.zeros((30, 41))), r"p2\.png has 41 x 30 pixels, its image .*40 x 30"),
        (lambda path: path.write_bytes(path.read_bytes()[:60]), r"p2\.png cannot be decoded"),
        (lambda path: path.write_text("no image"), r"p2\.png cannot be decoded"),
        (Path.unlink, r"no mask .*p2\.png"),
    ],
)
def test_masks(make_voc, make, message):
    root = make_voc(3)
    make(root / "SegmentationClass/p2.png")
    images = WholeImages(open_index(settings_of("voc", root), "val", masks=True))
    with pytest.raises(UserError, match=message):
        images[0]
