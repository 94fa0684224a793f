"""Malformed inputs: a message that names the file and the line or record, and never a traceback.

Each case is also opened the way the check opens it: there the mistake is noted, and everything else is still read.
"""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data.index import open_index
from data.settings import DataSettings
from tests.conftest import VOC_OBJECT, VOC_XML
from tests.data.layouts_of_tools import put
from tests.project import refused
from utils.errors import UserError

ROWS = ["a 1.jpg,cat", "ü.jpg,dog;cat", "c.jpg,"]
AGAIN = r"has a line already \(.*line 2\); keep one of them, with all labels"
WHOLE = "that is a whole number or a text, found"


def write(path: Path, content: dict | str | bytes) -> None:
    text = json.dumps(content, ensure_ascii=False) if isinstance(content, dict) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def is_refused(settings: DataSettings, list_name: str, message: str, left: int | None = None) -> None:
    """With `left`, the check notes it and has so many images left; with -1 some, and perhaps more to note."""
    with pytest.raises(UserError, match=message) as caught:
        open_index(settings, list_name)
    if left is not None:
        noted: list[str] = []
        index = open_index(settings, list_name, complain=noted.append)
        assert len(index) == left or (left == -1 and len(index))
        assert noted[: None if left >= 0 else 1] == [str(caught.value)]


def csv_text(*rows: str) -> str:
    return "\n".join(["image,labels", *(rows or ROWS), ""])


@pytest.mark.parametrize(
    ("text", "message", "left"),
    [
        ("\n , \n", " is empty; expected the header", None),
        ("image\na 1.jpg\n", ", line 1: expected the header 'image,labels'.*found 'image'", None),
        ("animal,colour\na 1.jpg,cat\n", ", line 1: expected the header", None),
        ("image,labels\n", " has no rows under its header", None),
        ("image,labels\nc.jpg,\n", " gives no image a label", None),
        ("image,cat,cat\nc.jpg,1,0\n", ": expected different classes in the header", None),
        ("image,cat,height\nc.jpg,1,20\n", ", line 2: expected 0 or 1 in the column 'height', found '20'", None),
        (csv_text("a 1.jpg"), ", line 2: expected 2 cells", None),
        (csv_text(*ROWS, "./a 1.jpg,dog"), rf", line 5: image './a 1.jpg' {AGAIN}", 3),
        (csv_text(*ROWS, "cc.jpg,dog"), r", line 5: there is no image 'cc.jpg' .*did you mean 'c\.jpg'", 3),
        (csv_text(*ROWS, "masks/m.png,dog"), ", line 5: there is no image 'masks/m.png'", 3),
        (csv_text(*ROWS, ",dog"), ", line 5: there is no image's name", 3),
        (csv_text(*ROWS, "../x.jpg,dog"), ", line 5: the image's name '../x.jpg' leads out of its folder", 3),
        (csv_text(*ROWS, "c.jpg,dog,cat"), ", line 5: expected 2 cells .* found 3; write labels of one cell in", 3),
        (csv_text('a 1.jpg,"cat,dog"', "c.jpg,cat"), ", line 2: separate labels with ';'", 2),
        (csv_text().encode("utf-16"), " is text in UTF-16, expected UTF-8", None),
        (b"PK\3\4xl", " is a workbook or an archive, expected text: save the table as CSV", None),
        (csv_text().encode("latin-1"), ", line 3: expected text in UTF-8", None),
        (csv_text("a 1.jpg,cat\0"), ", line 2: expected text in UTF-8", None),
    ],
)
def test_csv(tmp_path, text, message, left):
    put(tmp_path, "a 1.jpg", "ü.jpg", "c.jpg", "masks/m.png")
    write(tmp_path / "labels.csv", text)
    is_refused(DataSettings(kind="folder", root=str(tmp_path)), "all", f"labels.csv{message}", left)


# COCO's format, in COCO's layout and in a folder of own images


def coco_document() -> dict:
    first = {"id": 1, "image_id": 7, "category_id": 90, "area": 4, "bbox": [0, 0, 2, 2]}
    return {
        "images": [{"id": 7, "file_name": "a 1.jpg", "height": 6, "width": 8}, {"id": 9, "file_name": "ü.jpg"}],
        "categories": [{"id": 3, "name": "cat"}, {"id": 90, "name": "dog"}],
        "annotations": [first, {"id": 2, "image_id": 9, "category_id": 3}],
    }


def put_coco(root: Path, document: dict | str | bytes, kind: str = "coco") -> tuple[DataSettings, str]:
    put(root / ("val2017" if kind == "coco" else "."), "a 1.jpg", "ü.jpg")
    write(root / ("annotations/instances_val2017.json" if kind == "coco" else "labels.json"), document)
    return DataSettings(kind=kind, root=str(root)), "val2017" if kind == "coco" else "all"


def without(part: str, place: int, key: str) -> Callable[[dict], None]:
    return lambda document: document[part][place].pop(key)


def changed(part: str, place: int, **values) -> Callable[[dict], None]:
    return lambda document: document[part][place].update(values)


