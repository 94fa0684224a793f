"""Room on the disk: what is asked for bounds what is written, and too little is told before the work."""

from pathlib import Path

import numpy as np
import pytest
import torch

import utils.files
from data.artifacts import Seed, seed_size, write_mask, write_seed
from data.index import open_index
from data.settings import DataSettings
from models.segmenter import Segmenter
from stages import files
from stages.files import require_network_space, without_file
from tests.models.tiny import TinyBackbone
from tests.project import new_project
from utils.errors import UserError


@pytest.fixture
def index(make_voc):
    root = make_voc(count=9, size=(150, 200))
    return open_index(DataSettings(kind="voc", root=str(root), classes=("cat", "dog", "train")), "train")


@pytest.fixture
def asked(monkeypatch) -> list[float]:
    """Bytes that were asked for."""
    needed = []
    monkeypatch.setattr(files, "require_space", lambda folder, size, purpose: needed.append(size))
    return needed


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_seeds_of_the_worst_kind_and_masks_take_no_more_than_was_asked_for(index, asked, tmp_path):
    random = np.random.default_rng(0)  # noise cannot be compressed
    for folder, suffix in (("seeds", ".npz"), ("masks", ".png")):
        assert without_file(index, tmp_path / folder, suffix) == list(range(6))
    for record in index.records:
        maps = random.random((len(record.labels), *seed_size(150, 200)), dtype=np.float32)
        write_seed(tmp_path / "seeds" / f"{record.name}.npz", Seed(np.array(record.labels), maps, (150, 200)))
        write_mask(tmp_path / "masks" / f"{record.name}.png", np.kron(np.eye(10), np.ones((15, 20))))
    assert size_of(tmp_path / "seeds") <= asked[0] < 4 * size_of(tmp_path / "seeds")
    assert size_of(tmp_path / "masks") <= asked[1]


def test_a_network_and_its_state_take_no_more_than_was_asked_for(asked, tmp_path):
    network = Segmenter(TinyBackbone(), 4)
    require_network_space(tmp_path, network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pth")
    torch.save(network.state_dict(), tmp_path / "network.pth")
    assert asked[0] == pytest.approx(2 * size_of(tmp_path), rel=0.1)


def test_a_disk_that_is_too_small_ends_the_run_before_its_first_stage(index, tmp_path, tiny_backbone, monkeypatch):
    project = new_project(tmp_path, tiny_backbone)
    monkeypatch.setattr(utils.files, "free_space", lambda path: 1000)
    ended = project.train()
    assert ended.code == 2
    assert "the disk is too full for a network and its resumable state: about 0.0" in ended.err
    assert f"are needed in {project.run}, 0.00 GB are free; make room" in ended.err
    assert not (project.run / "classifier.pth").exists()
    message = r"too full for seeds of 6 images: about 0\.\d\d GB are needed in .*seeds, 0\.00 GB"
    with pytest.raises(UserError, match=message):
        without_file(index, tmp_path / "seeds", ".npz")
