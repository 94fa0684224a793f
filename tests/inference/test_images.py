"""The input of infer.py: files, folders, patterns, depth, what is left out, and labels from a table."""

from pathlib import Path

import numpy as np
import pytest

from data.artifacts import read_mask
from inference.images import find_class, find_inputs, read_labels, split_videos
from tests.data.layouts_of_tools import put_masks
from tests.inference.stub import NAMES, predictions, save
from utils.errors import UserError


@pytest.fixture
def shots(tmp_path, monkeypatch) -> Path:
    shots = ("a.jpg", "b.png", "deep/c.jpg", "deep/er/d.jpg", "[1].jpg")
    for name in ("more/a.jpg", *(f"shots/{name}" for name in shots)):
        save(tmp_path / name, (4, 4))
    (tmp_path / "shots/notes.txt").write_text("no image")
    (tmp_path / "shots/film.MP4").write_text("a video")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def relative(*sources: str, recursive: bool = True) -> set[str]:
    return {image.relative for image in find_inputs(sources, Path("out"), recursive)}


SHALLOW, ALL = {"a.jpg", "[1].jpg"}, {"a.jpg", "b.png", "[1].jpg", "deep/c.jpg", "deep/er/d.jpg"}


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        *((["shots"], ALL), (["shots/a.jpg", "shots", "shots/*.jpg"], ALL), (["shots/*.jpg"], SHALLOW)),
        *((["shots/**/*.jpg"], ALL - {"b.png"}), (["shots/*/c.jpg"], {"deep/c.jpg"})),
        (["shots/[1].jpg"], {"[1].jpg"}),  # is there, and so is no pattern
        *((["shots/[ab].*"], {"a.jpg", "b.png"}), (["shots/a.jpg", "shots/b.png"], {"a.jpg", "b.png"})),
        (["shots/a.jpg", "more/a.jpg"], {"shots/a.jpg", "more/a.jpg"}),
        (["shots/d*"], {"deep/c.jpg", "deep/er/d.jpg"}),
    ],
)
def test_files_folders_and_patterns(shots, sources, expected):
    assert relative(*sources) == expected
    assert len(find_inputs(sources, Path("out"))) == len(expected)


def test_folders_are_searched_as_deep_as_asked_for_links_are_followed_and_loops_warned_of(shots, caplog):
    assert relative("shots", recursive=False) == {"a.jpg", "b.png", "[1].jpg"}
    (shots / "shots/linked").symlink_to(shots / "more")
    assert relative("shots") == ALL | {"linked/a.jpg"}
    assert not [record for record in caplog.records if "link" in record.message]
    (shots / "more/back").symlink_to(shots / "shots")
    assert relative("shots") == ALL | {"linked/a.jpg"}
    assert "which is a folder above it; remove the link" in caplog.text
    (shots / "shots/gone.jpg").symlink_to("nowhere.jpg")
    relative("shots/*.jpg")
    assert "--input shots/*.jpg: links to nothing are left out: 1, first shots/gone.jpg" in caplog.text


def test_names_are_the_same_however_a_folder_is_named_and_what_is_left_out_is_counted(shots, caplog):
    wanted = {image.relative: image.name for image in find_inputs(["shots"], Path("out"))}
    assert (
        "--input shots: files that are no images by their suffix are left out: 2, first shots/film.MP4" in caplog.text
    )
    for source in (shots / "shots", "./shots/", "more/../shots"):
        assert {image.relative: image.name for image in find_inputs([source], Path("out"))} == wanted


def test_masks_of_a_data_folder_are_no_images_of_the_input_unless_they_are_asked_for(tmp_path, caplog):
    save(tmp_path / "images/a.jpg", (4, 4))
    save(tmp_path / "mask/b.jpg", (4, 4))  # of a face, say
    put_masks(tmp_path, "masks/a.png", "masks/gone.png")
    assert relative(str(tmp_path)) == {"images/a.jpg", "mask/b.jpg"}
    assert f"--input {tmp_path}: masks of the images are left out: 2, first masks/a.png" in caplog.text
    assert relative(str(tmp_path / "masks")) == {"a.png", "gone.png"}


def test_videos_are_those_that_are_named_or_matched(shots):
    assert split_videos(["shots"]) == ([], ["shots"])
    assert split_videos(["shots/film.MP4", "shots/a.jpg"]) == ([Path("shots/film.MP4")], ["shots/a.jpg"])
    assert split_videos(["shots/*"]) == ([Path("shots/film.MP4")], ["shots/*"])
    assert split_videos(["shots/*.MP4", "shots/film.MP4"]) == ([Path("shots/film.MP4")], [])


class TestLabels:
    @pytest.mark.parametrize(
        ("kind", "table"),
        [
            ("classifier", "image,labels\na.jpg,Dog;train\nc,background\n"),
            ("segmenter", "image,train,cat,dog,background\na,1,0,1,0\nb/c.png,0,0,0,1\n"),
        ],
    )
    def test_given_classes_are_the_only_ones(self, infer_on, images, tmp_path, kind, table):
        (tmp_path / "labels.csv").write_text(table)
        infer_on(kind, images, "--labels", tmp_path / "labels.csv").well()
        rows = {row["image"]: row for row in predictions(tmp_path / "out")["images"]}
        assert {found["name"] for found in rows["a.jpg"]["classes"]} == {"dog", "train"}
        assert set(np.unique(read_mask(tmp_path / "out/masks/a.png"))) <= {0, 2, 3}
        assert not read_mask(tmp_path / "out/masks/b/c.png").any()
        assert [rows[name]["labels"] for name in ("a.jpg", "b/c.png", "rotated.jpg")] == ["given", "given", "predicted"]

    def test_mistakes_name_the_file(self, images, tmp_path):
        save(images / "x/same.jpg", (20, 20))
        save(images / "y/same.jpg", (20, 20))
        for table, expected in (
            ("image,labels\nsame,cat\n", r"labels\.csv.* may be"),
            ("image,labels\na,cat\na.jpg,dog\n", r"labels\.csv.* has a row already"),
            ("image,cat,hog\na.jpg,1,1\n", r"labels\.csv.* did you mean 'dog'"),
        ):
            (tmp_path / "labels.csv").write_text(table)
            with pytest.raises(UserError, match=expected):
                read_labels(tmp_path / "labels.csv", find_inputs([images], tmp_path / "out"), NAMES)

    def test_a_class_of_the_same_letters_wins_over_one_of_other_capitals(self):
        names = ("cat", "Cardigan", "cardigan")
        assert [find_class(name, names, "") for name in ("Cardigan", "cardigan", "CARDIGAN", " Cat")] == [1, 2, 1, 0]

    def test_rows_and_images_that_do_not_meet_are_counted_and_a_path_wins_over_a_name(self, images, tmp_path, caplog):
        save(images / "sub/a.jpg", (20, 20))
        (tmp_path / "labels.csv").write_text("image;labels\na.jpg;cat\n./sub/a.jpg;dog\nnot there.jpg;dog\n")
        found = read_labels(tmp_path / "labels.csv", find_inputs([images], tmp_path / "out"), NAMES)
        assert found == {"a.jpg": [0], "sub/a.jpg": [1]}
        assert "rows that name no image of the input: 1, first 'not there.jpg'" in caplog.text
        assert "images without a row: 2, first b/c.png" in caplog.text
