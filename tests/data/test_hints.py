"""Hints from each kind of file become the same pixels, and each kind of mistake has one message."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import write_mask
from data.dataset import Index
from data.hint_shapes import Shape, draw
from data.hints import Hints, fingerprint_of, open_hints
from data.index import open_index
from data.settings import DataSettings
from tests.data.layouts_of_tools import put, put_json, put_masks, put_text
from tests.project import refused
from utils.file_digests import digest_files
from utils.ignore import IGNORE

SIZE = (30, 40)  # of image p0, which shows a cat


@dataclass
class Data:
    """The settings of a data set whose image p0 shows a cat, its index, and hints in a file or folder of their own."""

    settings: DataSettings
    index: Index

    def write(self, *shapes, image="p0.jpg", **more) -> None:
        record = {"image": image, "height": 30, "width": 40, "shapes": shapes, **more}
        Path(self.settings.hints).write_text(json.dumps({"hints": [record]}))

    def at(self, path: Path | str) -> DataSettings:
        return replace(self.settings, hints=str(path))

    def opened(self, path: Path | str = "") -> Hints:
        return open_hints(self.at(path) if path else self.settings, self.index)


@pytest.fixture
def data(make_voc, tmp_path) -> Data:
    settings = DataSettings(kind="voc", root=str(make_voc()), train_list="train", hints=str(tmp_path / "hints.json"))
    return Data(settings, open_index(settings, "train"))


@pytest.fixture
def folder(tmp_path) -> Data:
    """Own images of which two have one name, and hints in the folder `hints`."""
    root = put(tmp_path / "data", "cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/3.jpg")
    settings = DataSettings(kind="folder", root=str(root), hints=str(tmp_path / "hints"))
    return Data(settings, open_index(settings, "all"))


def shape(kind, label, *points):
    return {"shape_type": kind, "label": label, "points": points}


CAT, BACKGROUND = shape("polygon", "cat", [5, 6], [15, 6], [15, 12], [5, 12]), shape("point", "background", [30, 20])


def test_all_formats_say_the_same(data, tmp_path):
    def values(path: Path | str = "") -> list[list[int]]:
        return data.opened(path).of("p0").values.tolist()

    data.write(CAT)
    expected = np.full(SIZE, IGNORE, np.uint8)
    expected[6:12, 5:15] = 1
    assert values() == expected.tolist()

    labelme = {"imagePath": "..\\JPEGImages\\p0.jpg", "imageHeight": 30, "imageWidth": 40, "imageData": "not read"}
    put_json(tmp_path, "labelme/p0.json", labelme | {"shapes": [CAT], "version": "5"})
    assert values(tmp_path / "labelme") == expected.tolist()

    crowd = {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 40, 30], "iscrowd": 1}
    outline = {"id": 1, "image_id": 7, "category_id": 3, "segmentation": [[5, 6, 15, 6, 15, 12, 5, 12]]}
    images = [{"id": 7, "file_name": "p0.jpg", "height": 30, "width": 40}]
    coco = {"images": images, "categories": [{"id": 3, "name": "cat"}], "annotations": [outline, crowd]}
    put_json(tmp_path, "coco.json", coco)
    assert values(tmp_path / "coco.json") == expected.tolist()
    coco["annotations"][0] = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [5, 6, 10, 6]}
    put_json(tmp_path, "coco.json", coco)
    # The class is nowhere outside of its boxes, so a crowd of it has one, too.
    assert data.opened(tmp_path / "coco.json").of("p0").boxes == ((0, 5, 6, 15, 12), (0, 0, 0, 40, 30))

    masks = tmp_path / "masks"
    write_mask(masks / "p0.png", expected)
    assert values(masks) == expected.tolist()
    put_json(masks, "more.json", {"hints": [{"image": "p0", "shapes": [BACKGROUND]}]})
    mixed = data.opened(masks)
    assert str(mixed) == "images: 1, points: 1, areas: 1"
    data.write(shape("rectangle", "cat", [5, 6], [15, 12]), shape("rectangle", "background", [20, 20], [30, 28]))
    assert str(data.opened()) == "images: 1, boxes: 1, areas: 1"
    assert set(np.unique(mixed.of("p0").values)) == {0, 1, IGNORE}
    assert mixed.of("p1") is None
    write_mask(masks / "second/p0.png", expected)
    refused("are both of image 'p0'; join them", data.opened, masks)
    write_mask(tmp_path / "turned/p0.png", expected, class_names=("dog", "cat", "train"))
    refused("was made for the classes dog, cat, train", data.opened, tmp_path / "turned")


def test_without_hints_there_are_none_and_the_fingerprint_is_of_the_content_and_its_place(data, tmp_path):
    assert not open_hints(data.at(""), data.index)
    assert fingerprint_of(data.at("")) == ""
    found = []
    for hint in (CAT, BACKGROUND, CAT):
        data.write(hint)
        found.append(fingerprint_of(data.settings))
    assert found[0] == found[2] != found[1]
    write_mask(tmp_path / "masks/p0.png", np.zeros(SIZE, np.uint8))
    first = fingerprint_of(data.at(tmp_path / "masks"))
    (tmp_path / "masks/p0.png").rename(tmp_path / "masks/p1.png")
    assert fingerprint_of(data.at(tmp_path / "masks")) != first


def test_hints_of_an_image_that_has_changed_or_lies_elsewhere_are_told(data, caplog):
    image = Path(data.settings.root) / "JPEGImages/p0.jpg"
    data.write(CAT, content=digest_files([image])[0])
    assert data.opened()
    assert not caplog.text
    data.write(CAT, content=digest_files([image])[0], image="/other/JPEGImages/p0.jpg")
    Image.open(image).rotate(180).save(image)
    assert data.opened()
    assert "images that have changed since their hints were given: 1" in caplog.text
    assert "first '/other/JPEGImages/p0.jpg'; they were found by the end of the path" in caplog.text


def test_the_finer_shape_counts_whatever_the_order_and_a_class_is_not_drawn_outside_of_its_boxes():
    area, line = Shape("polygon", "cat", ((0, 0), (60, 0), (60, 40), (0, 40))), Shape("line", "b", ((5, 20), (55, 20)))
    point = Shape("point", "cat", ((30.0, 20.0),))
    shapes = [(area, 0), (line, -1), (point, 0)]
    empty = np.full((40, 60), IGNORE, np.uint8)
    drawn, lost = draw(empty, shapes)
    assert not lost
    assert (drawn.values[20, 30], drawn.values[20, 10], drawn.values[5, 5]) == (1, 0, 1)
    np.testing.assert_array_equal(draw(empty, shapes[::-1])[0].values, drawn.values)
    shapes = [(Shape("rectangle", "cat", ((10, 10), (20, 20))), 0), (Shape("point", "cat", ((10.0, 15.0),)), 0)]
    drawn, lost = draw(np.full((300, 300), IGNORE, np.uint8), shapes)
    assert not lost
    assert drawn.boxes == ((0, 10, 10, 20, 20),)
    assert (drawn.values[15, 10], drawn.values[15, 9]) == (1, IGNORE)


BOX = shape("rectangle", "cat", [2, 2], [12, 12])
TURNED = [9, 2], [20, 9], [13, 20], [2, 13]


def test_a_mistake_has_one_clear_message(data):
    for shapes, more, message in (
        ([shape("point", "wolf", [3, 3])], {}, r"no class 'wolf'; known: background, cat, dog, train"),
        ([shape("point", "wolf", [3, 3 + step]) for step in range(3)], {}, r"no class 'wolf'.*\(3 such\)"),
        ([shape("point", "dog", [3, 3])], {}, r"image 'p0' shows dog, and its labels say cat; correct"),
        ([shape("point", "cat", [43, 3])], {}, r"lies outside of its 40 x 30 pixels"),
        ([CAT], {"width": 80}, r"is for 80 x 30 pixels, image .*p0.jpg has 40 x 30"),
        ([CAT], {"image": "q7.jpg"}, r"'q7.jpg' is not in the list that gets pseudo masks .*name images of this list$"),
        ([CAT], {"image": "pp0.png"}, r"name images of this list; did you mean 'JPEGImages/p0.jpg'\?$"),
        ([CAT], {"image": "../../etc/p9"}, r"record 1: the image's name .* leads out"),
        ([], {}, r"is empty: it says nothing of any pixel"),
        ([shape("line", "cat", [3, 3])], {}, r"shape 1 of image 'p0.jpg' is malformed: a line has 1 points"),
        ([shape("point", "cat", [3, "x"])], {}, r"shape 1 of image 'p0.jpg' is malformed"),
        ([shape("star", "cat", [3, 3])], {}, r"malformed: .*'star'; expected .* 'shape_type' of: point"),
        ([{"label": "cat"}], {}, r"malformed"),
        ([BOX, shape("point", "cat", [30, 20])], {}, r"contradict: one is wholly covered .* outside of the boxes"),
        ([BOX, shape("rectangle", "background", [0, 0], [20, 20])], {}, r"contradict: a box has nothing left"),
        ([shape("point", "cat", [9, 9]), shape("point", "background", [9, 9])], {}, r"contradict: one is wholly"),
        ([shape("rectangle", "cat", [0, 0.2], [0.5, 1])], {}, r"all of its points are within 0\.\.1, .* pixels"),
        ([CAT], {"width": "80"}, r"record 1: the height and width of the image are 30 and '80'; expected pixels"),
        ([CAT], {"height": None}, r"height and width of the image are None and 40"),
        ([shape("point", "cat", "12", "34")], {}, r"a point no number"),
        ([shape("rectangle", "cat", [9, 9], [9, 20])], {}, r"a rectangle has no area"),
        *(
            ([shape("rectangle", name, *TURNED)], {}, r"or is turned; draw .* a polygon")
            for name in ("cat", "background")
        ),
        ([shape("polygon", "cat", [5, 5], [9, 9], [13, 13])], {}, r"image 'p0' cover no pixel: one is too thin"),
    ):
        data.write(*shapes, **more)
        refused(message, data.opened)


def test_hints_of_one_image_that_contradict_are_told_wherever_they_are(data, tmp_path):
    records = [{"image": "p0", "shapes": [shape("point", label, [9, 9])]} for label in ("cat", "background", "cat")]
    for first, second, where in ((records, [], "0.json, record 2"), (records[:1], records[1:], "1.json, record 1")):
        put_json(tmp_path, "hints/0.json", {"hints": first})
        put_json(tmp_path, "hints/1.json", {"hints": second})
        message = rf"0.json, record 1 and .*{where}.*: hints of image 'p0' contradict: one is wholly"
        refused(message, data.opened, tmp_path / "hints")


BOTH = [{"id": 1, "file_name": "p0.jpg"}, {"id": 1, "file_name": "p1.jpg"}]  # with one id
RUNS = {"size": SIZE, "counts": [0, 150, 1050]}


def test_another_file_or_folder_and_mistakes_in_a_coco_file_are_told(data, tmp_path):
    (tmp_path / "empty").mkdir()
    refused("has no PNG and no JSON", data.opened, tmp_path / "empty")
    for content, message in (
        ("[]", r"holds no hints; expected hints of this project, LabelMe's or COCO's JSON"),
        ('{"hints": [3]}', r"record 1: expected 'image'"),
        ('{"images": [{}], "annotations": [], "categories": []}', r"malformed as COCO's file"),
    ):
        Path(data.settings.hints).write_text(content)
        refused(message, data.opened)
    for row, fault in (
        ({"image_id": "1"}, r"malformed as COCO's file \(KeyError: '1'\)"),
        ({"bbox": [0.1, 0.2, 0.5, 0.5]}, r"all of its points are within 0\.\.1, as parts of the size; give pixels"),
        ({"bbox": [9, 9, 0, 0]}, r"the box of annotation 5 has no area"),
        ({"bbox": [9, 9, -4, -4]}, r"the box of annotation 5 has no area"),
        ({"attributes": {"rotation": 30.0}}, r"annotation 5 .* is turned; give an outline"),
        ({"segmentation": [[2, 2, 60, 2, 60, 9]]}, r"a hint of image 'p0' lies outside of its 40 x 30 pixels"),
        ({"segmentation": RUNS, "iscrowd": 1}, r"all annotations of cat are marked iscrowd, .* set iscrowd to 0"),
        ({"segmentation": {"size": SIZE, "counts": [1200]}}, r"cover no pixel"),
        ({"images": BOTH}, r"two images or two categories have one id"),
        ({"segmentation": RUNS, "iscrowd": "0"}, None),
        ({"attributes": {"rotation": 0.0, "occluded": False}}, None),
    ):
        row = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]} | row
        coco = {"images": row.pop("images", BOTH[:1]), "categories": [{"id": 1, "name": "cat"}], "annotations": [row]}
        Path(data.settings.hints).write_text(json.dumps(coco))
        if fault is None:
            assert data.opened()
        else:
            refused(fault, data.opened)


def test_a_file_of_labelme_is_of_the_image_it_is_called_as_and_that_beside_it(data, folder, tmp_path):
    labelme = {"imagePath": "p0.jpg", "imageHeight": 30, "imageWidth": 40, "shapes": [CAT]}
    for name in ("anything", "p0", "p1"):
        put_json(tmp_path, f"{name}.json", labelme)
    assert data.opened(tmp_path / "anything.json")
    assert data.opened(tmp_path / "p0.json")
    refused("called as image 'p1', and names image 'p0'", data.opened, tmp_path / "p1.json")
    labelme = {"imageHeight": 8, "imageWidth": 8, "shapes": [shape("point", "background", [1, 1])]}
    for name in ("dog/1", "cat/1"):
        put_json(tmp_path / "hints", f"{name}.json", labelme | {"imagePath": "1.jpg"})
        assert name in folder.opened().images
    put_json(tmp_path / "hints", "cat/3.json", labelme | {"imagePath": "3.jpg"})
    refused("called as image 'cat/3', and names image 'dog/3'", folder.opened)


def test_hidden_files_are_no_hints_and_others_are_told(data, tmp_path, caplog):
    data.write(CAT)
    put_text(tmp_path, "folder/p0.json", Path(data.settings.hints).read_text())
    for name in (".trash/p0.json", "__MACOSX/._p0.json", "annotations.xml"):
        put_text(tmp_path / "folder", name, "{")
    assert str(data.opened(tmp_path / "folder")) == "images: 1, areas: 1"
    assert "files that are no JSON and no PNG are left out: 1, first annotations.xml" in caplog.text


def test_a_png_that_does_not_fit_is_refused(data, tmp_path):
    masks = tmp_path / "masks"
    for size, value, message in (
        ((8, 8), 1, r"is for 8 x 8 pixels"),
        (SIZE, 99, r"has the value 99; known: 0..3, and 255"),
        (SIZE, 2, r"shows dog, and its labels say cat"),
        (SIZE, IGNORE, r"all of its pixels are 255"),
        (SIZE, [*[0] * 30, *[IGNORE] * 10], r"0 and 255 alone, .*; write class values, 1 for cat"),
    ):
        write_mask(masks / "p0.png", np.full(size, value, np.uint8))
        refused(message, data.opened, masks)
    black, red = [0, 0, 0], [128, 0, 0]  # of background and cat; a paint program has numbered them anew
    write_mask(masks / "p0.png", np.tile([0, 1, IGNORE, IGNORE], (30, 10)), np.array([red, black]))
    refused("value 0 has #800000, the colour of cat; .*; save it with the values of", data.opened, masks)
    (masks / "p0.png").unlink()
    write_mask(masks / "p1.png", np.zeros(SIZE[::-1], np.uint8))  # of an image without a cat
    refused("write class values, 2 for dog", data.opened, masks)


@pytest.mark.parametrize("place", ["hints", "hints/mine"])
def test_a_png_is_of_the_image_with_its_folder_and_name(folder, tmp_path, place):
    put_masks(tmp_path / place, "cat/1.png", "2.png")
    assert folder.opened().images.keys() == {"cat/1", "cat/2"}
    (tmp_path / place / "2.png").unlink()  # all that are left lie in one folder, which tells the two images apart
    assert folder.opened().images.keys() == {"cat/1"}
    put_masks(tmp_path / place, "cat/3.png")  # of no image, and not of dog/3
    refused(r"cat/3\.png: image '.*cat/3' is not in the list", folder.opened)
    put_masks(tmp_path / "other", "png/2.png")
    assert folder.opened(tmp_path / "other").images.keys() == {"cat/2"}


def test_a_turned_image_is_meant_the_right_way_up(data):
    path = data.index.records[0].image
    image = Image.open(path)
    exif = image.getexif()
    exif[274] = 6
    image.save(path, exif=exif)
    for width, height in ((40, 30), (40.0, 30.0)):
        data.write(CAT, width=width, height=height)
        refused("has 30 x 40, seen the right way up", data.opened)
    data.write(CAT, width=30, height=40.0)
    assert data.opened().of("p0").values.shape == (40, 30)
