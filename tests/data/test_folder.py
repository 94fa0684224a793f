import shutil

import pytest

from data.coco_file import CocoRules
from data.dataset import NoTruth
from data.folder import open_folder
from tests.data.layouts_of_tools import labels_of, put, put_json, put_masks, put_text
from tests.project import refused
from utils.errors import UserError


def names_of(index) -> list[str]:
    return [record.name for record in index.records]


@pytest.fixture
def pets(tmp_path):
    return put(tmp_path / "pets", "dog/1.jpg", "cat/1.jpg", "cat/young/2.jpg", "dog/3.png")


@pytest.fixture
def tagged(tmp_path):
    root = put(tmp_path / "tagged", "in/a.jpg", "b.jpg", "c d.jpg", "unlisted.jpg")
    return put_text(root, "labels.csv", "image,labels\nin/a.jpg,dog;cat\nb.jpg,cat\nc d.jpg,\n")


class TestClassFolders:
    def test_labels_names_and_order(self, pets):
        index = open_folder(pets, "all")
        assert index.class_names == ("cat", "dog")
        assert labels_of(index) == {"cat/1": {"cat"}, "cat/young/2": {"cat"}, "dog/1": {"dog"}, "dog/3": {"dog"}}
        assert names_of(index) == sorted(names_of(index))
        assert [record.image for record in index.records][:2] == [pets / "cat/1.jpg", pets / "cat/young/2.jpg"]
        assert open_folder(pets, "") == open_folder(str(pets), "train") == index
        given = open_folder(pets, classes=("dog", "frog", "cat"))
        assert (given.class_names, labels_of(given)["cat/1"]) == (("dog", "frog", "cat"), {"cat"})
        with pytest.raises(UserError, match=r"sub-folder .*pets/dog: unknown class 'dog'.*did you mean 'dogs'\?"):
            open_folder(pets, classes=("cat", "dogs"))
        refused(r"data\.root .*gone is not a folder", open_folder, pets / "gone")
        refused(r"stray\.jpg lies in no class folder \(1 such\)", open_folder, put(pets, "stray.jpg"))

    def test_names_that_differ_in_the_suffix_alone_keep_it(self, tmp_path):
        root = put(tmp_path, "x/a.jpg", "x/a.png", "x/a.jpg.png", "x/b.jpg", "y/a.jpg", "x/v1.2.jpg")
        names = names_of(open_folder(root))
        assert names == ["x/a.jpg", "x/a.jpg.png", "x/a.png", "x/b", "x/v1.2", "y/a"]
        put_masks(root, "masks/x/a.png.png")
        assert names_of(open_folder(root, "val")) == ["x/a.png"]

    def test_background_folder_means_none_of_the_classes(self, pets):
        rules = CocoRules(background="background")
        put(pets, "Background/1.jpg", "Background/far/2.jpg")
        index = open_folder(pets, rules=rules)
        assert (index.class_names, len(index)) == (("cat", "dog"), 6)
        assert labels_of(index)["Background/far/2"] == set()
        assert open_folder(pets, classes=("cat", "dog"), rules=rules) == index
        assert open_folder(pets).class_names == ("Background", "cat", "dog")
        with pytest.raises(UserError, match="bare gives no image a label; expected a folder"):
            open_folder(put(pets.parent / "bare", "background/1.jpg"), rules=rules)


