"""A run that is killed anywhere, or whose files are damaged, ends as if nothing had been when it is started again.

    IBBNET_KILLS=50 python -m pytest tests/test_fault_injection.py       the full form, some ten minutes; the suite
    kills twice

Half of the moments are points in time, half are files: the process ends before a file gets its name, half of it
written, or just after. All stages run, on generated images, with loader processes in every other run; resumable
states are saved at every step. Precision and runtime are the defaults of the machine.
"""

import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import models.runtime
import train
import utils.compute
import utils.engine
import utils.files
from inference.bulk import predict_images
from inference.output_folder import PREDICTIONS
from models.backbone import BACKBONES
from models.runtime import NAMES
from tests.inference.stub import Stub, save
from tests.models.tiny import TinyBackbone
from tests.project import Project
from utils.checkpoint import load_checkpoint
from utils.compute import fastest_precision
from utils.errors import run_script
from utils.run import read_metrics

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("IBBNET_KILLS", "2"))
CHANGED = (
    "data.kind=shapes data.root={folder}/data/shapes data.shapes_train=6 data.shapes_val=3 data.shapes_size=64 "
    "precision=auto workers={workers} cam.epochs=2 cam.batch_size=3 cam.scales=[1.0] affinity.kind=learned "
    "affinity.fg_threshold=0.6 affinity.bg_threshold=0.5 affinity.refine=par affinity.crop_size=32 "
    "affinity.batch_size=3 affinity.epochs=1 affinity.max_side=48 segment.epochs=2 segment.batch_size=3 "
    "segment.flip=false"
)
# Files that have times or paths in them.
PASSING = {"config.yaml", "run.json", "log.txt", "report.html", "contents.json", ".lock", ".lock.json", ".shapes.lock"}
TIMES = {"seconds", "peak_memory_mb", "finished", "images_per_second"}
HOW = ("half of it written", "before it has its name", "just after it has its name")


def start(folder: Path, workers: int = 0, file: int = 0, how: str = "") -> multiprocessing.process.BaseProcess:
    """`train.py` in a process of its own; forked, because importing torch takes longer than the run.

    It ends at the file of that number, in one of the ways of `HOW`.
    """
    folder.mkdir(exist_ok=True)
    Project(folder, backbone="tiny").write_settings()
    overrides = CHANGED.format(folder=folder, workers=workers).split()
    process = multiprocessing.get_context("fork").Process(target=_train, args=(folder, overrides, file, how))
    process.start()
    return process


def _train(folder: Path, overrides: list[str], file: int, how: str) -> None:
    sys.stdout = sys.stderr = (folder / "output.txt").open("a", buffering=1)
    sys.argv = ["train.py", "--config", str(folder / "settings.yaml")]
    sys.argv += [word for setting in overrides for word in ("--set", setting)]
    BACKBONES["tiny"] = lambda imagenet: TinyBackbone()
    # What tests/conftest.py has replaced.
    utils.compute.fastest_precision, models.runtime.NAMES = fastest_precision, NAMES
    utils.engine.SAVE_EVERY = 0.0
    _count_files(folder / "files.txt", file, how)
    code = run_script(train.main)
    os._exit(code)


