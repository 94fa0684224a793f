"""Masks and seeds with known faults."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data.artifacts import Seed, read_mask, seed_size, write_mask, write_seed
from stages.config import Config, override
from tests.conftest import voc_maker
from tests.evaluation.evaluated import COMMAND, evaluated_run
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
def data(make_voc, tmp_path) -> list[str]:
    """Thirty images, ten of them `val`; masks `good` with few errors and `bad` with many, and `seeds` of the truth.

    Returns:
        Arguments that let evaluate.py find them.
    """
    root = make_voc(count=30)
    random = np.random.default_rng(0)
    for path in sorted((root / "SegmentationClass").glob("*.png")):
        truth = read_mask(path)
        for folder, error in (("good", 0.05), ("bad", 0.25), ("same", 0.05)):
            mask = np.where(random.random(truth.shape) < error, random.integers(4, size=truth.shape), truth)
            write_mask(tmp_path / folder / path.name, mask)
        cells = truth[2::4, 2::4]  # the middle of each cell of 4 by 4
        maps = np.zeros((3, *seed_size(*truth.shape)), np.float32)
        maps[:, : cells.shape[0], : cells.shape[1]] = 0.5 * (cells == np.array([1, 2, 3])[:, None, None])
        write_seed(tmp_path / "seeds" / f"{path.stem}.npz", Seed(np.arange(3), maps, truth.shape))
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        f"workers: 0\ndata: {{kind: voc, root: {root}, train_list: train, val_list: val}}\nreport: {{thresholds: 7}}\n"
    )
    return ["--config", str(settings)]