class TestTable:
    def test_labels_and_order_with_mark_windows_lines_blanks_padding_case_quotes_and_suffixes(self, tagged):
        index = open_folder(tagged)
        assert index.class_names == ("cat", "dog")
        assert labels_of(index) == {"in/a": {"cat", "dog"}, "b": {"cat"}, "c d": set()}
        assert index.records[0].labels == (0, 1)
        assert index.records[0].image == tagged / "in/a.jpg"
        assert open_folder(tagged, classes=("dog", "frog", "cat")).records[0].labels == (0, 2)
        with pytest.raises(UserError, match=r"labels\.csv, line 2: unknown class 'cat'.*did you mean 'cats'\?"):
            open_folder(tagged, classes=("dog", "cats"))
        put(tagged, "in/x.ppm")
        text = '\ufeff Image , LABELS ,note\r\n\r\n"in/a.jpg", cat ; dog;;cat ,"x, y"\r\n,,\r\n in/x.ppm ,cat,,,\r\n'
        put_text(tagged, "labels.csv", text)
        assert labels_of(open_folder(tagged)) == {"in/a": {"cat", "dog"}, "in/x": {"cat"}}

    def test_table_beats_sub_folders_and_a_given_one_beats_it(self, tagged, tmp_path):
        put_text(tmp_path, "other.csv", "image,labels\nb.jpg,frog\n")
        put_text(tagged, "inside.csv", "image,labels\nb.jpg,newt\n")
        assert open_folder(tagged, labels=str(tmp_path / "other.csv")).class_names == ("frog",)
        assert open_folder(tagged, labels="inside.csv").class_names == ("newt",)
        refused(r"data\.labels: there is no CSV or JSON file gone\.csv", open_folder, tagged, labels="gone.csv")

    def test_an_image_is_found_by_path_or_name_also_with_accents_taken_apart(self, tagged, tmp_path, monkeypatch):
        monkeypatch.chdir(tagged.parent)
        names = ["in/a.jpg", "./in//a.jpg", "a.jpg", "a", "in/a", "in\\a.jpg", " a.jpg ", f"{tagged}/in/a.jpg"]
        for name in names:
            put_text(tagged, "labels.csv", f"image,labels\n{name},cat\n")
            assert names_of(open_folder(tagged.name)) == ["in/a"]
        put_text(tagged, "labels.csv", "image,labels\nC:\\Users\\me\\in\\a.jpg,cat\n..\\..\\media\\b.jpg,dog\n")
        index = open_folder(tagged)
        assert labels_of(index) == {"in/a": {"cat"}, "b": {"dog"}}
        expected = f"paths of images that are not under {tagged}: 2, first '..\\..\\media\\b.jpg'"
        assert any(expected in note and "found by the end of the path" in note for note in index.notes)
        root = put(tmp_path / "accents", "cafe\u0301.jpg", "b.jpg")
        put_text(root, "labels.csv", "image,labels\ncafé.jpg,bébé\nb.jpg,be\u0301be\u0301\n")
        assert labels_of(open_folder(root)) == {"cafe\u0301": {"bébé"}, "b": {"bébé"}}


@pytest.mark.parametrize("where", ["labels.csv", "lists/mine.txt"])
def test_no_name_leads_out_of_the_root(tagged, where):
    put(tagged.parent, "secret.jpg")
    names = ["../secret.jpg", "in/../../secret.jpg", "..\\secret.jpg"]
    for name in (*names, f"{tagged.parent}/secret.jpg", f"{tagged}/../secret.jpg"):
        put_text(tagged, where, f"image,labels\n{name},cat\n" if where.endswith("csv") else f"b.jpg\n{name}\n")
        message = rf"{where}, line 2: the image's name '.*' (leads out of its folder|is an absolute path)"
        refused(message, open_folder, tagged, "mine")


def test_labels_of_cocos_format_and_classes_by_id(tmp_path):
    put(tmp_path, "deep/a.jpg", "in/b.jpg", "c.jpg", "unnamed.jpg")
    document = {
        "images": [{"id": n, "file_name": name} for n, name in ((1, "a.jpg"), (2, "in/b.jpg"), (5, "c.jpg"))],
        "categories": [{"id": number, "name": name} for number, name in ((4, "dog"), (2, "frog"), (9, "cat"))],
        "annotations": [{"image_id": image, "category_id": label} for image, label in ((1, 4), (1, 9), (2, 2))],
    }
    put_json(tmp_path, "labels.json", document)
    index = open_folder(tmp_path)
    assert index.class_names == ("frog", "dog", "cat")
    assert labels_of(index) == {"deep/a": {"dog", "cat"}, "in/b": {"frog"}, "c": set()}
    other = open_folder(tmp_path, labels="labels.json", classes=("cat", "dog", "frog"))
    assert (labels_of(other), other.records[0].labels) == (labels_of(index), (0, 1))
    assert open_folder(tmp_path, rules=CocoRules(background="frog")).class_names == ("dog", "cat")
    refused(r"labels\.json, image 'in/b\.jpg': unknown class 'frog'", open_folder, tmp_path, classes=("cat", "dog"))
    document["images"][1]["file_name"] = "..\\..\\media\\upload\\4\\b.jpg"
    found = open_folder(put_json(tmp_path, "labels.json", document))
    assert labels_of(found) == labels_of(index)
    assert f"paths of images that are not under {tmp_path}: 1, first '..\\..\\media\\" in " ".join(found.notes)
    (tmp_path / "c.jpg").unlink()
    refused(r"labels\.json, image 'c\.jpg': there is no image 'c\.jpg'", open_folder, tmp_path)


