"""Inputs that users had, in ../shared/cases: what is read, and what is said of layouts, tables and truth."""

import logging

import numpy as np
import pytest

from data.artifacts import read_mask
from data.check import check
from data.index import open_index
from data.settings import DataSettings
from evaluation.scores import evaluate_masks
from inference.images import find_inputs, read_labels
from stages.config import load_config
from tests.data.test_check import settings
from utils.errors import UserError

BOTH, COCO = {"cat": 3, "dog": 3}, "data.kind=coco data.train_list=train data.val_list=train"
BRUSH, GBK = "data.kind=coco data.train_list=train", "data.kind=voc data.train_list=train data.classes=[cat,dog]"


def checked(root, *overrides):
    """The classes with their counts, the problems and the notes of the check."""
    own = ["workers=0", "data.kind=folder", f"data.root={root}", "data.train_list=all", "data.val_list="]
    findings = check(load_config(None, overrides=[*own, *overrides]))
    counts = next((index.label_counts() for index in findings.lists.values()), {})
    return counts, findings.problems, " ".join(findings.notes)


@pytest.mark.parametrize(
    ("name", "overrides", "counts", "problem", "note"),
    [
        ("14_csv_onehot", "", BOTH, "", ""),
        ("18_csv_windows_paths", "", BOTH, "", "18_csv_windows_paths: 6, first"),
        ("23_csv_space_separated_labels", "", {"cat": 3, "dog": 4}, "", ""),
        ("24_csv_pipe_labels", "", {"cat": 3, "dog": 4}, "", ""),
        ("30_csv_list_literal", "", BOTH, "", ""),
        ("34_coco_string_ids", COCO, BOTH, "", None),
        ("39_coco_filename_has_folder", COCO, BOTH, "", None),
        ("41_labelstudio_dotdot", "", BOTH, "", "41_labelstudio_dotdot: 6, first"),
        ("43_coco_float_size", COCO, BOTH, "", None),
        ("46_roboflow", "", None, "--set data.kind=coco", ""),
        ("46_roboflow", COCO, BOTH, "", "category 'pets' has no annotation and only groups others"),
        ("55_cvat_brush_masks_of_one_class", BRUSH, None, "all annotations of cat are marked iscrowd", ""),
        ("55_cvat_brush_masks_of_one_class", f"{BRUSH} data.crowd=object", BOTH, "", ""),
        (
            *("55_cvat_brush_masks_of_one_class", f"{BRUSH} data.crowd=ignore", {"cat": 0, "dog": 3}, ""),
            "3 of 6 annotations are marked iscrowd",
        ),
        ("65_images_and_masks_dirs", "", None, "says nothing about classes", ""),
        ("66_voc_layout_as_folder", "", {}, "--set data.kind=voc --set data.root={root}", ""),
        ("67_face_masks", "", None, "data.classes", ""),
        ("67_face_masks", "data.classes=[masks,no_masks]", {"masks": 3, "no_masks": 3}, "", ""),
        ("71_yes_no", "", {"no": 3, "yes": 3}, "", ""),
        ("71_yes_no", "data.classes=[no,yes]", {"no": 3, "yes": 3}, "", ""),
        ("74_one_class", "", None, "", "every image has crack, so there is nothing to tell it from"),
        ("80_synology", "", BOTH, "", "hidden files or thumbnails are left out"),
        ("98_voc_xml_gbk", GBK, BOTH, "", ""),
    ],
)
def test_what_is_read_and_said(case, name, overrides, counts, problem, note):
    """`counts` is None where nothing is read, `note` None where nothing may be said."""
    root = case(name)
    found, problems, notes = checked(root, *overrides.split())
    assert len(problems) == bool(problem), problems
    assert problem.format(root=root) in " ".join(problems)
    assert counts is None or found == counts
    assert note in notes if note is not None else not notes


def test_files_of_other_suffixes_are_read_or_said(case):
    counts, problems, notes = checked(case("63_jfif_avif_heic"))
    assert problems == []
    assert sum(counts.values()) == 14 or "suffix .jfif are not read, first" in notes
    assert counts.get("dog") == 6 or "folders without images are left out: 1, first dog" in notes


