import json
import shutil
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask, write_mask
from data.coco_file import CocoRules
from data.dataset import NoTruth
from data.folder import open_folder
from utils.errors import UserError


def put(root: Path, *names: str) -> Path:
    """Images of those names under the root, which is returned."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (number, 0, 0)).save(root / name)
    return root


def put_mask(root: Path, name: str, value: int = 1) -> Path:
    path = root / "masks" / f"{name}.png"
    write_mask(path, np.full((4, 6), value))
    return path


def put_text(root: Path, name: str, text: str | bytes) -> Path:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return root / name


def labels_of(index) -> dict[str, set[str]]:
    return {record.name: {index.class_names[label] for label in record.labels} for record in index.records}


def names_of(index) -> list[str]:
    return [record.name for record in index.records]


@pytest.fixture
def pets(tmp_path):
    """Sub-folders `cat` and `dog`; `1.jpg` is in both."""
    return put(tmp_path / "pets", "dog/1.jpg", "cat/1.jpg", "cat/young/2.jpg", "dog/3.png")


@pytest.fixture
def tagged(tmp_path):
    """A CSV with images in a folder, in the root, with two labels and with none."""
    root = put(tmp_path / "tagged", "in/a.jpg", "b.jpg", "c d.jpg", "unlisted.jpg")
    put_text(root, "labels.csv", "image,labels\nin/a.jpg,dog;cat\nb.jpg,cat\nc d.jpg,\n")
    return root


class TestClassFolders:
    def test_labels_names_and_order(self, pets):
        index = open_folder(pets, "all")
        assert index.class_names == ("cat", "dog")
        assert labels_of(index) == {"cat/1": {"cat"}, "cat/young/2": {"cat"}, "dog/1": {"dog"}, "dog/3": {"dog"}}
        assert names_of(index) == sorted(names_of(index))
        assert [record.image for record in index.records][:2] == [pets / "cat/1.jpg", pets / "cat/young/2.jpg"]
        assert open_folder(pets, "") == open_folder(str(pets), "train") == index

    def test_masks_hidden_and_empty_folders_are_no_classes(self, pets):
        put(pets, "masks/cat/1.png", ".cache/y.png", "cat/masks/1.png")
        (pets / "empty").mkdir()
        put_text(pets, "notes/read.txt", "no images")
        index = open_folder(pets)
        assert index.class_names == ("cat", "dog")
        assert len(index) == 4
        assert any("folders without images are left out: 2, first empty" in note for note in index.notes)

    def test_given_classes_set_the_order_and_may_have_no_images(self, pets):
        index = open_folder(pets, classes=("dog", "frog", "cat"))
        assert index.class_names == ("dog", "frog", "cat")
        assert labels_of(index)["cat/1"] == {"cat"}

    def test_unknown_sub_folder_is_named_with_the_nearest_class(self, pets):
        with pytest.raises(UserError, match=r"sub-folder .*pets/dog: unknown class 'dog'.*did you mean 'dogs'\?"):
            open_folder(pets, classes=("cat", "dogs"))

    def test_names_that_differ_in_the_suffix_alone_keep_it(self, tmp_path):
        root = put(tmp_path, "x/a.jpg", "x/a.png", "x/a.jpg.png", "x/b.jpg", "y/a.jpg", "x/v1.2.jpg")
        names = names_of(open_folder(root))
        assert names == ["x/a.jpg", "x/a.jpg.png", "x/a.png", "x/b", "x/v1.2", "y/a"]
        put_mask(root, "x/a.png")
        assert names_of(open_folder(root, "val")) == ["x/a.png"]

    def test_background_folder_means_none_of_the_classes(self, pets):
        put(pets, "Background/1.jpg", "Background/far/2.jpg")
        index = open_folder(pets, rules=CocoRules(background="background"))
        assert index.class_names == ("cat", "dog")
        assert labels_of(index)["Background/far/2"] == set()
        assert len(index) == 6
        assert open_folder(pets, classes=("cat", "dog"), rules=CocoRules(background="background")) == index
        assert open_folder(pets).class_names == ("Background", "cat", "dog")
        with pytest.raises(UserError, match="bare gives no image a label; expected a folder"):
            open_folder(put(pets.parent / "bare", "none/1.jpg"), rules=CocoRules(background="none"))

    def test_errors(self, tmp_path, pets):
        with pytest.raises(UserError, match=r"data\.root .*gone is not a folder"):
            open_folder(tmp_path / "gone")
        (tmp_path / "empty").mkdir()
        with pytest.raises(UserError, match=r"empty says nothing about classes; expected one sub-folder.*labels\.csv"):
            open_folder(tmp_path / "empty")
        with pytest.raises(UserError, match="says nothing about classes"):
            open_folder(put(tmp_path / "flat", "a.jpg"))
        with pytest.raises(UserError, match=r"stray\.jpg lies in no class folder \(1 such\)"):
            open_folder(put(pets, "stray.jpg"))


class TestTable:
    def test_labels_and_order(self, tagged):
        index = open_folder(tagged)
        assert index.class_names == ("cat", "dog")
        assert labels_of(index) == {"in/a": {"cat", "dog"}, "b": {"cat"}, "c d": set()}
        assert index.records[0].labels == (0, 1)
        assert index.records[0].image == tagged / "in/a.jpg"

    def test_table_beats_sub_folders_and_a_given_one_beats_it(self, tagged, tmp_path):
        other = put_text(tmp_path, "other.csv", "image,labels\nb.jpg,frog\n")
        put_text(tagged, "inside.csv", "image,labels\nb.jpg,newt\n")
        assert open_folder(tagged, labels=str(other)).class_names == ("frog",)
        assert open_folder(tagged, labels="inside.csv").class_names == ("newt",)
        with pytest.raises(UserError, match=r"data\.labels: there is no CSV or JSON file gone\.csv"):
            open_folder(tagged, labels="gone.csv")

    @pytest.mark.parametrize("name", ["in/a.jpg", "./in//a.jpg", "a.jpg", "a", "in/a", "in\\a.jpg", " a.jpg "])
    def test_an_image_is_found_by_path_or_name(self, tagged, name):
        put_text(tagged, "labels.csv", f"image,labels\n{name},cat\n")
        assert names_of(open_folder(tagged)) == ["in/a"]

    def test_absolute_path_inside_the_root(self, tagged, monkeypatch):
        put_text(tagged, "labels.csv", f"image,labels\n{tagged / 'in/a.jpg'},cat\n")
        monkeypatch.chdir(tagged.parent)
        assert names_of(open_folder(tagged.name)) == ["in/a"]

    def test_accents_taken_apart_are_the_same_name_and_label(self, tmp_path):
        put(tmp_path, "cafe\u0301.jpg", "b.jpg")
        put_text(tmp_path, "labels.csv", "image,labels\ncafé.jpg,bébé\nb.jpg,be\u0301be\u0301\n")
        assert labels_of(open_folder(tmp_path)) == {"cafe\u0301": {"bébé"}, "b": {"bébé"}}

    def test_mark_windows_lines_blanks_padding_case_and_quotes(self, tagged):
        text = '\ufeff Image , LABELS ,note\r\n\r\n"in/a.jpg", cat ; dog;;cat ,"x, y"\r\n,,\r\n b.jpg ,cat,,,\r\n'
        put_text(tagged, "labels.csv", text)
        assert labels_of(open_folder(tagged)) == {"in/a": {"cat", "dog"}, "b": {"cat"}}

    def test_unusual_suffix(self, tagged):
        Image.new("RGB", (4, 4)).save(tagged / "in/x.ppm")
        put_text(tagged, "labels.csv", "image,labels\nin/x.ppm,cat\n")
        assert names_of(open_folder(tagged)) == ["in/x"]

    def test_given_classes(self, tagged):
        index = open_folder(tagged, classes=("dog", "frog", "cat"))
        assert index.class_names == ("dog", "frog", "cat")
        assert index.records[0].labels == (0, 2)
        message = r"labels\.csv, line 2: unknown class 'cat'.*did you mean 'cats'\?"
        with pytest.raises(UserError, match=message):
            open_folder(tagged, classes=("dog", "cats"))

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("\n , \n", "is empty; expected the header"),
            ("image,labels\n", "has no rows under its header"),
            ("image,labels\nb.jpg,\n", "gives no image a label"),
            ("image,cat,dog\n", "has no rows under its header"),
            ("image,cat,cat\nb.jpg,1,0\n", "expected different classes in the header"),
            ("image,cat,height\nb.jpg,1,20\n", "line 2: expected 0 or 1 in the column 'height', found '20'"),
            ("image,labels\n\nb.jpg,cat,dog\n", "line 3: expected 2 cells .*found 3; separate labels with ';'"),
            ("image,labels\nb.jpg,cat\nB.jpg,cat\n", r"line 3: there is no image 'B\.jpg' .*did you mean 'b\.jpg'"),
            ("image,labels\nb.jpg,cat\nin/a.jpg,\n./b.jpg,dog\n", "line 4: .*has a line already \\(.*line 2\\)"),
            ("image,labels\nmasks/m.png,cat\n", "line 2: there is no image 'masks/m.png'"),
        ],
    )
    def test_errors(self, tagged, text, message):
        put_mask(tagged, "m")
        put_text(tagged, "labels.csv", text)
        with pytest.raises(UserError, match=rf"labels\.csv[,:]? {message}"):
            open_folder(tagged)

    def test_a_name_of_two_images_is_refused(self, pets):
        put_text(pets, "labels.csv", "image,labels\n1.jpg,cat\n")
        with pytest.raises(UserError, match=r"line 2: '1\.jpg' may be cat/1\.jpg or dog/1\.jpg; give the whole path"):
            open_folder(pets)


ESCAPES = ["../secret.jpg", "in/../../secret.jpg", "..\\secret.jpg", "{outside}/secret.jpg", "{root}/../secret.jpg"]


@pytest.mark.parametrize("name", ESCAPES)
@pytest.mark.parametrize("where", ["labels.csv", "lists/mine.txt"])
def test_no_name_leads_out_of_the_root(tagged, name, where):
    put(tagged.parent, "secret.jpg")
    name = name.format(outside=tagged.parent, root=tagged)
    put_text(tagged, where, f"image,labels\n{name},cat\n" if where.endswith("csv") else f"b.jpg\n{name}\n")
    with pytest.raises(
        UserError, match=rf"{where}, line 2: the image's name '.*' (leads out of its folder|is an absolute path)"
    ):
        open_folder(tagged, "mine")


class TestJson:
    """COCO's format, labels alone."""

    DOCUMENT: ClassVar = {
        "images": [
            {"id": 1, "file_name": "a.jpg"},
            {"id": 2, "file_name": "in/b.jpg"},
            {"id": 5, "file_name": "c.jpg"},
        ],
        "categories": [{"id": 4, "name": "dog"}, {"id": 2, "name": "frog"}, {"id": 9, "name": "cat"}],
        "annotations": [
            {"image_id": 1, "category_id": 4},
            {"image_id": 1, "category_id": 9},
            {"image_id": 2, "category_id": 2},
        ],
    }

    def test_labels_and_classes_by_id(self, tmp_path):
        put(tmp_path, "deep/a.jpg", "in/b.jpg", "c.jpg", "unnamed.jpg")
        put_text(tmp_path, "labels.json", json.dumps(self.DOCUMENT))
        index = open_folder(tmp_path)
        assert index.class_names == ("frog", "dog", "cat")
        assert labels_of(index) == {"deep/a": {"dog", "cat"}, "in/b": {"frog"}, "c": set()}
        other = open_folder(tmp_path, labels="labels.json", classes=("cat", "dog", "frog"))
        assert labels_of(other) == labels_of(index)
        assert other.records[0].labels == (0, 1)
        assert open_folder(tmp_path, rules=CocoRules(background="frog")).class_names == ("dog", "cat")

    def test_images_and_classes_that_are_not_there(self, tmp_path):
        put(tmp_path, "a.jpg", "in/b.jpg")
        put_text(tmp_path, "labels.json", json.dumps(self.DOCUMENT))
        with pytest.raises(UserError, match=r"labels\.json, image 'c\.jpg': there is no image 'c\.jpg'"):
            open_folder(tmp_path)
        put(tmp_path, "c.jpg")
        with pytest.raises(UserError, match=r"labels\.json, image 'in/b\.jpg': unknown class 'frog'"):
            open_folder(tmp_path, classes=("cat", "dog"))


