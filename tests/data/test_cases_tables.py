"""Inputs that users had, whose tables and annotation files are written otherwise: what is read, and what is said."""

import logging

import numpy as np
import pytest

from data.artifacts import read_mask
from data.index import open_index
from data.settings import DataSettings
from inference.images import read_labels
from inference.sources import find_inputs
from tests.data.test_cases_layouts import checked
from utils.errors import UserError

BOTH = {"cat": 3, "dog": 3}


@pytest.mark.parametrize(
    ("name", "counts", "note"),
    [
        ("14_csv_onehot", BOTH, ""),
        ("18_csv_windows_paths", BOTH, "18_csv_windows_paths: 6, first"),
        ("23_csv_space_separated_labels", {"cat": 3, "dog": 4}, ""),
        ("24_csv_pipe_labels", {"cat": 3, "dog": 4}, ""),
        ("30_csv_list_literal", BOTH, ""),
        ("41_labelstudio_dotdot", BOTH, "41_labelstudio_dotdot: 6, first"),
    ],
)
def test_tables(case, name, counts, note):
    found, problems, notes = checked(case(name))
    assert (found, problems) == (counts, [])
    assert note in notes


@pytest.mark.parametrize("name", ["34_coco_string_ids", "39_coco_filename_has_folder", "43_coco_float_size"])
def test_coco_files(case, name):
    settings = ["data.kind=coco", "data.train_list=train", "data.val_list=train"]
    counts, problems, notes = checked(case(name), *settings)
    assert (counts, problems, notes) == (BOTH, [], "")


def test_brush_masks_are_refused_until_a_setting_decides(case):
    root = case("55_cvat_brush_masks_of_one_class")
    settings = ["data.kind=coco", "data.train_list=train"]
    _, problems, _ = checked(root, *settings)
    assert len(problems) == 1
    assert "all annotations of cat are marked iscrowd" in problems[0]
    assert checked(root, *settings, "data.crowd=object")[:2] == (BOTH, [])
    counts, problems, notes = checked(root, *settings, "data.crowd=ignore")
    assert (counts, problems) == ({"cat": 0, "dog": 3}, [])
    assert "3 of 6 annotations are marked iscrowd" in notes
    for crowd, expected in (("object", {1, 2}), ("ignore", {2, 255})):
        data = DataSettings(kind="coco", root=str(root), crowd=crowd)
        masks = [read_mask(record.mask) for record in open_index(data, "train", masks=True).records]
        assert set(np.unique(np.concatenate([mask.ravel() for mask in masks]))) - {0} == expected


def test_annotations_in_another_encoding_are_read(case):
    settings = ["data.kind=voc", "data.train_list=train", "data.classes=[cat,dog]"]
    counts, problems, _ = checked(case("98_voc_xml_gbk"), *settings)
    assert (counts, problems) == (BOTH, [])


def test_labels_for_inference_that_do_not_meet_the_images(case, tmp_path, caplog):
    root = case("82_infer_tree")
    images = find_inputs([root], tmp_path / "out")
    with caplog.at_level(logging.WARNING):
        found = read_labels(root / "labels.csv", images, ("cat", "dog"))
    assert found == {"a/IMG_1.jpg": [1], "b/IMG_1.jpg": [0]}
    assert "1 rows name no image of the input, first 'not_there.jpg'" in caplog.text
    assert "3 of 5 images have no row" in caplog.text
    assert read_labels(root / "labels_semicolon.csv", images, ("cat", "dog")) == {"a/IMG_1.jpg": [1]}
    for name, message in (("none", "none of its 1 rows"), ("unknown", "did you mean 'dog'")):
        with pytest.raises(UserError, match=message):
            read_labels(root / f"labels_{name}.csv", images, ("cat", "dog"))
