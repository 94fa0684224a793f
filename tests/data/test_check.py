import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

import data.check
import data.dataset
import data.inspection
from data.artifacts import read_mask, write_mask
from data.check import check, figures, main, report
from data.settings import DataSettings
from stages.config import Config
from tests.data.conftest import put, random
from tests.data.layouts_of_tools import coco, put_json
from utils.errors import run_script


def settings(root: Path, kind: str = "folder", **others) -> Config:
    named = {"train_list": "all", "val_list": ""} if kind == "folder" else {"train_list": "train", "val_list": "val"}
    return Config(workers=0, data=DataSettings(kind=kind, root=str(root), **named | others))


def test_sound_data_has_counts_and_nothing_to_say(pets):
    findings = check(settings(pets))
    assert (findings.problems, findings.notes) == ([], [])
    assert figures(findings)["lists"] == {"all": {"images": 4, "by_class": {"cat": 2, "dog": 2}}}
    text = report(findings)
    assert "list 'all': 4 images, 8 x 6 to 8 x 6 pixels" in text
    assert "no problems to mend" in text


def test_unreadable_images_are_problems(pets):
    (pets / "cat/3.jpg").write_text("no image")
    path = pets / "dog/2.png"
    path.write_bytes(path.read_bytes()[:60])
    findings = check(replace(settings(pets), workers=1))
    first, second = findings.problems
    assert "cat/3.jpg is not an image" in first
    assert "dog/2.png cannot be decoded" in second
    assert figures(findings)["unreadable"] == [str(pets / "cat/3.jpg"), str(path)]


def test_the_same_image_twice_whatever_its_format(pets):
    Image.fromarray(put(pets / "cat/3.png")).save(pets / "dog/same.bmp")
    shutil.copy(pets / "cat/1.png", pets / "cat/copy.png")
    findings = check(settings(pets))
    assert (findings.problems, len(figures(findings)["duplicates"])) == ([], 2)
    assert findings.notes == [
        f"2 files are the same image: {pets}/cat/1.png, {pets}/cat/copy.png",
        f"2 files are the same image and have different labels: {pets}/cat/3.png, {pets}/dog/same.bmp",
    ]