def added(part: str, record: object) -> Callable[[dict], None]:
    return lambda document: document[part].append(record)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images", 0, "id"), rf"image number 1 of the list: expected an 'id' {WHOLE} \{{.*a 1.jpg"),
        (changed("images", 1, id=[9]), f"image number 2 of the list: expected an 'id' {WHOLE}"),
        (without("images", 0, "file_name"), r"image number 1 of the list \(id 7\): expected a 'file_name'"),
        (changed("images", 1, id=7), "image number 2 of the list: expected an id of its own, found id 7 again"),
        (changed("images", 1, file_name="a 1.jpg"), "image number 2 .* expected a file of its own, found a 1.jpg"),
        (changed("images", 1, file_name="../secret.jpg"), "image '../secret.jpg'.* leads out of its folder"),
        (changed("images", 1, file_name="gone.jpg"), "there is no image 'gone.jpg'"),
        (added("images", 5), f"image number 3 of the list: expected an 'id' {WHOLE} 5"),
        (without("categories", 1, "name"), r"category number 2 of the list \(id 90\): expected a 'name'"),
        (changed("categories", 1, id=3), "category number 2 of the list: expected an id of its own, found id 3 again"),
        (changed("categories", 1, name="cat"), "category 90: expected a name of its own, found 'cat' again"),
        (without("annotations", 1, "image_id"), f"annotation 2: expected an 'image_id' {WHOLE}"),
        (without("annotations", 1, "category_id"), f"annotation 2: expected an 'category_id' {WHOLE}"),
        (changed("annotations", 1, image_id=8), "annotation 2: expected one of the 2 ids .* 'image_id', found 8"),
        (changed("annotations", 1, category_id=4), "annotation 2: expected one of the 2 ids .* 'category_id', found 4"),
        (changed("annotations", 1, id=None, image_id=0), "annotation number 2 of the list: expected one of"),
        (added("annotations", [1]), r"annotation number 3 of the list: expected an object, found \[1\]"),
    ],
)
def test_coco_records(tmp_path, change, message):
    document = coco_document()
    change(document)
    for kind in ("coco", "folder"):
        is_refused(*put_coco(tmp_path / kind, document, kind), rf"\.json.*{message}", left=-1)


@pytest.mark.parametrize("kind", ["coco", "folder"])
def test_coco_files(tmp_path, kind):
    for content, message in (
        ('{"images": [],\n"annotations": [}', ", line 2: this is not JSON"),
        (json.dumps(coco_document()).encode("utf-16"), " cannot be read as JSON in UTF-8"),
        ({"images": {}, "annotations": [], "categories": []}, " is not an instances file .* no list 'images'"),
        ("[]", " is not an instances file of COCO: it has no list 'images'"),
        (coco_document() | {"categories": []}, " has no categories"),
        ("[" * 100_000, " cannot be read as JSON"),
    ):
        is_refused(*put_coco(tmp_path, content, kind), rf"\.json{message}")


def test_one_fault_of_all_records_is_one_message(tmp_path):
    document = coco_document()
    document["images"] = [{"file_name": image["file_name"]} for image in document["images"]]
    for kind in ("coco", "folder"):
        noted: list[str] = []
        with pytest.raises(UserError) as raised:
            open_index(*put_coco(tmp_path / kind, document, kind), complain=noted.append)
        assert (noted, noted[0][-8:]) == ([str(raised.value)], "(2 such)")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("images", 1, "height"), "image ü.jpg has no 'height' and 'width'"),
        (changed("images", 1, height=0), "image ü.jpg has no 'height' and 'width'"),
        (changed("images", 1, height=10**6, width=10**6), "image ü.jpg is of 1000000 x 1000000 pixels, above"),
        (changed("annotations", 1, segmentation=[[0, 0, 0.5, 0, 0.5, 1]]), "its points are within 0..1, as parts of"),
    ],
)
def test_coco_sizes(tmp_path, change, message):
    document = coco_document()
    document["images"][1] |= {"height": 6, "width": 8}
    for row in document["annotations"]:
        row["segmentation"] = [[0, 0, 4, 0, 4, 4]]
    assert len(open_index(*put_coco(tmp_path, document), masks=True)) == 2
    change(document)
    refused(message, open_index, *put_coco(tmp_path, document), masks=True)


@pytest.mark.parametrize(
    ("text", "message", "left"),
    [
        ("p0\np9\np1\n", r"mine.txt, line 2: there is no image .*p9\.jpg", 2),
        ("p0\n\np1\np0\n", r"mine.txt, line 4: image 'p0' is listed already \(.*line 1\)", 2),
        ("p0\n..\n", r"mine.txt, line 2: the image's name '\.\.' is empty or names a folder", 1),
        ("", "list 'mine' of .* has no names", None),
        (b"p0\n\xe9t\xe9\n", "mine.txt, line 2: expected text in UTF-8", None),
    ],
)
def test_voc_lists(make_voc, text, message, left):
    root = make_voc(3)
    write(root / "ImageSets/Segmentation/mine.txt", text)
    is_refused(DataSettings(kind="voc", root=str(root)), "mine", message, left)


COW = VOC_XML.format(name="p1", objects=VOC_OBJECT.format(name="cow", difficult=0))


@pytest.mark.parametrize(
    ("content", "message"),
    [(COW, "p1.xml, object 1: unknown class 'cow'"), ("", "p1.xml is not VOC's XML"), (None, "no annotation .*p1.xml")],
)
def test_voc_annotations(make_voc, content, message):
    root = make_voc(3, labels="xml")
    path = root / "Annotations/p1.xml"
    path.unlink() if content is None else path.write_text(content)
    is_refused(DataSettings(kind="voc", root=str(root), classes=("cat", "dog", "train")), "train", message, 2)
