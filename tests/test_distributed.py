"""Several processes make what one makes: the same files, the same training up to rounding; they end together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import utils.compute
from data.shapes import generate
from tests.processes import PATIENCE, run_script
from tests.project import ROOT, Ended, Project, call
from utils.compute import fastest_precision

pytestmark = pytest.mark.long  # tests/utils/test_distributed.py has quick ones

TOLERANCE = 1e-5  # means over the batch are sums of parts here, in another order than in one process: rounding alone

SETTINGS = """
run: {folder}/run
checkpoint: {folder}/best_model.pth
device: cpu
workers: 0
data: {{kind: voc, root: {folder}/voc, train_list: train, val_list: val}}
model: {{backbone: efficientnet_lite0, weights: imagenet}}
cam: {{epochs: 1, batch_size: 5, crop_size: 32, resize_long: [32, 48], lr: 0.01, scales: [1.0]}}
ibb: {{iterations: 1, epochs: 1}}
affinity: {{kind: features, epochs: 1, batch_size: 5, crop_size: 48, radius: 4, refine: none}}
pseudo: {{background: threshold, threshold: 0.4, refine: par, par_iterations: 2}}
segment: {{stage: -2, epochs: 1, batch_size: 5, crop_size: 32, scales: [1.0]}}
report: {{thresholds: 7}}
"""
SHARED_STAGES = ("seeds", "context", "remove", "correct", "walk", "pseudo", "ablation", "report")
MADE = (
    *("seeds", "seeds_context", "seeds_trained", "seeds_walk", "pseudo"),
    *("ablation", "ablation_steps", "ablation_pseudo", "predictions"),
)


class Shared(Project):
    """A project whose run several processes make."""

    template = SETTINGS

    def arguments(self, *more: str | Path) -> list[str]:
        return ["--config", str(self.folder / "settings.yaml"), *map(str, more)]

    def begin(self, folder: Path, *networks: str) -> "Shared":
        """Another project with the images and these networks of the run, where no shared stage has run."""
        shutil.copytree(self.folder / "voc", folder / "voc")
        (folder / "run").mkdir()
        for name in networks:
            shutil.copy(self.run / name, folder / "run" / name)
        done = {name: entry for name, entry in self.read("stages.json").items() if name not in SHARED_STAGES}
        (folder / "run/stages.json").write_text(json.dumps(done if networks else {}))
        project = Shared(folder)
        project.write_settings()
        return project

    def made(self) -> dict[str, bytes]:
        """The bytes of all that the shared stages have written."""
        paths = [path for name in MADE for path in (self.run / name).rglob("*")]
        kept = [path for path in paths if path.suffix in (".png", ".npz", ".webp")]
        return {str(path.relative_to(self.run)): path.read_bytes() for path in kept}


@pytest.fixture(scope="module", autouse=True)
def arithmetic_of_the_machine() -> Iterator[None]:
    """As in the other processes, which the patches of tests/conftest.py do not reach."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils.compute, "fastest_precision", fastest_precision)
        yield


@pytest.fixture(scope="module")
def one(tmp_path_factory, arithmetic_of_the_machine) -> Shared:
    """What one process makes: all stages."""
    project = Shared(tmp_path_factory.mktemp("one"))
    generate(project.folder / "voc", train=7, val=3, size=64)
    project.write_settings()
    project.train().well()
    return project


def together(count: int, folder: Path, script: str, *arguments: str | Path) -> Ended:
    """A script in several processes, which must end well and let the main one speak alone; how that has ended."""
    ended = run_script(count, folder / "said", script, *arguments)
    assert [each.code for each in ended] == [0] * count, [each.err for each in ended]
    assert all(each.out == each.err == "" for each in ended[1:])
    return ended[0]


def test_all_files_and_figures_are_those_of_one_process(one, tmp_path):
    project = one.begin(tmp_path, "classifier.pth", "ibb.pth", "segmenter.pth")
    ended = together(3, tmp_path, "train", *project.arguments("--stages", ",".join(SHARED_STAGES)))
    made = project.made()
    assert made == one.made()
    assert len(made) > 50
    for name in ("report.txt", "report_images.json"):
        assert (project.run / name).read_text() == (one.run / name).read_text()
    found, expected = (each.read("stages.json") for each in (project, one))
    assert all(found[stage]["result"] == expected[stage]["result"] for stage in SHARED_STAGES)
    assert ended.out.count("seeds     done in") == 1
    masks = [np.asarray(Image.open(path)) for path in (one.run / "pseudo").glob("*.png")]
    assert any(len(np.unique(mask)) > 1 for mask in masks)  # the rest would hold for empty files, too


def test_training_the_classifier_is_that_of_one_process(one, tmp_path):
    """A batch of 5 is 2, 2 and 1 images; other numbers of processes are in tests/utils/test_distributed.py."""
    project = one.begin(tmp_path)
    together(3, tmp_path, "train", *project.arguments("--stages", "cam"))
    lines = [(each.run / "metrics.jsonl").read_text().splitlines()[0] for each in (one, project)]
    expected, found = map(json.loads, lines)
    assert found["stage"] == expected["stage"] == "cam"
    assert found["step"] == expected["step"]
    assert found["loss"] == pytest.approx(expected["loss"], rel=TOLERANCE)
    networks = [torch.load(each.run / "classifier.pth", weights_only=True)["state"] for each in (one, project)]
    for name, weight in networks[0].items():
        assert torch.allclose(weight, networks[1][name], rtol=0, atol=TOLERANCE), name


