"""Checkpoints and weight files: what comes back, what is refused, and that a file never runs code."""

import os
import pickle
import random
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stages.config import config_from_dict, load_config
from tests.project import refused
from utils.checkpoint import FORMAT, VERSION, Checkpoint, load_checkpoint, load_tensors, save_checkpoint


def example() -> Checkpoint:
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    colours = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}
    about = "segmenter", ("cat", "dög"), "resnet50"
    return Checkpoint(*about, load_config(None).to_dict(), state, {"loss": 0.25}, colours)


def test_round_trip(tmp_path):
    written, path = example(), tmp_path / "deeper" / "network.pth"
    save_checkpoint(path, written)
    read = load_checkpoint(path)
    assert replace(read, state=written.state) == written
    assert list(read.state) == list(written.state)
    torch.testing.assert_close(read.state, written.state, rtol=0, atol=0)
    assert config_from_dict(read.config, str(path)) == load_config(None)
    save_checkpoint(tmp_path / "other.pth", written)
    assert (tmp_path / "other.pth").read_bytes() == path.read_bytes()  # the same network is the same file
    part = torch.zeros(1_000_000)[:6].view(2, 3).T
    save_checkpoint(path, replace(written, state={"part": part}))
    assert load_checkpoint(path).state["part"].shape == (3, 2)
    assert path.stat().st_size < 100_000  # without what it is a view of


def test_a_damaged_file_and_one_that_unpacks_to_more_than_its_size_are_a_users_matter(tmp_path):
    save_checkpoint(tmp_path / "network.pth", example())
    whole = (tmp_path / "network.pth").read_bytes()
    half = len(whole) // 2
    for content in (
        *(b"", b"hello\nworld\n", b"<!DOCTYPE html><html>404</html>", bytes(1000)),
        *(whole[:half], whole[half:], whole[:4], pickle.dumps(3, protocol=2)),
        pickle.dumps({"a": list(range(100))}, protocol=2)[:-20],
        *(random.Random(seed).randbytes(300) for seed in range(5)),
    ):
        (tmp_path / "bad.pth").write_bytes(content)
        refused(r"bad\.pth", load_checkpoint, tmp_path / "bad.pth")
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "whole.pth")
    load_tensors(tmp_path / "whole.pth")
    bomb = tmp_path / "bomb.pth"
    with zipfile.ZipFile(tmp_path / "whole.pth") as whole, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in whole.namelist():
            packed.writestr(entry, whole.read(entry))
    assert bomb.stat().st_size < 20_000
    refused(r"bomb\.pth cannot .* \(ValueError: it would unpack to 4\d{6} bytes\)", load_tensors, bomb)


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, legacy):
    path, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    content = {"format": FORMAT, "version": VERSION, "state": Trap(sprung)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy, pickle_protocol=2)
    refused(r"trap\.pth holds more than plain tensors: .*refused", load_checkpoint, path)
    path.write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    refused("refused", load_tensors, path)
    assert not sprung.exists()


def test_what_is_not_ours_or_damaged_is_named(tmp_path):
    for changed, message in (
        ({"version": VERSION + 1}, rf"was written by a newer .* version {VERSION + 1}, known: {VERSION}\)"),
        ({"format": "other"}, "is not an IBBNet checkpoint"),
        ([1, 2], "is not an IBBNet checkpoint"),
        ({}, "is damaged: it lacks state;"),
        ({"kind": 3}, "is damaged: its kind is of another type"),
        ({"class_names": "cat", "backbone": None}, "class_names, backbone are of another type"),
        ({"class_names": [1]}, "class_names"),
        ({"config": []}, "config"),
        ({"config": {1: 2}}, "config"),
        ({"state": {"a": 1}}, "state"),
        ({"state": torch.zeros(2)}, "state"),
        ({"figures": {"loss": "low"}}, "figures"),
        ({"normalisation": {"mean": 0.5}}, "normalisation"),
    ):
        path = tmp_path / "network.pth"
        save_checkpoint(path, example())
        content = torch.load(path, weights_only=True) | changed if isinstance(changed, dict) else changed
        torch.save(
            {name: content[name] for name in content if name != "state"} if "lacks" in message else content, path
        )
        refused(rf"network\.pth .*{message}", load_checkpoint, path)
