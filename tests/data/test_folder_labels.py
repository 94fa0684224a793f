"""What says nothing about classes, and what another setting or another file would have to say."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from data.folder import open_folder
from tests.data.layouts_of_tools import labels_of, put, put_masks, put_text
from tests.project import refused
from utils.errors import UserError


def test_annotations_beside_images_are_refused_where_folders_are_not_called_as_their_objects(tmp_path):
    put(tmp_path, "batch1/1.jpg", "batch2/2.jpg", "batch2/img/3.jpg")
    label_me = {"shapes": [{"label": "cat", "points": []}], "imagePath": "1.jpg"}
    for name, text in (
        ("batch1/1.json", json.dumps(label_me)),
        ("batch2/2.xml", "<annotation><object>\n <name>cat</name></object></annotation>"),
        ("batch2/ann/3.jpg.json", json.dumps({"objects": [{"classTitle": "cat"}]})),
    ):
        put_text(tmp_path, name, text)
        refused(rf"annotations beside its images \({name}\), .* not read.*COCO, YOLO", open_folder, tmp_path)
        assert open_folder(tmp_path, classes=("batch1", "batch2")).class_names == ("batch1", "batch2")
        put_text(tmp_path, name, text.replace("cat", "batch1"))  # boxes of the classes that the folders are
        assert open_folder(tmp_path).class_names == ("batch1", "batch2")
        (tmp_path / name).unlink()


def test_files_of_other_formats_are_named_and_none_is_called_coco(tmp_path):
    put(tmp_path, "a.jpg")
    for name, text, message in (
        ("a.json", '{"shapes": [{"label": "cat"}]}', r"annotations beside its images \(a\.json\)"),
        ("via.json", '{"a.jpg1": {"regions": []}}', "says nothing about classes; expected"),
        ("train/metadata.jsonl", "{}", r"train/metadata\.jsonl is of a kind that is not read \(save it as CSV"),
        ("data.parquet", "PAR1", r"data\.parquet is of a kind that is not read"),
        ("_classes.csv", "Pixel Value, Class\n0, cat\n", r"_classes\.csv is of a kind that is not read"),
    ):
        put_text(tmp_path, name, text)
        with pytest.raises(UserError, match=message) as raised:
            open_folder(tmp_path)
        assert "data.kind=coco" not in str(raised.value)
        (tmp_path / name).unlink()


def test_a_folder_without_readable_images_says_so_and_masks_of_other_formats_are_told(tmp_path):
    put_text(tmp_path, "cat/IM0001.dcm", "DICM")
    refused(r"no image of a known format, but 1 files such as cat/IM0001\.dcm; convert", open_folder, tmp_path)
    put_text(put(tmp_path, "cat/1.jpg", "dog/1.jpg"), "masks/cat/1.npy", "")
    assert "with the suffix .npy are not read: 1, first masks/cat/1.npy" in " ".join(open_folder(tmp_path).notes)


def test_a_class_folder_of_masks_is_refused_unless_all_are_drawn_or_it_is_named(tmp_path):
    put(tmp_path, "photographs/1.jpg", "photographs/2.jpg")
    put_masks(tmp_path, "approved/1_L.png", "approved/2_L.png")
    refused(r"of the class 'approved' hold few values, as .*, first approved/1_L\.png", open_folder, tmp_path)
    assert len(open_folder(tmp_path, classes=("approved", "photographs"))) == 4
    put_masks(tmp_path, "photographs/1.png", "photographs/2.png")
    for number in (1, 2):
        (tmp_path / f"photographs/{number}.jpg").unlink()
    assert len(open_folder(tmp_path)) == 4  # drawings of two classes


def test_masks_beside_images_with_names_of_their_own_are_refused_unless_classes_are_named(tmp_path):
    (tmp_path / "tumor").mkdir()
    for name in ("1", "2", "1_b", "2_b"):
        Image.effect_noise((8, 8), 80).save(tmp_path / f"tumor/{name}.png")
    assert len(open_folder(tmp_path)) == 4  # images of one thing
    put_masks(tmp_path, "tumor/1_tumor.png", "tumor/2_tumor.png", "tumor/2_more.png")
    refused(r"2 files with names such as '#_tumor\.png' hold few.*data\.classes", open_folder, tmp_path)
    assert len(open_folder(tmp_path, classes=("tumor",))) == 7


@pytest.mark.parametrize(
    ("image", "mask", "message"),
    [
        ("tumor/{}.png", "tumor/gt_{}.png", r"with names such as 'gt_#\.png' hold few"),
        ("tumor/{}/img.png", "tumor/{}/label_.png", r"with names such as '#/label_\.png' hold few"),
        ("tumor/{}.png", "binary/{}.jpg", "of the class 'binary' hold few"),
        ("images/tumor/{}.png", "GT/tumor/{}.jpg", ""),
        ("tumor/{}.png", "tumor/{}.jpg", ""),
        ("tumor_{}.png", "bw_{}.jpg", "of the class 'bw' hold few"),
    ],
)
def test_masks_are_refused_or_left_out_whatever_they_are_called_and_as_jpeg(tmp_path, image, mask, message):
    values = np.zeros((32, 32), np.uint8)
    values[8:, 5:] = 255
    names = "13579"
    for name in names:
        for file, content in ((image, Image.effect_noise((32, 32), 80)), (mask, Image.fromarray(values))):
            path = tmp_path / file.format(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            content.save(path)
    labels = "" if "/" in image else "names"
    if message:
        refused(message if image.count("/") < 2 else r"data\.classes=\[tumor\]", open_folder, tmp_path, labels=labels)
        named = ("tumor", mask.partition("/")[0] if "/" in mask else "bw")
        notes = " ".join(open_folder(tmp_path, "all", labels, tuple(dict.fromkeys(named))).notes)
        assert bool(re.search(message, notes)) == ("names such as" in message)
    else:
        assert labels_of(open_folder(tmp_path)) == {image.format(name)[:-4]: {"tumor"} for name in names}


@pytest.mark.parametrize(
    ("images", "note"),
    [
        ("a/1 a/thumb_1 a/2 a/thumb_2 b/1", "differ from others in a first or last word alone, in several the same: 2"),
        ("p/0/1 p/1/1 q/0/1 q/1/1", "have one name in several of them, or that of a class: 4, first p/0"),
        ("n/images/a/1 s/images/a/1", "have one name in several of them, or that of a class: 2, first n/a"),
        ("pets/cat/1 pets/dog/1 wild/fox/1", "folders in those of classes, in which all images are: 3, first pets/cat"),
        ("a/1 b/1 all/a/1 all/b/1", "or that of a class: 2, first all/a"),
        ("train/a/1 unused/1", "folders that look like lists are classes: 1, first train"),
        ("a/1 a/1_overlay a/2 a/2_overlay b/1", "in a first or last word alone, in several the same: 2, first"),
        ("a/x_DAPI a/x_GFP b/y_DAPI b/y_GFP", "in several the same: 4, first a/x_DAPI; each trains as an image"),
    ],
)
def test_folders_and_files_that_may_mean_something_else_are_told(tmp_path, images, note):
    assert note in " ".join(open_folder(put(tmp_path, *(f"{name}.jpg" for name in images.split()))).notes)


def test_lists_of_a_competition_are_no_classes_and_its_table_of_labels_is_named(tmp_path):
    put(tmp_path, "train_images/1.jpg", "test_images/2.jpg")
    for name in ("sample_submission.csv", "test.csv", "train.csv"):
        put_text(tmp_path, name, "image_id,label\n1.jpg,cat\n")
    remedy = r"--set data\.labels=train\.csv"
    refused(rf"test_images, train_images look like lists.*{remedy}", open_folder, tmp_path)
    put(tmp_path, "cat/1.jpg")
    assert "tables that are not read: 3" in " ".join(open_folder(tmp_path).notes)
    one = put_text(put(tmp_path / "one", "train_images/1.jpg"), "train.csv", "image_id,label\n1.jpg,cat\n")
    refused(rf"train_images look like lists.*{remedy}", open_folder, one)
    flat = put_text(put_text(put(tmp_path / "flat", "1.jpg"), "submission.csv", ""), "train.csv", "")
    refused(f"read it with {remedy}", open_folder, flat)


def test_a_table_that_contradicts_the_folders_and_masks_of_many_values_are_told(tmp_path):
    put(tmp_path, "cat/1.jpg", "dog/2.jpg")
    Image.radial_gradient("L").save(tmp_path / "cat/1_label.png")
    notes = " ".join(open_folder(tmp_path, masks=True).notes)
    assert "hold more than 16 values, as photographs do: 1, first cat/1_label.png" in notes
    put_text(tmp_path, "labels.csv", "image,label\ncat/1.jpg,cat\ndog/2.jpg,cat;\n")
    notes = " ".join(open_folder(tmp_path, classes=("cat", "dog")).notes)
    assert "images in the folder of a class that they do not have: 1, first dog/2.jpg" in notes


def test_lists_tables_and_folders_that_say_something_else_or_nothing_are_told(tmp_path):
    put(tmp_path, "train/1.jpg", "val/2.jpg", "3.jpg")
    rows = "train/1.jpg,cat,val\nval/2.jpg,dog,train\n3.jpg,dog,\n"
    put_text(tmp_path, "labels.csv", f"image,label,split\n{rows}")
    put_text(tmp_path, "labels.json", "[]")
    notes = " ".join(open_folder(tmp_path).notes)
    assert "images in the folder of another list than their row says: 2, first train/1.jpg" in notes
    assert "images whose row names no list, while others do: 1, first 3.jpg" in notes
    assert "files of labels that are not read: 1, first labels.json" in notes
    other = put(tmp_path / "other", "cat/1.jpg", "dog/train_2.jpg")
    for name in ("meta/train.txt", "split.json", "dog/train_2.txt"):
        put_text(other, name, "cat/1\n")
    assert "look like lists and are not read: 2, first meta/train.txt" in " ".join(open_folder(other, "train").notes)
    put_text(other, "lists/val.txt", "cat/1\n")
    assert "look like lists" not in " ".join(open_folder(other, "train").notes)


def test_a_table_of_classes_beside_their_folders_and_lists_as_tables_are_told(tmp_path):
    put(tmp_path, "cat/1.jpg", "dog/1.jpg")
    put_text(tmp_path, "labels.csv", "id,name\n0,cat\n1,dog\n")
    message = r"line 2: there is no image 'cat'.* \(2 such, all rows\); rename labels\.csv if it is no table of images"
    refused(message, open_folder, tmp_path)
    (tmp_path / "labels.csv").rename(tmp_path / "names.csv")
    put_text(tmp_path, "lists/val.csv", "cat/1.jpg\n")
    notes = " ".join(open_folder(tmp_path, "train").notes)
    assert "files that look like lists and are not read: 1, first lists/val.csv; lists are read from" in notes