def test_too_many_processes_for_a_batch_are_refused_once(one, tmp_path):
    words = one.begin(tmp_path).arguments("--stages", "cam", "--set", "cam.batch_size=2")
    ended = run_script(3, tmp_path / "said", "train", *words)
    assert all(each.code for each in ended)
    said = "".join(each.err for each in ended)
    assert said.count("a batch of stage 'cam' has 2 images, too few for 3 processes") == 1
    assert "raise cam.batch_size" in said
    assert "Traceback" not in said


EVALUATIONS = (
    *("--seeds run/seeds --split train", "--masks run/pseudo --split train", "--model_path run/segmenter.pth"),
    "--compare run/ablation/given/cam run/ablation/given/ibb",
)


@pytest.mark.parametrize("arguments", EVALUATIONS)
def test_evaluation_has_the_figures_of_one_process(one, tmp_path, arguments):
    words = [str(one.folder / word) if word.startswith("run/") else word for word in arguments.split()]
    alone = call("evaluate", *one.arguments("--json", tmp_path / "one.json", *words)).well()
    ended = together(2, tmp_path, "evaluate", *one.arguments("--json", tmp_path / "two.json", *words))
    figures = [json.loads((tmp_path / name).read_text()) for name in ("one.json", "two.json")]
    for each in figures:
        for row in (each, *each.values()):
            if isinstance(row, dict) and "evaluated" in row:
                row["evaluated"].pop("path", None)  # of a scratch folder
    assert figures[0] == figures[1]
    if "--model_path" not in arguments:
        assert ended.out == alone.out


OPTIONS = "--device cpu --export maps --limit 7 --set cam.scales=[1.0] --set ibb.iterations=1 --set pseudo.refine=none"


@pytest.mark.parametrize("network", ["segmenter.pth", "imagenet"])
def test_inference_writes_the_files_of_one_process(one, tmp_path, network):
    """The packaged classifier, too, whose mask values are given to classes in the order of the images."""
    shutil.copytree(one.folder / "voc/JPEGImages", tmp_path / "in")
    (tmp_path / "in/broken.jpg").write_bytes(b"no image")
    path = network if network == "imagenet" else str(one.run / network)
    words = ["--input", tmp_path / "in", "--model_path", path, "--quality", "best", *OPTIONS.split(), "--output"]
    assert call("infer", *words, tmp_path / "one").code == 0
    ended = together(3, tmp_path, "infer", *words, tmp_path / "three")
    assert "6 images predicted" in ended.out
    assert "1 unreadable" in ended.out
    files = {folder: [path for path in (tmp_path / folder).rglob("*") if path.is_file()] for folder in ("one", "three")}
    alone, shared = (
        {path.relative_to(tmp_path / folder): path.read_bytes() for path in paths if ".lock" not in path.name}
        for folder, paths in files.items()
    )
    assert alone == shared
    assert len(list((tmp_path / "three/masks").glob("*.png"))) == 6


def test_an_error_in_any_process_ends_all_with_one_reason(one, tmp_path):
    project = one.begin(tmp_path, "classifier.pth", "ibb.pth")
    damaged = sorted((tmp_path / "voc/JPEGImages").glob("train*.jpg"))[3]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:300].ljust(len(content), b"\0"))  # of the same size: only reading it finds that
    ended = run_script(2, tmp_path / "said", "train", *project.arguments("--stages", "seeds"))
    said = "".join(each.err for each in ended)
    assert all(each.code for each in ended)
    assert 2 in [each.code for each in ended]
    assert said.count("error:") == 1
    assert damaged.name in said
    assert "Traceback" not in said
    assert "seeds" not in project.read("stages.json")
    damaged.write_bytes(content)
    together(2, tmp_path, "train", *project.arguments("--stages", "seeds"))
    expected = {name: content for name, content in one.made().items() if name.startswith("seeds/")}
    assert project.made() == expected


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc, to find torchrun's processes")
@pytest.mark.parametrize("ending", ["interrupted", pytest.param("killed", marks=pytest.mark.slow)])
def test_a_run_that_is_cut_off_is_gone_on_with(one, tmp_path, ending):
    project = one.begin(tmp_path)
    arguments = project.arguments("--stages", "cam,seeds", "--set", "cam.epochs=12")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train.py"]
    environment, pipe, command = os.environ | {"OMP_NUM_THREADS": "1"}, subprocess.PIPE, [*command, *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + PATIENCE
    try:
        while not (project.run / "cam.last.pth").is_file():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until, "nothing happened"
            time.sleep(0.02)
        if ending == "killed":
            os.kill(int(children.read_text().split()[-1]), signal.SIGKILL)
        else:
            process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        for each in (*map(int, children.read_text().split()), process.pid) if process.poll() is None else ():
            os.kill(each, signal.SIGKILL)
    assert process.returncode != 0
    if ending == "killed":
        assert "SIGKILL" in said
    else:
        assert said.count("interrupted in stage cam") == 1
        assert "torchrun --nproc_per_node=2 train.py" in said
    assert "cam" not in project.read("stages.json")
    done = torch.load(project.run / "cam.last.pth", weights_only=True)["step"]
    ended = together(2, tmp_path, "train", *arguments)
    assert f"resumed at step {done} of" in ended.out
    assert len(list((project.run / "seeds").glob("*.npz"))) == 7
