"""Results of a finished run that are no longer true: code, truth, images or classes have changed since."""

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import utils.code_digest
from data.artifacts import read_mask, write_mask
from data.shapes import SHAPES_CLASSES
from tests.project import ROOT, names
from utils.code_digest import ROOMS, symbols_of

pytestmark = pytest.mark.long

SWAPPED = [*SHAPES_CLASSES[1::-1], *SHAPES_CLASSES[2:]]  # all indices are still those of some class
OTHER_ORDER = ("--set", f"data.classes=[{', '.join(SWAPPED)}]")
BEHIND_SEEDS = ["seeds", "context", "remove", "ibb", "correct", "pseudo", "segment", "ablation", "report"]


@pytest.fixture
def code(tmp_path, monkeypatch) -> Path:
    """A copy of the project's code, whose digests count."""
    folder = tmp_path / "code"
    for path in (path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        (folder / path.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.relative_to(ROOT))
    monkeypatch.setattr(utils.code_digest, "symbols_of", partial(symbols_of, project=folder))
    return folder


def test_a_changed_formula_is_said_and_made_again_where_that_is_asked_for(project, code):
    path = next(path for path in (code / "models").rglob("*.py") if "def reactivate(" in path.read_text())
    path.write_text(path.read_text().replace("def reactivate(", "# a comment\ndef reactivate("))
    assert "code" not in project.train("--quiet").out
    path.write_text(path.read_text() + "\n\ndef reactivate(*_):\n    return 0\n")
    ended = project.train("--quiet")
    assert (ended.code, ended.stages("done")) == (0, [])
    assert "reactivate)" in ended.out
    assert f"the output of the stages {', '.join(BEHIND_SEEDS)} is" in ended.out
    ended = project.train("--redo", "changed")
    assert ended.stages("done in") == BEHIND_SEEDS
    ended = project.train("--redo", "changed")
    assert (ended.stages("done in"), "code has changed" in ended.out) == ([], False)


def test_corrected_truth_and_a_changed_image_are_measured_anew_and_a_touched_one_is_not(project):
    figures = (project.run / "report.json").read_text()
    for name in names(project, "val"):
        path = project.folder / "voc/SegmentationClass" / f"{name}.png"
        write_mask(path, np.roll(read_mask(path), 3, axis=1))
    assert project.train().stages("done in") == ["report"]
    assert (project.run / "report.json").read_text() != figures
    image = project.folder / "voc/JPEGImages" / f"{names(project, 'val')[0]}.jpg"
    os.utime(image)
    assert project.train().stages("done in") == []
    about, content = image.stat(), bytearray(image.read_bytes())
    content[-3] ^= 1
    image.write_bytes(content)  # as many bytes, at the same time
    os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns))
    Image.open(image).load()
    assert project.train().stages("done in") == ["ablation", "report"]


def test_stages_and_evaluation_refuse_what_was_made_for_other_classes(project):
    for option, folder, split in (
        *(("--seeds", "seeds", "train"), ("--seeds", "seeds_trained", "train")),
        *(("--masks", "pseudo", "train"), ("--masks", "predictions/given", "val")),
    ):
        given = ("--split", split, option, project.run / folder)
        ended = project.evaluate_only(*OTHER_ORDER, *given)
        assert (ended.code, "in this order" in ended.err) == (2, True), ended.err
        assert project.evaluate_only(*given).code == 0
    for stage, artifact in (
        *(("segment", "ibb.pth"), ("pseudo", "seeds_trained")),
        *(("remove", "context.pth"), ("seeds", "classifier.pth")),
    ):
        ended = project.train("--stages", stage, "--redo", stage, *OTHER_ORDER)
        assert (ended.code, f"{project.run / artifact}" in ended.err) == (2, True), ended.err
        assert f"was made for the classes {SWAPPED[1]}, {SWAPPED[0]}" in ended.err
        assert f"expected {SWAPPED[0]}, {SWAPPED[1]}" in ended.err
        if stage == "remove":
            assert "cam       is stale and not asked for: its settings or its data have changed" in ended.out


def test_a_run_of_another_data_folder_is_kept_unless_the_run_is_named(project):
    other, words = project.folder / "other", ("--stages", "cam", "--set", f"data.root={project.folder / 'other'}")
    shutil.copytree(project.folder / "voc", other)
    assert project.train(*words).stages("up to date") == ["cam"]  # the data were moved
    labels = other / "image_labels.csv"
    labels.write_text(labels.read_text().replace("train_0001,1,0", "train_0001,0,1"))
    project.train("--stages", "cam").well()
    before = (project.run / "classifier.pth").read_bytes()
    for number in (1, 2):
        kept = project.folder / f"{project.run.name}-{number}"
        root = ("voc", "other")[number - 1]
        ended = project.train(*(words if number == 1 else ("--stages", "cam")))
        what = f"{project.run} was the run of {project.folder / root}, which has other images or labels: kept as {kept}"
        assert (what in ended.out, ended.stages("done in")) == (True, ["cam"])
        assert (kept / "stages.json").is_file()
    assert (project.folder / f"{project.run.name}-1" / "classifier.pth").read_bytes() == before
    again = project.train(*words, "--run", str(project.run))
    assert (again.stages("done in"), "kept as" in again.out) == (["cam"], False)
    labels.write_text(labels.read_text().replace("train_0001,0,1", "train_0001,1,1"))
    again = project.train(*words)
    assert (again.stages("done in"), "kept as" in again.out) == (["cam"], False)  # in the same folder
