import re
import shutil

import numpy as np
import pytest
from PIL import Image

from data.artifacts import voc_palette
from data.index import class_palette, open_index
from data.settings import DataSettings
from data.tables import natural, read_class_names
from tests.data.layouts_of_tools import build, put, put_masks, put_text
from tests.project import refused
from utils.errors import UserError


def test_colours_of_mask_values():
    names = ("cat", "dog")
    assert np.array_equal(class_palette(DataSettings(), names), voc_palette())
    palette = class_palette(DataSettings(colors=("#ff8000", "0000fF")), names)
    assert palette[:3].tolist() == [[0, 0, 0], [255, 128, 0], [0, 0, 255]]
    assert np.array_equal(palette[3:], voc_palette()[3:])


def test_settings_that_a_kind_of_data_does_not_read_are_refused(tmp_path):
    of_shapes = [("shapes", "mask_values", {"0": "background"}), ("shapes", "classes", ("cat",))]
    of_voc = [("voc", "background", "healthy"), ("voc", "crowd", "object")]
    for kind, setting, value in (*of_shapes, *of_voc, ("coco", "labels", "labels.csv")):
        with pytest.raises(UserError, match=f"data.{setting} changes nothing where data.kind is {kind}; leave it out"):
            open_index(DataSettings(kind=kind, root=str(tmp_path), **{setting: value}), "val", masks=True)


def test_the_order_of_a_file_is_that_of_the_classes_and_numbers_are_in_natural_order(tmp_path):
    root = put(tmp_path / "own", "cat/1.jpg", "dog/1.jpg")
    lines = "dog\ncat\n", "0 dog\n1 cat\n", "0: dog\n1: cat\n", "background\ndog\ncat\n", "id,name\n1,dog\n2,cat\n"
    for text in (*lines, "# label:color_rgb:parts:actions\nbackground:0,0,0::\ndog:128,0,0::\ncat:0,128,0::\n"):
        path = put_text(tmp_path, "names.txt", text) / "names.txt"
        assert read_class_names(path) == ("dog", "cat")
        data = DataSettings(kind="folder", root=str(root), classes=(str(path),))
        assert open_index(data, "all").class_names == ("dog", "cat")

    def read(text: str) -> tuple[str, ...]:
        return read_class_names(put_text(tmp_path, "names.txt", text) / "names.txt")

    refused("found none", read, "")
    refused("found cat more than once", read, "cat\ncat\n")
    assert read("0 3d\n1 2d\n") == read("3d:1,2,3::\n2d:4,5,6::\n") == ("3d", "2d")
    assert read("7:1,2,3::\n9:4,5,6::\n") == ("7", "9")
    names = ["10", "2", "1", "class 10", "class 9", "b", "a"]
    assert sorted(names, key=natural) == ["1", "2", "10", "a", "b", "class 9", "class 10"]


APART, TOGETHER = "cafe\u0301", "caf\xe9"


@pytest.mark.parametrize("there", [APART, TOGETHER])
def test_names_whose_accents_some_systems_take_apart_are_the_same_in_folders_masks_and_settings(tmp_path, there):
    root = put(tmp_path, f"{there}/{there}.jpg", "dog/1.jpg")
    for named in (APART, TOGETHER):
        put_masks(tmp_path, f"masks/{named}/{named}.png")
        data = DataSettings(kind="folder", root=str(root), classes=(named, "dog"), mask_values={"0": named})
        index = open_index(data, "val", masks=True)
        assert (index.class_names, len(index), index.records[0].labels) == ((TOGETHER, "dog"), 1, (0,))
        shutil.rmtree(tmp_path / "masks")


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_names_whose_accents_some_systems_take_apart_are_the_same_in_coco_and_voc(tmp_path, kind):
    build(f"CVAT, {kind.upper()}", tmp_path)
    for path in (*tmp_path.rglob("*.json"), *tmp_path.rglob("*.xml")):
        path.write_text(re.sub(r"(?<=[\">])cat(?=[\"<])", APART, path.read_text()), encoding="utf-8")
    data = DataSettings(kind=kind, root=str(tmp_path), classes=(TOGETHER, "dog"))
    assert [record.labels for record in open_index(data, "default").records] == [(0,), (1,)]


def test_equal_files_of_other_labels_and_files_of_several_images_are_logged(tmp_path, caplog):
    put(tmp_path, "bad/1.tif", "good/2.tif", "good/3.png")
    shutil.copy(tmp_path / "good/3.png", tmp_path / "bad/4.png")
    Image.new("L", (8, 8)).save(tmp_path / "bad/1.tif", save_all=True, append_images=[Image.new("L", (8, 8), 9)])
    open_index(DataSettings(kind="folder", root=str(tmp_path)), "train").fingerprint()
    assert "files that hold several images: 1, first" in caplog.text
    assert "files with the bytes of another, and other labels: 1, first" in caplog.text
