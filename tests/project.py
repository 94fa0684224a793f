"""A small project for tests of whole scripts: generated data, settings, and scripts called in this process."""

import ast
import contextlib
import importlib
import io
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from data.shapes import generate
from utils.errors import UserError, run_script

ROOT = Path(__file__).parents[1]
REWRITTEN = {"config.yaml", "run.json", "log.txt", ".lock", ".lock.json"}  # what a run says of itself each time
PRODUCT = ("data", "exports", "inference", "evaluation", "models", "pages", "stages", "utils")

SETTINGS = """
run: {folder}/run
checkpoint: {folder}/best_model.pth
device: cpu
workers: 0
data: {{kind: voc, root: {folder}/voc, train_list: train, val_list: val}}
model: {{backbone: efficientnet_lite0, weights: none}}
cam: {{epochs: 1, batch_size: 4, crop_size: 32, resize_long: [32, 48], lr: 0.01, scales: [1.0, 0.5]}}
ibb: {{iterations: 1, epochs: 1}}
pseudo: {{background: threshold, threshold: 0.4, refine: none}}
segment: {{stage: -2, epochs: 1, batch_size: 4, crop_size: 32, scales: [1.0]}}
report: {{thresholds: 4}}
"""


def code_of(*folders: str) -> list[Path]:
    """The code in these folders and in their own folders."""
    return sorted(path for folder in folders for deep in ("*.py", "*/*.py") for path in (ROOT / folder).glob(deep))


def product_files() -> list[Path]:
    """The code of all rooms, and the scripts."""
    return [*code_of(*PRODUCT), *sorted(ROOT.glob("*.py"))]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@dataclass
class Ended:
    code: int
    out: str
    err: str

    def well(self) -> "Ended":
        """Itself; a command that has failed fails the test."""
        assert self.code == 0, self.out + self.err
        return self

    def stages(self, end: str) -> list[str]:
        """Names of the stages with a line that goes on with `end`."""
        return [line.split()[0] for line in self.out.splitlines() if line[10:].startswith(end) and line[:1].isalpha()]


def call(script: str, *arguments: str | Path) -> Ended:
    """Run a script's `main` in this process, which saves the seconds that importing torch takes."""
    main = importlib.import_module(script).main
    out, err, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [f"{script}.py", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = run_script(main)
            except SystemExit as ended:
                code = ended.code
    finally:
        sys.argv = before
    return Ended(code, out.getvalue(), err.getvalue())


def refused(message: str, call: Callable[..., object], *given: Any, **options: Any) -> None:
    """The call ends with a mistake of the user that is told so."""
    with pytest.raises(UserError, match=message):
        call(*given, **options)


@dataclass
class Project:
    """A folder with data, settings and a finished run."""

    folder: Path
    first: Ended | None = None
    backbone: str = "efficientnet_lite0"

    template = SETTINGS

    def write_settings(self) -> None:
        text = self.template.format(folder=self.folder).replace("efficientnet_lite0", self.backbone)
        (self.folder / "settings.yaml").write_text(text)

    @property
    def run(self) -> Path:
        return self.folder / "run"

    def train(self, *arguments: str) -> Ended:
        return call("train", "--config", self.folder / "settings.yaml", *arguments)

    def read(self, name: str) -> dict:
        """A JSON file of the run."""
        return json.loads((self.run / name).read_text())

    def evaluate(self, *arguments: str | Path) -> dict:
        """The figures."""
        self.evaluate_only(*arguments, "--json", self.run / "figures.json").well()
        return self.read("figures.json")

    def evaluate_only(self, *arguments: str | Path) -> Ended:
        return call("evaluate", "--config", self.folder / "settings.yaml", *arguments)

    def copy(self, folder: Path) -> "Project":
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copied = Project(folder, backbone=self.backbone)
        copied.write_settings()
        return copied

    def files(self) -> dict[str, tuple[int, int]]:
        """Every file but what is rewritten each time, with its time and size."""
        found = {path.relative_to(self.folder): path.stat() for path in self.folder.rglob("*") if path.is_file()}
        return {
            str(path): (about.st_mtime_ns, about.st_size) for path, about in found.items() if path.name not in REWRITTEN
        }


def new_project(folder: Path, backbone: str = "efficientnet_lite0") -> Project:
    generate(folder / "voc", train=6, val=3, size=64)
    project = Project(folder, backbone=backbone)
    project.write_settings()
    return project


def names(project: Project, list_name: str) -> list[str]:
    return (project.folder / "voc" / "ImageSets" / "Segmentation" / f"{list_name}.txt").read_text().split()
