"""Files of a finished run that are cut off, emptied or zeroed: each is made again as it was, or named in a message.

Never a traceback, and never a result that differs.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.bulk import predict_images
from inference.output_folder import PREDICTIONS
from tests.inference.stub import Stub, save
from tests.project import call, made_once
from tests.test_fault_injection import SETTINGS, outcome, run_undisturbed, start
from utils.checkpoint import save_tensors

pytestmark = pytest.mark.long

DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A project with a finished run of all stages."""
    return made_once(tmp_path_factory, "undisturbed", run_undisturbed)


@pytest.fixture
def project(finished, tmp_path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "output.txt").unlink()
    (tmp_path / "settings.yaml").write_text(SETTINGS.format(folder=tmp_path, workers=0))
    return tmp_path


FILES = {
    "run/seeds/train_0001.npz": "cut",
    "run/seeds/train_0002.npz": "emptied",
    "run/seeds/train_0003.npz": "zeroed",
    "run/seeds/.fingerprint": "emptied",
    "run/seeds_walk/train_0002.npz": "zeroed",
    "run/pseudo/train_0003.png": "cut",
    "run/ablation/given/cam/val_0001.npz": "emptied",
    "run/ablation_steps/given/walk/val_0001.npz": "cut",
    "run/predictions/given/val_0001.png": "cut",
    "run/report.json": "emptied",
    "run/report_images.json": "cut",
    "run/run.json": "cut",
    "run/config.yaml": "cut",
    "run/.lock": "cut",
    "best_model.pth": "emptied",
    "data/shapes/shapes.json": "cut",
}
NETWORKS = {
    "run/classifier.pth": "cut",
    "run/segmenter.pth": "cut",
    "run/affinity.pth": "zeroed",
    "run/confident/train_0001.png": "zeroed",
}


def damage_all(project: Path, damages: dict[str, str]) -> None:
    for path, damage in damages.items():
        (project / path).write_bytes(DAMAGES[damage]((project / path).read_bytes()))


@pytest.mark.parametrize("damages", [FILES, NETWORKS], ids=["files", "networks"])
def test_a_damaged_run_is_made_again_as_it_was(finished, project, damages):
    damage_all(project, damages)
    again = start(project)
    again.join()
    said = (project / "output.txt").read_text()
    assert "Traceback" not in said
    assert again.exitcode == 0, said
    before, after = outcome(finished), outcome(project)
    assert before.keys() == after.keys()
    for name in before:
        assert before[name] == after[name], name


@pytest.mark.parametrize(
    ("damage", "expected"),
    [("cut", "stages.json cannot be read"), ("emptied", "delete it to run all stages of this folder again")],
)
def test_a_damaged_record_is_named(project, damage, expected):
    damage_all(project, {"run/stages.json": damage})
    ended = call("train", "--config", project / "settings.yaml")
    assert (ended.code, expected in ended.err) == (2, True), ended.err


def test_a_damaged_state_is_begun_anew(finished, project):
    stages = json.loads((project / "run/stages.json").read_text())
    del stages["cam"]
    (project / "run/stages.json").write_text(json.dumps(stages))
    save_tensors(project / "run/cam.last.pth", {"step": 3})
    content = (project / "run/cam.last.pth").read_bytes()
    (project / "run/cam.last.pth").write_bytes(DAMAGES["cut"](content))
    (project / "run/metrics.jsonl").write_text("")
    again = start(project)
    again.join()
    assert again.exitcode == 0, (project / "output.txt").read_text()
    assert "resumed" not in (project / "output.txt").read_text()
    assert not (project / "run/cam.last.pth").exists()
    before, after = (outcome(folder)["run/classifier.pth"] for folder in (finished, project))
    assert before == after


@pytest.mark.parametrize(
    ("path", "option"),
    [("seeds/train_0001.npz", "--seeds"), ("pseudo/train_0001.png", "--masks")],
)
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_measured_and_damaged_is_named(project, path, option, damage):
    damaged = project / "run" / path
    damaged.write_bytes(DAMAGES[damage](damaged.read_bytes()))
    config = ("--config", project / "settings.yaml", "--split", "train")
    ended = call("evaluate", *config, option, damaged.parent)
    assert (ended.code, str(damaged) in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("name", ["classifier.pth", "segmenter.pth", "affinity.pth"])
def test_a_damaged_network_is_named(project, name):
    path = project / "run" / name
    path.write_bytes(DAMAGES["cut"](path.read_bytes()))
    for ended in (
        call("evaluate", "--model_path", path),
        call("infer", "--input", project / "data", "--model_path", path, "--output", project / "out"),
    ):
        assert (ended.code, str(path) in ended.err) == (2, True), ended.err


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_output_of_inference_is_made_again(tmp_path, damage):
    for number in range(6):
        save(tmp_path / f"in/p{number}.png", (20, 30), 0)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    files = ("masks/p0.png", "overlays/p1.jpg", ".done/p3.json", "classes.json", PREDICTIONS)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files}
    for name in files:
        (tmp_path / "out" / name).write_bytes(DAMAGES[damage](before[name]))
    summary = predict_images(tmp_path / "in", tmp_path / "out", Stub())
    assert (summary.new, summary.kept) == (3, 3)
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == before[name], name
