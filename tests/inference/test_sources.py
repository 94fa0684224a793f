"""--input of infer.py: files, folders, patterns, depth, what is left out, and the names of outputs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference.sources import find_inputs, split_videos
from utils.errors import UserError


@pytest.fixture
def shots(tmp_path, monkeypatch) -> Path:
    shots = ("a.jpg", "b.png", "deep/c.jpg", "deep/er/d.jpg", "[1].jpg")
    for name in ("more/a.jpg", *(f"shots/{name}" for name in shots)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / name)
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


def test_folders_are_searched_as_deep_as_asked_for(shots):
    assert relative("shots", recursive=False) == {"a.jpg", "b.png", "[1].jpg"}
    with pytest.raises(UserError, match=r"sub-folders were not searched \(--recursive\)"):
        find_inputs([shots / "shots/*"], Path("out"), False) and find_inputs([shots], Path("out"), False)


def test_names_are_the_same_however_a_folder_is_named_and_what_is_left_out_is_counted(shots, caplog):
    wanted = {image.relative: image.name for image in find_inputs(["shots"], Path("out"))}
    assert "--input shots: 2 files are no images by their suffix and are left out, first shots/film.MP4" in caplog.text
    for source in (shots / "shots", "./shots/", "more/../shots"):
        assert {image.relative: image.name for image in find_inputs([source], Path("out"))} == wanted


def test_what_infer_has_written_is_left_out_of_patterns_too(shots):
    for part in ("out/.done", "out/masks"):
        (shots / part).mkdir(parents=True)
    Image.new("L", (4, 4)).save(shots / "out/masks/a.png")
    assert relative("**/*.png") == {"shots/b.png"}


def test_nothing_found_is_a_mistake(shots):
    for source, expected in (
        ("shots/*.tif", "no file of this pattern"),
        ("nowhere", "no such file"),
        ("shots/*.txt", "expected images, such as .jpg"),
    ):
        with pytest.raises(UserError, match=expected) as raised:
            find_inputs(["shots", source], Path("out"))
        assert f"--input {source}" in str(raised.value)


def test_videos_are_those_that_are_named_or_matched(shots):
    assert split_videos(["shots"]) == ([], ["shots"])
    assert split_videos(["shots/film.MP4", "shots/a.jpg"]) == ([Path("shots/film.MP4")], ["shots/a.jpg"])
    assert split_videos(["shots/*"]) == ([Path("shots/film.MP4")], ["shots/*"])
    assert split_videos(["shots/*.MP4", "shots/film.MP4"]) == ([Path("shots/film.MP4")], [])