def test_images_and_masks_with_a_table_are_read(case):
    root = case("65_images_and_masks_dirs")
    names = sorted(path.stem for path in (root / "images").iterdir())
    (root / "labels.csv").write_text("image,labels\n" + "".join(f"{name},cat\n" for name in names))
    counts, _, notes = checked(root, "data.val_list=val")
    assert counts == {"cat": len(names)}
    assert "have no mask" not in notes


def test_number_classes_are_in_natural_order(case):
    counts, problems, notes = checked(case("70_numeric_classes"))
    assert (list(counts), problems) == ([str(number) for number in range(1, 13)], [])
    assert "class names are numbers" in notes


def test_mvtec_is_read(case):
    counts, problems, notes = checked(case("76_mvtec"), "data.val_list=val")
    assert counts == {"broken": 3}
    assert problems == [] or all("mask" in problem for problem in problems)  # its masks may hold other values
    assert "MVTec's layout; the folders 'good' are images of none of the classes" in notes


def test_an_empty_class_folder_is_said(case):
    root = case("79_empty_class")
    (root / "fox").mkdir(exist_ok=True)
    counts, problems, notes = checked(root)
    assert (counts, problems) == (BOTH, [])
    assert "folders without images are left out: 1, first fox" in notes


@pytest.mark.parametrize(("crowd", "values"), [("object", {0, 1, 2}), ("ignore", {0, 2, 255})])
def test_brush_masks_are_what_the_setting_says(case, crowd, values):
    data = DataSettings(kind="coco", root=str(case("55_cvat_brush_masks_of_one_class")), crowd=crowd)
    masks = [read_mask(record.mask).ravel() for record in open_index(data, "train", masks=True).records]
    assert set(np.unique(np.concatenate(masks))) == values


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


COLOURS = {"#000000": "background", "#008000": "dog", "#800000": "cat"}


@pytest.mark.parametrize(
    ("name", "says", "mapping"),
    [
        ("01_mask_0_255", "{0: background, 255: cat}", {"0": "background", "255": "cat"}),
        ("02_mask_rgb", '{"#000000": background, "#008000": dog, "#800000": cat}', COLOURS),
        ("06_mask_palette_other_order", '{"#800000": cat, "#000000": background, "#008000": dog}', COLOURS),
    ],
)
def test_the_check_stops_with_the_line_that_reads_the_masks(case, name, says, mapping):
    """Also where no validation list is set: masks that are there are looked at."""
    root = case(name)
    (problem,) = check(settings(root)).problems
    assert f"--set 'data.mask_values={says}'" in problem
    cfg = settings(root, mask_values=mapping, val_list="val")
    assert check(cfg).problems == []
    for record in open_index(cfg.data, "val", masks=True).records:
        assert set(np.unique(record.read_truth())) == {0, record.labels[0] + 1}


def test_predictions_of_background_alone_do_not_score(case):
    truth, predictions = case("01_mask_0_255"), case("01_predictions_all_background")
    index = open_index(settings(truth).data, "val", masks=True)
    with pytest.raises(UserError, match=r"hold only 0 and 255.*data.mask_values=\{0: background, 255: cat\}"):
        evaluate_masks(index, predictions, 0)
    mapping = {"0": "background", "255": "cat"}
    index = open_index(settings(truth, mask_values=mapping).data, "val", masks=True)
    measured = evaluate_masks(index, predictions, 0)
    assert measured.matrix.iou()[1] == 0
    assert measured.matrix.miou() < 0.4


def test_masks_that_exchange_two_classes_are_measured_anew_with_a_warning(case, caplog):
    base, exchanged = case("00_base"), case("88_truth_corrected")
    ious = {}
    for root in (base, exchanged):
        index = open_index(settings(root).data, "val", masks=True)
        with caplog.at_level(logging.WARNING):
            ious[root] = evaluate_masks(index, base / "masks", 0).matrix.iou()[1:]
        assert ("contradict their labels" in caplog.text) == (root == exchanged)
    assert "no mask holds cat (8 images), dog (8 images) for an image with that label" in caplog.text
    assert ious[base].min() == 1
    assert ious[exchanged].max() == 0