def test_classes_that_labels_cannot_tell_apart_and_sums_of_others_are_told(tmp_path):
    for number in range(9):
        put(tmp_path / f"{number}.png")
    rows = [f"{n},{int(n < 4)},{int(n < 4)},{int(3 < n < 8)},{int(n < 8)}" for n in range(9)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,cat,tail,dog,animal", *rows]))
    notes = " ".join(check(settings(tmp_path)).notes)
    assert "cat, tail are in the same images, so nothing tells them apart" in notes
    assert "every image with a label has animal; if it sums up the others" in notes


def test_no_label_at_all_is_a_problem_and_masks_of_another_size_are_one(pets):
    (pets / "labels.csv").write_text("image,labels\ncat/1.png,cat\ncat/2.png,\ndog/1.png,\n")
    for name in ("cat/1", "cat/2"):
        put(pets / f"masks/{name}.png", np.ones((3, 4), np.uint8))
    (pets / "lists").mkdir()
    (pets / "lists/train.txt").write_text("cat/2\ndog/1\n")
    (pets / "lists/val.txt").write_text("cat/1\ncat/2\n")
    first, second = check(settings(pets, train_list="train", val_list="val")).problems
    assert first.startswith("no image of list 'train' has a label to learn from; set data.labels")
    assert "has 4 x 3 pixels" in second
    assert second.endswith("(2 such)")


def test_every_mistake_of_a_label_file_is_found(pets):
    rows = ["cat/1.png,cat", "cat/2.png,Cat;dog", "gone.png,dog", "cat/1.png,dog", "dog/1.png,", "too,many,cells"]
    (pets / "labels.csv").write_text("image,labels\n" + "\n".join(rows) + "\n")
    findings = check(settings(pets))
    where = [problem.split(":")[0].removeprefix(f"{pets}/labels.csv, line ") for problem in findings.problems]
    assert where == ["7", "4", "5"]
    assert findings.notes == [
        f"{pets}: classes Cat and cat differ in nothing but capitals, signs, letters that look alike, or a plural; are "
        "they one?",
        f"{pets}/labels.csv: images under {pets} that have no row: 1, first dog/2.png; they are not used",
        f"{pets}/labels.csv: images in the folder of a class that they do not have: 2, first cat/2.png; the labels "
        "count, not the folders: move the images, or mend the labels",
        f"list 'all': images without a label: 1, first {pets}/dog/1.png; they are read as none of the classes",
        "list 'all': one image of Cat, cat, dog",
    ]
    assert figures(findings)["lists"]["all"]["images"] == 3


def test_masks_of_the_validation_list(make_voc):
    root = make_voc(18)
    masks = root / "SegmentationClass"
    write_mask(masks / "p2.png", np.full((30, 40), 9))  # of no class
    write_mask(masks / "p5.png", np.zeros((30, 40)))  # of the image lying on its side
    Image.new("RGB", (40, 30)).save(masks / "p8.png")
    write_mask(masks / "p11.png", np.full((40, 30), 2))  # dog, on an image of train and cat
    (masks / "p14.png").unlink()
    write_mask(masks / "p0.png", np.full((3, 3), 99))  # of a training image: nobody looks at it
    shutil.copy(root / "JPEGImages/p3.jpg", root / "JPEGImages/p17.jpg")  # an image of the training list
    pixels = np.kron(random.integers(0, 128, (6, 8, 3), dtype=np.uint8), np.ones((5, 5, 1), np.uint8))
    put(root / "JPEGImages/p0.jpg", pixels)
    put(root / "JPEGImages/p2.jpg", 2 * pixels)  # twice the exposure
    findings = check(settings(root, "voc"))
    named = sorted(problem.split(str(masks))[1].split(" ")[0].strip(";") for problem in findings.problems)
    assert named == ["/p2.png", "/p5.png", "/p8.png"]
    missing = f"list 'val': images without a mask, of 6: 1, first {root}/JPEGImages/p14.jpg; add their masks"
    assert missing in findings.notes
    assert any("the masks of 1 of 2 images contradict their labels" in note for note in findings.notes)
    assert any("images of list 'val' that are in list 'train' too, of 6: 1, first" in note for note in findings.notes)
    like = f"of list 'train', of 6: 1, first {root}/JPEGImages/p2.jpg (like {root}/JPEGImages/p0.jpg); figures on"
    assert [like in note for note in findings.notes if "nearly" in note] == [True]


@pytest.mark.parametrize(("turn", "size", "is_told"), [(3, (30, 40), True), (6, (30, 40), False), (6, (30, 30), True)])
def test_images_that_exif_turns_and_whose_mask_fits_either_way_are_told(make_voc, turn, size, is_told):
    root = make_voc(3, size)
    path, mask_path = root / "JPEGImages/p2.jpg", root / "SegmentationClass/p2.png"  # of list val
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    Image.open(path).save(path, exif=exif)
    if turn == 6:
        write_mask(mask_path, np.rot90(read_mask(mask_path), -1).copy())
    notes = check(settings(root, "voc")).notes
    assert any("that EXIF turns or mirrors, and whose mask fits either way: 1" in note for note in notes) == is_told


def test_parts_that_lie_alike_are_not_the_same_image(make_voc):
    root = make_voc(18)
    part = np.kron(random.integers(40, 200, (6, 8, 1), dtype=np.uint8), np.ones((5, 5, 3), np.uint8))
    for image in sorted((root / "JPEGImages").iterdir()):
        spot = part.copy()
        spot[(row := random.integers(26)) : row + 4, (column := random.integers(36)) : column + 4] = 255
        put(image, spot)
    assert not any("nearly the same" in note for note in check(settings(root, "voc")).notes)


def test_lists_with_other_classes_are_a_problem(tmp_path):
    for name, classes in (("train", ("cat", "dog")), ("val", ("dog", "cat"))):
        categories = [{"id": number, "name": word} for number, word in enumerate(classes, 1)]
        put_json(tmp_path, f"annotations/instances_{name}.json", coco("1.png", "2.png") | {"categories": categories})
        for number in (1, 2):
            put(tmp_path / name / f"{number}.png", random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    given = settings(tmp_path, "coco")
    (problem,) = check(given).problems
    expected = "list 'train' has the classes cat, dog, list 'val' has dog, cat; both need the same in one order"
    assert problem.startswith(expected)
    assert check(replace(given, data=replace(given.data, classes=("cat", "dog")))).problems == []


def test_each_image_is_read_once_and_training_masks_never(make_voc, monkeypatch):
    root = make_voc(6)
    read: list[str] = []
    for module, name in ((data.dataset, "read_image"), (data.inspection, "read_with_facts")):
        real = getattr(module, name)
        counted = lambda path, *a, real=real, **k: (read.append(path.name), real(path, *a, **k))[1]  # noqa: E731
        monkeypatch.setattr(module, name, counted)
    check(settings(root, "voc", seed_list="train"))
    assert sorted(read) == sorted([*(f"p{i}.jpg" for i in range(6)), "p2.png", "p5.png"])


def test_the_command(pets, tmp_path, monkeypatch, capsys):
    (tmp_path / "settings.yaml").write_text("workers: 0\ndata: {kind: folder, train_list: all, val_list: val}\n")
    output = tmp_path / "seen"
    words = ["--config", tmp_path / "settings.yaml", "--set", f"data.root={pets}", "--output", output]
    monkeypatch.setattr(sys, "argv", ["check", *map(str, words)])
    assert run_script(main) == 0
    out = capsys.readouterr().out
    assert "there is no truth to validate on" in out  # a note: training needs none
    assert (output / "report.txt").read_text() in out.split("\nsee ")[0] + "\n"
    assert json.loads((output / "report.json").read_text())["classes"] == ["cat", "dog"]
    assert min(Image.open(output / "contact_sheet.jpg").size) > 100
    for number in range(12):
        (pets / f"cat/bad {number}.jpg").touch()
    assert run_script(main) == 2
    out, err = capsys.readouterr()
    assert "and 2 more" in out
    assert err == f"error: problems to mend: 12, listed in {output}/report.txt\n"
    assert (output / "report.txt").read_text().count("is not an image") == 12


def test_images_that_show_nothing_and_one_class_everywhere_are_notes(tmp_path):
    for number, level in enumerate((4, 5, 253, 120)):
        put(tmp_path / f"cat/{number}.png", np.full((40, 40, 3), level, np.uint8))
    notes = "\n".join(check(settings(tmp_path)).notes)
    assert f"images that are nearly black as the network sees them: 2, first {tmp_path}/cat/0.png" in notes
    assert "nearly white as the network sees them: 1" in notes
    assert "flat as the network sees them: 1" in notes
    assert "every image has cat, so there is nothing to tell it from" in notes
