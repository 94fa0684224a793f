"""Layouts of others: each is read, or refused with the settings that read it; no folder of a layout is a class."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from data.folder import open_folder
from data.index import open_index
from data.settings import DataSettings
from data.tree import count_values
from stages.config import load_config
from tests.data.layouts_of_tools import TREES, build, labels_of, put, put_masks, put_text
from tests.project import ROOT, refused
from utils.errors import UserError


def settings_in(message: str) -> list[str]:
    return [text.rstrip(":;,") for text in re.findall(r"--set (\S+)", message)]


def rows_of_the_documentation() -> dict[str, list[str]]:
    """Tool -> the settings of its command in docs/data.md."""
    text = (ROOT / "docs/data.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+) \| [^|]* \| `([^`|]*)` \|", text, flags=re.MULTILINE)
    return {tool.strip(): settings_in(command) for tool, command in rows if tool.strip() in TREES}


BOTH = {(0,), (0, 1)}
EXPECTED = {"MVTec AD": {(), (0,), (1,)}, "Kaggle": {*BOTH, (1,)}, "YOLO": BOTH, "Label Studio, CSV": BOTH}


@pytest.mark.parametrize("tool", TREES)
def test_the_command_of_the_documentation_reads_what_the_tool_writes(tmp_path, tool):
    build(tool, tmp_path)
    assert rows_of_the_documentation().keys() == TREES.keys()
    overrides = [text.replace("FOLDER", str(tmp_path)) for text in rows_of_the_documentation()[tool]]
    cfg = load_config(None, overrides=["data.kind=folder", "data.train_list=all", f"data.root={tmp_path}", *overrides])
    index = open_index(cfg.data, cfg.data.train_list)
    assert index.class_names == (("crack", "hole") if tool == "MVTec AD" else ("cat", "dog"))
    assert {record.labels for record in index.records} == EXPECTED.get(tool, {(0,), (1,)})
    if tool == "MVTec AD":
        assert any("the folders 'good' are images of none of the classes" in note for note in index.notes)
    assert not any("mask" in str(record.image.relative_to(tmp_path)) for record in index.records)


REFUSED = (
    *("Roboflow, COCO", "Roboflow, multi-label", "CVAT, COCO", "CVAT, VOC", "Kaggle", "Oxford pets"),
    *("Label Studio, JSON", "Label Studio, COCO"),
)


@pytest.mark.parametrize("tool", REFUSED)
def test_the_preset_folder_refuses_with_settings_that_read_it(tmp_path, tool):
    build(tool, tmp_path)
    with pytest.raises(UserError) as raised:
        open_folder(tmp_path)
    overrides = settings_in(str(raised.value))
    cfg = load_config(None, overrides=["data.kind=folder", f"data.root={shlex.quote(str(tmp_path))}", *overrides])
    index = open_index(cfg.data, cfg.data.train_list if cfg.data.kind != "folder" else "all")
    assert index.class_names == ("cat", "dog")
    assert len(index) >= 2


def test_v7_is_not_taken_for_coco(tmp_path):
    put(tmp_path, "images/1.jpg")
    put_text(tmp_path, "annotations/1.json", '{"item": {"name": "1.jpg"}, "annotations": [{"name": "cat"}]}')
    refused(r"and annotations/1\.json is of a kind that is not read .* a file .*labels\.csv", open_folder, tmp_path)


class TestLists:
    @pytest.mark.parametrize("above", ["", "images/", "data/", "ILSVRC/Data/"])
    def test_folders_are_lists_at_any_depth(self, tmp_path, above):
        for part in ("train", "valid"):
            put(tmp_path, *(f"{above}{part}/{name}/1.jpg" for name in ("cat", "dog")))
        assert open_folder(tmp_path).class_names == ("cat", "dog")
        assert list(labels_of(open_folder(tmp_path, "train"))) == [f"{above}train/cat/1", f"{above}train/dog/1"]
        assert len(open_folder(tmp_path, "val")) == 2
        assert any("list 'all' takes train (2), val (2)" in note for note in open_folder(tmp_path).notes)

    def test_images_of_other_lists_are_not_trained_with(self, tmp_path):
        put(tmp_path, "1.jpg", "2.jpg", "3.jpg")
        put_text(tmp_path, "labels.csv", "image,labels,split\n1.jpg,cat,test\n2.jpg,dog,val\n3.jpg,cat,test\n")
        with pytest.raises(UserError, match=r"all images are of list test or val, none is of 'train'.*train_list=test"):
            open_folder(tmp_path, "train")
        assert len(open_folder(tmp_path, "test").records) == 2
        assert len(open_folder(tmp_path, "all").records) == 3

    def test_lists_inside_class_folders_and_lists_without_labels(self, tmp_path):
        put(tmp_path / "a", *(f"{name}/{part}/1.jpg" for part in ("train", "test") for name in ("cat", "dog")))
        assert open_folder(tmp_path / "a").class_names == ("cat", "dog")
        assert list(labels_of(open_folder(tmp_path / "a", "test"))) == ["cat/test/1", "dog/test/1"]
        put(tmp_path / "b", "train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg")
        index = open_folder(tmp_path / "b")
        assert len(index) == 2
        assert any("no class's folder are left out: 2, first test/1.jpg" in note for note in index.notes)

    def test_what_may_be_lists_or_one_folder_too_high_is_refused_unless_named(self, tmp_path):
        lists = put(tmp_path / "lists", "train/cat/1.jpg", "val/cat/1.jpg", "extra/cat/1.jpg")
        refused("train, val look like lists, and extra beside", open_folder, lists)
        assert open_folder(lists, classes=("extra", "train", "val")).class_names == ("extra", "train", "val")
        above = put(tmp_path / "above", "pets/cat/1.jpg", "pets/dog/1.jpg")
        refused(rf"set data\.root={above}/pets; .*data\.classes=\[pets\]", open_folder, above)
        assert open_folder(above, classes=("pets",)).class_names == ("pets",)

    def test_a_folder_of_data_sets_is_refused(self, tmp_path):
        build("MVTec AD", tmp_path / "bottle")
        build("MVTec AD", tmp_path / "cable")
        refused(rf"such as data\.root={tmp_path}/bottle", open_folder, tmp_path)


class TestMasks:
    @pytest.mark.parametrize(
        ("image", "mask"),
        [
            *(("images/1.jpg", f"{name}.png") for name in ("masks/1", "mask/1", "annotations/1", "masks/1_mask")),
            *(("images/1.jpg", name) for name in ("labels/1.tif", "masks/1.PNG", "masks/images/1.png")),
            *(("images/train/1.jpg", "masks/train/1.png"), ("train/images/1.jpg", "train/masks/1.png")),
            ("1.jpg", "1_mask.png"),
        ],
    )
    def test_masks_are_found_beside_a_table_and_never_trained_on(self, tmp_path, image, mask):
        put(tmp_path, image)
        put_masks(tmp_path, mask)
        put_text(tmp_path, "labels.csv", f"image,labels\n{image},cat\n")
        index = open_folder(tmp_path, masks=True)
        assert [record.mask for record in index.records] == [tmp_path / mask]
        assert len(open_folder(tmp_path, "val")) == 1
        assert index.notes == ()

    @pytest.mark.parametrize(
        ("images", "mask"),
        [
            *(("cat/1.jpg dog/2.jpg", name) for name in ("cat/1_mask.png", "cat/1_mask_2.png", "cat/masks/1.png")),
            ("cat/1.jpg dog/2.jpg", "masks/1.png"),
            ("test/cat/000.png test/good/000.png", "ground_truth/cat/000_mask.png"),  # MVTec AD
            ("Input/ISIC_1.jpg Other/2.jpg", "Task1_Input_GroundTruth/ISIC_1_segmentation.png"),
        ],
    )
    def test_masks_are_found_beside_class_folders(self, tmp_path, images, mask):
        put(tmp_path, *images.split())
        put_masks(tmp_path, mask)
        found, expected = open_folder(tmp_path, masks=True).records, [tmp_path / name for name in images.split()]
        assert [record.image for record in found] == expected
        assert [record.mask for record in found] == [tmp_path / mask, None]
        assert all(record.mask is None for record in open_folder(tmp_path).records)

    def test_a_class_called_masks_never_vanishes_and_values_of_trimaps_are_no_classes(self, tmp_path):
        index = open_folder(build("Oxford pets", tmp_path / "pets"), labels="names", masks=True)
        assert all(record.mask is None for record in index.records)
        for number, (name, other) in enumerate((("masks", "no_masks"), ("mask", "without_mask"), ("lists", "cat"))):
            root = put(tmp_path / str(number), f"{name}/1.jpg", f"{other}/1.jpg", f"{other}/2.jpg")
            refused(rf"folder .*/{name} holds 1 images, .* format: .*data\.classes", open_folder, root)
            assert len(open_folder(root, classes=tuple(sorted((name, other))))) == 3


@pytest.mark.parametrize("lists", [("train", "dev"), ("training_set", "test_set"), ("seg_train", "seg_test")])
def test_folders_that_look_like_lists_are_no_classes(tmp_path, lists):
    put(tmp_path, *(f"{name}/{label}/1.jpg" for name in lists for label in ("cat", "dog")))
    refused("look like lists of the classes cat, dog: call them train, val and test", open_folder, tmp_path)
    assert open_folder(tmp_path, classes=lists).class_names == lists
    other = put(tmp_path / "other", "train/2023/1.jpg", "car/2024/1.jpg")  # two classes, each in its folders
    assert open_folder(other).class_names == ("car", "train")


class TestLeftOut:
    def test_each_kind_is_one_note_with_its_first_name(self, tmp_path):
        put(tmp_path, "cat/1.jpg", "cat/@eaDir/1.jpg/SMALL.jpg", "cat/.thumbnails/1.jpg", "__MACOSX/cat/._1.jpg")
        put(tmp_path, "dog/1.jpg", "dog/._1.jpg", "masks/dog/1.jpg")
        for name in ("2.raw", "3.raw", "notes.txt"):
            put_text(tmp_path, f"dog/{name}", "")
        (tmp_path / "fox").mkdir()
        (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
        put_masks(tmp_path, "masks/cat/1.png", "masks/cat/9.png")
        index = open_folder(tmp_path)
        assert labels_of(index) == {"cat/1": {"cat"}, "dog/1": {"dog"}}
        expected = (
            "files with the suffix .raw are not read: 2, first dog/2.raw",
            "hidden files, thumbnails or what this project has written are left out: 4",
            "links to nothing are left out: 1",
            "folders without images are left out: 1, first fox",
            "masks of no image are not used: 1, first masks/cat/9.png",
            "masks JPEG or WebP are not used: 1, first masks/dog/1.jpg",
        )
        assert [text for text in expected if not any(text in note for note in index.notes)] == []
        assert len(index.notes) == len(expected)

    @pytest.mark.parametrize("output", ["", "out/"])
    def test_what_the_scripts_have_written_is_neither_image_nor_truth(self, tmp_path, output):
        put(tmp_path, "cat/1.jpg", "dog/1.jpg")
        put_text(tmp_path, f"{output}.made_by.json", "{}")
        put_masks(tmp_path, f"{output}predicted/cat/1.png", f"{output}given/cat/1.png", f"{output}given/dog/1.png")
        put(tmp_path, f"{output}shown/ibb/cat/1.1.webp")
        put_text(tmp_path, f"{output}.done/cat/1.json", "{}")
        put(tmp_path, *(f"{output}{name}.jpg" for name in ("contact_sheet", "overlays/cat/1", "overlays/dog/1")))
        put_masks(tmp_path, f"{output}masks/cat/1.png", f"{output}masks/dog/1.png", "runs/own/ibb_masks/cat/1.png")
        put_text(tmp_path, "runs/own/run.json", "{}")
        put_text(tmp_path, "runs/own/config.yaml", "")
        put(tmp_path, "checked/contact_sheet.jpg")
        for suffix in ("txt", "json"):
            put_text(tmp_path, f"checked/report.{suffix}", "")
        index = open_index(DataSettings(kind="folder", root=str(tmp_path)), "all", masks=True)
        assert labels_of(index) == {"cat/1": {"cat"}, "dog/1": {"dog"}}
        assert [record.mask for record in index.records] == [None, None]
        assert any("what this project has written are left out: 11" in note for note in index.notes)

    def test_links_are_followed_and_loops_refused(self, tmp_path):
        put(tmp_path / "disk", "1.jpg", "more/2.jpg")
        root = put(tmp_path / "root", "dog/1.jpg", "cat/deep/1.jpg")
        (root / "cat/deep/linked").symlink_to(tmp_path / "disk")
        linked = ["cat/deep/1", "cat/deep/linked/1", "cat/deep/linked/more/2", "dog/1"]
        assert sorted(labels_of(open_folder(root))) == linked
        for target in (root / "cat", root, tmp_path, Path("..")):
            (root / "cat/deep/loop").symlink_to(target)
            refused(r"cat/deep/loop is a link to .*, which is a folder above it; remove", open_folder, root)
            (root / "cat/deep/loop").unlink()


@pytest.mark.parametrize(("image", "mask"), [("jpg", "png"), ("tif", "png"), ("png", "bmp")])
@pytest.mark.parametrize("table", [False, True])
def test_of_files_with_one_name_those_of_few_values_are_masks(tmp_path, table, image, mask):
    names = [f"{name}/Imgs/{number}" for name in ("crack", "hole") for number in (1, 2)]
    put(tmp_path, *(f"{name}.{image}" for name in names))
    for name in names:
        Image.effect_noise((8, 8), 80).convert("RGB").save(tmp_path / f"{name}.{image}")
    put_masks(tmp_path, *(f"{name}.{mask}" for name in names[:3]))
    put_text(tmp_path, "labels.csv", "image,labels\ncrack/Imgs/1,crack\nhole/Imgs/1,hole\n") if table else None
    index = open_folder(tmp_path, masks=True)
    assert {record.image.suffix for record in index.records} == {f".{image}"}
    assert index.records[0].mask == tmp_path / f"crack/Imgs/1.{mask}"
    assert "at most 16 values: 3, first crack/Imgs/1" in " ".join(index.notes)
    for name in names[:3]:
        Image.effect_noise((8, 8), 80).save(tmp_path / f"{name}.{mask}")
    count_values.cache_clear()
    if not table:
        index = open_folder(tmp_path)
        assert len(index) == 7  # photographs
        assert "differ from others in their suffix alone: 6, first crack/Imgs/1" in "".join(index.notes)
