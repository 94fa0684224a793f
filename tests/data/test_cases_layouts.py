"""Inputs that users had, whose folders mean something else: what is read, and what is said."""

import pytest

from data.check import check
from stages.config import load_config


def checked(root, *overrides):
    """The classes with their counts, the problems and the notes of the check."""
    settings = [
        "workers=0",
        "data.kind=folder",
        f"data.root={root}",
        "data.train_list=all",
        "data.val_list=",
        *overrides,
    ]
    findings = check(load_config(None, overrides=settings))
    counts = next((index.label_counts() for index in findings.lists.values()), {})
    return counts, findings.problems, " ".join(findings.notes)


def test_files_of_other_suffixes_are_read_or_said(case):
    counts, problems, notes = checked(case("63_jfif_avif_heic"))
    assert problems == []
    assert sum(counts.values()) == 14 or "suffix .jfif are not read, first" in notes
    assert counts.get("dog") == 6 or "folders without images are left out: 1, first dog" in notes


def test_images_and_masks_ask_for_a_table(case):
    _, problems, _ = checked(case("65_images_and_masks_dirs"))
    assert len(problems) == 1
    assert "says nothing about classes" in problems[0]


def test_images_and_masks_with_a_table_are_read(case):
    root = case("65_images_and_masks_dirs")
    names = sorted(path.stem for path in (root / "images").iterdir())
    (root / "labels.csv").write_text("image,labels\n" + "".join(f"{name},cat\n" for name in names))
    counts, _, notes = checked(root, "data.val_list=val")
    assert counts == {"cat": len(names)}
    assert "have no mask" not in notes


def test_vocs_layout_is_refused_with_its_setting(case):
    root = case("66_voc_layout_as_folder")
    counts, problems, _ = checked(root)
    assert counts == {}
    assert len(problems) == 1
    assert f"--set data.kind=voc --set data.root={root}" in problems[0]


def test_a_class_called_masks_does_not_vanish(case):
    root = case("67_face_masks")
    _, problems, _ = checked(root)
    assert len(problems) == 1
    assert "data.classes" in problems[0]
    assert checked(root, "data.classes=[masks,no_masks]")[:2] == ({"masks": 3, "no_masks": 3}, [])


def test_number_classes_are_in_natural_order(case):
    counts, problems, notes = checked(case("70_numeric_classes"))
    assert list(counts) == [str(number) for number in range(1, 13)]
    assert problems == []
    assert "class names are numbers" in notes


@pytest.mark.parametrize("overrides", [[], ["data.classes=[no,yes]"]])
def test_yes_and_no_are_names(case, overrides):
    assert checked(case("71_yes_no"), *overrides)[:2] == ({"no": 3, "yes": 3}, [])


def test_mvtec_is_read(case):
    counts, problems, notes = checked(case("76_mvtec"), "data.val_list=val")
    assert counts == {"broken": 3}
    assert problems == [] or all("mask" in problem for problem in problems)  # its masks may hold other values
    assert "MVTec's layout; the folders 'good' are images of none of the classes" in notes


def test_an_empty_class_folder_is_said(case):
    root = case("79_empty_class")
    (root / "fox").mkdir(exist_ok=True)
    counts, problems, notes = checked(root)
    assert counts == {"cat": 3, "dog": 3}
    assert problems == []
    assert "folders without images are left out: 1, first fox" in notes


def test_thumbnails_never_train(case):
    counts, problems, notes = checked(case("80_synology"))
    assert counts == {"cat": 3, "dog": 3}
    assert problems == []
    assert "hidden files or thumbnails are left out" in notes


def test_roboflows_root_category_takes_no_class_value(case):
    root = case("46_roboflow")
    _, problems, _ = checked(root)
    assert "--set data.kind=coco" in problems[0]
    counts, problems, notes = checked(root, "data.kind=coco", "data.train_list=train", "data.val_list=train")
    assert (counts, problems) == ({"cat": 3, "dog": 3}, [])
    assert "category 'pets' has no annotation and only groups others" in notes
