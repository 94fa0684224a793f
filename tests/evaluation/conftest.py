"""Masks and seeds with known faults, and scripts called on them."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data.artifacts import Seed, read_mask, seed_size, write_mask, write_seed
from stages.config import Config, override
from tests.conftest import voc_maker
from tests.evaluation.evaluated import COMMAND, evaluated_run
from utils.errors import run_script
from utils.run import Run


@pytest.fixture(scope="session")
def evaluated_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path]:
    """The run of `evaluated`, made once."""
    folder = tmp_path_factory.mktemp("evaluated")
    with pytest.MonkeyPatch.context() as patch:
        cfg, _ = evaluated_run(folder, voc_maker(folder), patch)
    return cfg, folder


@pytest.fixture
def evaluated(evaluated_once: tuple[Config, Path], tmp_path: Path) -> tuple[Config, Run]:
    """A copy of a run whose stage `report` has run."""
    cfg, folder = evaluated_once
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    cfg = override(cfg, [f"run={tmp_path / 'run'}", f"data.root={tmp_path / 'voc'}"])
    return cfg, Run(cfg, COMMAND)


@pytest.fixture
def call(monkeypatch, capsys) -> Callable[..., tuple[int, str]]:
    """Run a module's `main` with arguments -> (exit code, what it printed)."""

    def run(module, *arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        code = run_script(module.main)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


@pytest.fixture
def data(make_voc, tmp_path) -> list[str]:
    """Thirty images, ten of them `val`; masks `good` and `bad` with few and many errors; `seeds` of the truth.

    Returns:
        Arguments that let evaluate.py find them.
    """
    root = make_voc(count=30)
    random = np.random.default_rng(0)
    for path in sorted((root / "SegmentationClass").glob("*.png")):
        truth = read_mask(path)
        for folder, error in (("good", 0.05), ("bad", 0.25), ("same", 0.05)):
            said = np.where(random.random(truth.shape) < error, random.integers(4, size=truth.shape), truth)
            write_mask(tmp_path / folder / path.name, said)
        cells = truth[2::4, 2::4]  # the middle of each cell of 4 by 4
        maps = np.zeros((3, *seed_size(*truth.shape)), np.float32)
        maps[:, : cells.shape[0], : cells.shape[1]] = 0.5 * (cells == np.array([1, 2, 3])[:, None, None])
        write_seed(tmp_path / "seeds" / f"{path.stem}.npz", Seed(np.arange(3), maps, truth.shape))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"workers: 0\ndata: {{kind: voc, root: {root}, train_list: train, val_list: val}}\nreport: {{thresholds: 7}}\n"
    )
    return ["--config", str(settings)]