class TestLists:
    def test_by_name_by_path_from_here_and_from_the_root(self, pets, monkeypatch):
        put_text(pets, "lists/mine.txt", "\ufeff3.png\r\n\r\n  2 \r\ncat/1\n")
        shutil.copy(pets / "lists/mine.txt", pets.parent / "copied.txt")
        monkeypatch.chdir(pets.parent)
        for list_name in ("mine", str(pets / "lists/mine.txt"), "copied.txt", "lists/mine.txt"):
            assert names_of(open_folder(pets, list_name)) == ["dog/3", "cat/young/2", "cat/1"]

    def test_train_and_val_take_their_lists(self, pets, monkeypatch):
        with pytest.raises(NoTruth, match=r"no truth to validate on: .*palette PNG.*masks/cat/1\.png"):
            open_folder(pets, "val", masks=True)
        put_masks(pets, "masks/cat/young/2.png", "masks/dog/1.png", "masks/dog/of no image.png")
        put_text(pets.parent, "train", "not taken: the name is that of a list")
        monkeypatch.chdir(pets.parent)
        assert len(open_folder(pets, "train")) == 4
        assert names_of(open_folder(pets, "val")) == ["cat/young/2", "dog/1"]  # what has a mask
        put_text(pets, "lists/train.txt", "cat/1.jpg\n")
        put_text(pets, "lists/val.txt", "dog/3.png\n")
        assert [names_of(open_folder(pets, name)) for name in ("train", "val")] == [["cat/1"], ["dog/3"]]
        assert len(open_folder(pets, "all")) == 4

    def test_lists_in_the_root_are_taken_if_they_begin_with_an_image(self, pets):
        put_masks(pets, "masks/cat/1.png", "masks/dog/1.png")
        put_text(pets, "valid.txt", "data/cat/1.jpg\n")
        assert names_of(open_folder(pets, "train")) == ["cat/young/2", "dog/1", "dog/3"]  # all but those of other lists
        put_text(pets, "Train.txt", "cat/young/2.jpg\n")
        assert [names_of(open_folder(pets, name)) for name in ("train", "val")] == [["cat/young/2"], ["cat/1"]]
        put_text(pets, "Train.txt", "The images to train with\n")
        put_text(pets, "lists/val.txt", "dog/1\n")  # goes before valid.txt
        index = open_folder(pets, "train")
        assert names_of(index) == ["cat/1", "cat/young/2", "dog/3"]
        assert "Train.txt is not read as a list, because its first line names no image" in " ".join(index.notes)
        put_text(pets, "Train.txt", "cat/1.jpg 0\n")
        refused(r"Train\.txt, line 1: expected an image alone, found 'cat/1\.jpg' and the", open_folder, pets, "train")

    def test_errors(self, pets):
        put(pets.parent, "secret.jpg")
        for text, message in (
            ("", "mine.txt has no images"),
            ("cat/1.jpg\n\ncat/O1.jpg\n", r"mine\.txt, line 3: there is no image 'cat/O1.jpg' .*mean 'cat/1\.jpg'"),
            ("dog/../../secret.jpg\n", r"lists/mine\.txt, line 1: the image's name '.*' leads out of its folder"),
            (f"{pets}/../secret.jpg\n", r"lists/mine\.txt, line 1: the image's name '.*' leads out of its folder"),
            (f"{pets.parent}/secret.jpg\n", r"lists/mine\.txt, line 1: the image's name '.*' is an absolute path"),
            ("cat/9.jpg\n", r"mine\.txt, line 1: there is no image 'cat/9\.jpg' .* or remove the line$"),
            ("cat/1.jpg\ncat/1\n", r"mine\.txt, line 2: image 'cat/1' has a line already \(.*line 1\)"),
            ("1.jpg\n", r"mine\.txt, line 1: '1\.jpg' may be cat/1\.jpg or dog/1\.jpg; give the whole path"),
        ):
            put_text(pets, "lists/mine.txt", text)
            refused(message, open_folder, pets, "mine")