def _count_files(count: Path, file: int, how: str) -> None:
    """Note how many files get their name, and end the process at one of them."""
    rename, written = os.replace, 0

    def counted(source: Path, target: Path) -> None:
        nonlocal written
        written += 1
        ends = written == file
        if ends and how == HOW[0]:
            os.truncate(source, os.path.getsize(source) // 2)
        if ends and how != HOW[2]:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        count.write_text(str(written))
        if ends:
            os.kill(os.getpid(), signal.SIGKILL)

    utils.files.os.replace = counted


def content_of(path: Path) -> Any:
    """What must be the same in two runs."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in arrays}
    if path.suffix == ".pth":
        checkpoint = load_checkpoint(path)
        return checkpoint.figures, {name: tensor.numpy().tobytes() for name, tensor in checkpoint.state.items()}
    if path.name == "stages.json":
        stages = json.loads(path.read_text())
        for entry in stages.values():
            entry["result"].pop("written", None)  # of the last call
        return {name: without_times(entry) for name, entry in stages.items()}
    if path.name == "metrics.jsonl":
        return {stage: [without_times(row) for row in rows] for stage, rows in read_metrics(path).items()}
    if path.suffix == ".json":
        return json.loads(re.sub(r'/[^"]*/run/', "", path.read_text()))
    return path.read_bytes()


def without_times(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}


def outcome(folder: Path) -> dict[str, Any]:
    """Every file of a project's run, data and network by name; a temporary or resumable file would be one more name."""
    paths = [*(folder / "run").rglob("*"), *(folder / "data").rglob("*"), *folder.glob("*.pth"), *folder.glob(".*")]
    kept = (path for path in paths if path.is_file() and path.name not in PASSING and "tensorboard" not in path.parts)
    return {str(path.relative_to(folder)): content_of(path) for path in kept}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    folder, started = tmp_path_factory.mktemp("undisturbed"), time.monotonic()
    process = start(folder)
    process.join()
    assert process.exitcode == 0, (folder / "output.txt").read_text()
    (folder / "seconds.txt").write_text(str(time.monotonic() - started))
    return folder


def again_as(undisturbed: Path, folder: Path, workers: int = 0) -> None:
    """Start it again: it ends without a traceback and with the files of the undisturbed run."""
    again = start(folder, workers)
    again.join()
    said = (folder / "output.txt").read_text()
    assert (again.exitcode, "Traceback" in said) == (0, False), said
    expected, found = outcome(undisturbed), outcome(folder)
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        assert found[name] == content, name


@pytest.mark.parametrize("number", range(KILLS))
def test_killed_and_started_again_it_ends_with_the_same_files(number, undisturbed, tmp_path):
    seconds, files = (float((undisturbed / f"{name}.txt").read_text()) for name in ("seconds", "files"))
    random, workers = np.random.default_rng([7, number]), number // 2 % 2  # the same moments in each call
    if number % 2:
        killed = start(tmp_path, workers)
        killed.join(seconds * random.random())
        killed.kill()
        killed.join()
    else:
        killed = start(tmp_path, workers, int(random.integers(1, int(files) + 1)), HOW[random.integers(len(HOW))])
        killed.join()
        assert killed.exitcode == -signal.SIGKILL
    # Loader processes that outlive the killed one may still complain there.
    (tmp_path / "output.txt").rename(tmp_path / "killed.txt")
    again_as(undisturbed, tmp_path, workers)
    assert (tmp_path / "best_model.pth").read_bytes() == (tmp_path / "run/segmenter.pth").read_bytes()
    shutil.rmtree(tmp_path)  # fifty of them would fill the disk


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "zeroed": lambda content: content[: len(content) // 2] + bytes(len(content) - len(content) // 2),
}
FILES = """
cut run/seeds/train_0001.npz run/pseudo/train_0003.png run/ablation_steps/given/walk/val_0001.npz run/run.json run/.lock
cut run/predictions/given/val_0001.png run/report_images.json run/config.yaml data/shapes/shapes.json
emptied run/seeds/train_0002.npz run/seeds/.fingerprint run/ablation/given/cam/val_0001.npz run/report.json
emptied best_model.pth
zeroed run/seeds/train_0003.npz run/seeds_walk/train_0002.npz
"""
NETWORKS = """
cut run/classifier.pth run/segmenter.pth
zeroed run/affinity.pth run/confident/train_0001.png
"""


@pytest.mark.parametrize("damages", [FILES, NETWORKS], ids=["files", "networks"])
def test_a_damaged_run_is_made_again_as_it_was(undisturbed, tmp_path, damages):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "output.txt").unlink()
    for damage, *paths in map(str.split, damages.strip().splitlines()):
        for path in paths:
            (tmp_path / path).write_bytes(DAMAGES[damage]((tmp_path / path).read_bytes()))
    again_as(undisturbed, tmp_path)


def test_damaged_output_of_inference_is_made_again(tmp_path):
    for number in range(6):
        save(tmp_path / f"in/p{number}.png", (20, 30), 0)
    predict_images(tmp_path / "in", tmp_path / "out", Stub())
    files = ("masks/p0.png", "overlays/p1.jpg", ".done/p3.json", "classes.json", PREDICTIONS)
    before = {name: (tmp_path / "out" / name).read_bytes() for name in files}
    for damage in DAMAGES.values():
        for name in files:
            (tmp_path / "out" / name).write_bytes(damage(before[name]))
        summary = predict_images(tmp_path / "in", tmp_path / "out", Stub())
        assert (summary.new, summary.kept) == (3, 3)
        assert {name: (tmp_path / "out" / name).read_bytes() for name in files} == before
