import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

import data.shapes
from data.artifacts import read_mask
from data.images import read_image
from data.shapes import MARKER, SHAPES_CLASSES, Scene, generate, open_shapes, scenes
from data.shapes_art import DRAWINGS
from data.shapes_fields import make_frame, paint
from tests.project import refused

TRAIN, VAL, SIZE = 4, 3, 64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "shapes"
    open_shapes(folder, "train", TRAIN, VAL, SIZE)
    return folder


@pytest.fixture(scope="module")
def many() -> list[Scene]:
    return list(scenes(0, 80, SIZE))


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def generate_slowly(root: Path, counter: Path) -> None:
    """What a rank does; counts how often images are made."""

    def counted(*args) -> None:
        with counter.open("a") as file:
            file.write("x")
        generate(*args)

    data.shapes.generate = counted
    open_shapes(root, "train", TRAIN, VAL, SIZE)


def test_several_processes_at_once_generate_once(root: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    arguments = (tmp_path / "shapes", tmp_path / "counter")
    ranks = [context.Process(target=generate_slowly, args=arguments) for _ in range(3)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0, 0]
    assert (tmp_path / "counter").read_text() == "x"
    assert files(tmp_path / "shapes") == files(root)


def test_unfinished_or_damaged_generation_is_done_again(root: Path, tmp_path: Path, monkeypatch) -> None:
    folder, marker = tmp_path / "shapes", json.loads((root / MARKER).read_text())
    older = json.dumps(marker | {"version": marker["version"] - 1}).encode()
    with monkeypatch.context() as patch:
        patch.setattr("data.shapes.write_mask", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_shapes(folder, "train", TRAIN, VAL, SIZE)
    missing = [{"JPEGImages/val_0002.jpg": None}, {"ImageSets/Segmentation/train.txt": None}]
    anew = {MARKER: older, "JPEGImages/train_0001.jpg": b"of another generator"}
    for damages in ({}, {MARKER: b"{"}, *missing, anew):
        for name, content in damages.items():
            (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
        assert len(open_shapes(folder, "train", TRAIN, VAL, SIZE)) == TRAIN
        assert files(folder) == files(root)


def test_other_numbers_generate_anew_and_leave_nothing_behind(root: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(root, tmp_path / "shapes"))
    for train, val, size in ((TRAIN - 1, VAL, SIZE), (TRAIN - 1, VAL + 1, SIZE), (TRAIN - 1, VAL + 1, SIZE + 8)):
        index = open_shapes(folder, "val", train, val, size, masks=True)
        counts = [len(list((folder / part).iterdir())) for part in ("JPEGImages", "SegmentationClass")]
        assert (len(index), counts) == (val, [train + val] * 2)
        assert max(read_image(index.records[0].image).size) == size


def test_masks_are_given_only_when_asked_for_and_a_folder_with_something_else_is_left_alone(tmp_path, root):
    (tmp_path / "notes.txt").write_text("mine")
    refused(r"data\.root", open_shapes, tmp_path, "train", TRAIN, VAL, SIZE)
    assert files(tmp_path) == {"notes.txt": b"mine"}
    folder = Path(shutil.copytree(root, tmp_path / "shapes", ignore=shutil.ignore_patterns("SegmentationClass")))
    assert all(record.mask is None for record in open_shapes(folder, "train", TRAIN, VAL, SIZE).records)
    assert not (folder / "SegmentationClass").exists()
    open_shapes(folder, "train", TRAIN, VAL, SIZE, masks=True)
    assert files(folder) == files(root)


def test_labels_are_exactly_the_classes_of_the_mask(tmp_path: Path) -> None:
    train, val = (open_shapes(tmp_path / "more", name, 7, 6, SIZE, masks=True) for name in ("train", "val"))
    assert train.class_names == SHAPES_CLASSES
    for index in (train, val):
        assert {label for record in index.records for label in record.labels} == set(range(len(SHAPES_CLASSES)))
    for record in (*train.records, *val.records):
        mask = read_mask(record.mask)
        assert mask.shape == read_image(record.image).size[::-1]
        assert {int(value) for value in np.unique(mask)} == {0, *(label + 1 for label in record.labels)}


def test_context_goes_with_most_objects(many: list[Scene]) -> None:
    with_class = [in_context for scene in many for _, in_context in scene.objects]
    assert 0.85 <= np.mean(with_class) < 1
    # Some images have two objects, and some two classes.
    assert 0.12 < np.mean([len(scene.objects) == 2 for scene in many]) < 0.4
    assert any(len(scene.labels) == 2 for scene in many)


@pytest.mark.parametrize("label", range(len(DRAWINGS)), ids=SHAPES_CLASSES)
def test_context_lies_outside_the_object_and_beside_it(label: int) -> None:
    frame = make_frame(SIZE, SIZE, ((32.0, 30.0), 20.0, 0.0, False), 0.0, np.random.default_rng(0))
    blank = np.zeros((SIZE, SIZE, 3), np.float32)
    body = paint(blank, DRAWINGS[label].draw(frame)) >= 0.5
    context = paint(blank, DRAWINGS[label].draw_context(frame)) >= 0.5
    assert np.count_nonzero(context & ~body) > 0.2 * np.count_nonzero(body)
    grown = body | np.roll(body, 2, 0) | np.roll(body, -2, 0) | np.roll(body, 2, 1) | np.roll(body, -2, 1)
    assert np.any(grown & ~body & context)


def test_mask_follows_what_was_painted() -> None:
    """Pixels of an object differ from the same image's without it, and all others are the same."""
    frame = make_frame(SIZE, SIZE, ((32.0, 32.0), 20.0, 20.0, True), 0.07, np.random.default_rng(1))
    canvas = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    hidden = paint(canvas, DRAWINGS[0].draw(frame))
    assert np.all(canvas[hidden == 0] == 0.5)
    assert np.mean(np.abs(canvas[hidden > 0.99] - 0.5).max(axis=1) > 0.02) > 0.95