class TestLists:
    def test_by_name_by_path_from_here_and_from_the_root(self, pets, monkeypatch):
        path = put_text(pets, "lists/mine.txt", "dog/3.png\ncat/1\n")
        shutil.copy(path, pets.parent / "copied.txt")
        monkeypatch.chdir(pets.parent)
        for list_name in ("mine", str(path), "copied.txt", "lists/mine.txt"):
            assert names_of(open_folder(pets, list_name)) == ["dog/3", "cat/1"]

    def test_lines(self, pets):
        put(pets, "dog/ü 4.jpg")
        put_text(pets, "lists/mine.txt", "\ufeff3.png\r\n\r\n  2 \r\ndog/ü 4\r\ncat/1.jpg")
        assert names_of(open_folder(pets, "mine")) == ["dog/3", "cat/young/2", "dog/ü 4", "cat/1"]

    def test_train_and_val_take_their_lists(self, pets):
        put_text(pets, "lists/train.txt", "cat/1.jpg\n")
        put_text(pets, "lists/val.txt", "dog/1.jpg\n")
        put_mask(pets, "cat/1")
        assert names_of(open_folder(pets, "train")) == ["cat/1"]
        assert names_of(open_folder(pets, "val")) == ["dog/1"]
        assert len(open_folder(pets, "all")) == 4

    def test_without_lists_val_is_what_has_a_mask(self, pets):
        put_mask(pets, "cat/young/2")
        put_mask(pets, "dog/1")
        put_mask(pets, "dog/of no image")
        assert names_of(open_folder(pets, "val")) == ["cat/young/2", "dog/1"]
        assert len(open_folder(pets, "train")) == 4

    def test_train_is_not_taken_from_the_working_folder(self, pets, monkeypatch):
        monkeypatch.chdir(pets.parent)
        put_text(pets.parent, "train", "nonsense")
        assert len(open_folder(pets, "train")) == 4

    def test_no_truth_says_where_to_put_it(self, pets):
        with pytest.raises(NoTruth, match=r"no truth to validate on: .*palette PNG.*masks/cat/1\.png"):
            open_folder(pets, "val", masks=True)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "mine.txt has no (image|image)s"),
            (
                "cat/1.jpg\n\ncat/9.jpg\n",
                r"mine\.txt, line 3: there is no image 'cat/9\.jpg' in .*did you mean 'cat/1\.jpg'",
            ),
            ("cat/1.jpg\ncat/1\n", r"mine\.txt, line 2: image 'cat/1' has a line already \(.*line 1\)"),
            ("1.jpg\n", r"mine\.txt, line 1: '1\.jpg' may be cat/1\.jpg or dog/1\.jpg"),
        ],
    )
    def test_errors(self, pets, text, message):
        put_text(pets, "lists/mine.txt", text)
        with pytest.raises(UserError, match=message):
            open_folder(pets, "mine")

    def test_unknown_list_and_image_without_a_row(self, tagged):
        put_text(tagged, "lists/mine.txt", "unlisted.jpg\n")
        with pytest.raises(UserError, match=r"line 1: there is no image 'unlisted\.jpg' in .*labels\.csv"):
            open_folder(tagged, "mine")
        with pytest.raises(UserError, match=r"no list 'trian': expected all, train, val.*there: mine"):
            open_folder(tagged, "trian")


class TestMasks:
    def test_only_where_asked_for_and_there(self, pets):
        path = put_mask(pets, "cat/1", value=1)
        assert all(record.mask is None for record in open_folder(pets).records)
        index = open_folder(pets, masks=True)
        assert {record.name: record.mask for record in index.records if record.mask} == {"cat/1": path}
        assert read_mask(path).max() == index.records[0].labels[0] + 1
