"""Checkpoints and weight files: what comes back, what is refused, and that a file never runs code."""

import os
import pickle
import random
import zipfile
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch

from stages.config import config_from_dict, load_config
from utils.checkpoint import FORMAT, VERSION, Checkpoint, load_checkpoint, load_tensors, save_checkpoint
from utils.errors import UserError
from utils.files import digest, write_json


def example() -> Checkpoint:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    return Checkpoint(
        kind="segmenter",
        class_names=("cat", "dög"),
        backbone="resnet50",
        config=load_config(None).to_dict(),
        state=network.state_dict(),
        figures={"loss": 0.25},
        normalisation={"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]},
    )


def content_of(path: Path) -> dict:
    return torch.load(path, weights_only=True)


def test_round_trip(tmp_path):
    written, path = example(), tmp_path / "deeper" / "network.pth"
    save_checkpoint(path, written)
    read = load_checkpoint(path)
    for field in fields(Checkpoint):
        if field.name != "state":
            assert getattr(read, field.name) == getattr(written, field.name), field.name
    assert list(read.state) == list(written.state)
    for name, tensor in written.state.items():
        assert torch.equal(read.state[name], tensor)
        assert read.state[name].dtype == tensor.dtype
    assert config_from_dict(read.config, str(path)) == load_config(None)


def test_the_same_network_is_the_same_file(tmp_path):
    written = example()
    for name in ("one.pth", "deeper/other.pth"):
        save_checkpoint(tmp_path / name, written)
    assert (tmp_path / "one.pth").read_bytes() == (tmp_path / "deeper/other.pth").read_bytes()


def test_views_are_saved_alone(tmp_path):
    large = torch.zeros(1_000_000)
    save_checkpoint(
        tmp_path / "network.pth", Checkpoint(**asdict(example()) | {"state": {"part": large[:6].view(2, 3).T}})
    )
    assert load_checkpoint(tmp_path / "network.pth").state["part"].shape == (3, 2)
    assert (tmp_path / "network.pth").stat().st_size < 100_000


def damaged(whole: bytes) -> dict[str, bytes]:
    half = len(whole) // 2
    return {
        "empty": b"",
        "text": b"hello\nworld\n",
        "html": b"<!DOCTYPE html><html>404</html>",
        "zeros": bytes(1000),
        "half": whole[:half],
        "tail": whole[half:],
        "zip header alone": whole[:4],
        "pickle of a number": pickle.dumps(3, protocol=2),
        "half a pickle": pickle.dumps({"a": list(range(100))}, protocol=2)[:-20],
        **{f"noise {seed}": random.Random(seed).randbytes(300) for seed in range(5)},
    }


@pytest.mark.parametrize("kind", damaged(b"PK\x03\x04"))
def test_a_damaged_file_is_a_users_matter(tmp_path, kind):
    save_checkpoint(tmp_path / "network.pth", example())
    (tmp_path / "bad.pth").write_bytes(damaged((tmp_path / "network.pth").read_bytes())[kind])
    with pytest.raises(UserError, match=r"bad\.pth"):
        load_checkpoint(tmp_path / "bad.pth")


class Trap:
    """Unpickling it makes a folder."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, legacy):
    path, sprung = tmp_path / "trap.pth", tmp_path / "sprung"
    torch.save(
        {"format": FORMAT, "version": VERSION, "state": Trap(sprung)},
        path,
        _use_new_zipfile_serialization=not legacy,
        pickle_protocol=2,
    )
    with pytest.raises(UserError, match=r"trap\.pth holds more than plain tensors: .*refused"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Trap(sprung), protocol=2))
    with pytest.raises(UserError, match="refused"):
        load_tensors(path)
    assert not sprung.exists()


def test_a_digest_is_that_of_the_value(tmp_path):
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) == digest({"a": 1, "b": (1, 2)})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": None}, [1, 2], [2, 1], [[1], 2], "", None, 0.1, Path("x")]
    assert len({digest(value) for value in different}) == len(different)
    write_json(tmp_path / "value.json", {"ä": [1, None]})
    assert (tmp_path / "value.json").read_text(encoding="utf-8") == '{\n  "ä": [\n    1,\n    null\n  ]\n}\n'


def test_a_file_that_unpacks_to_more_than_its_size_is_refused(tmp_path):
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "whole.pth")
    load_tensors(tmp_path / "whole.pth")
    with (
        zipfile.ZipFile(tmp_path / "whole.pth") as whole,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in whole.namelist():
            bomb.writestr(entry, whole.read(entry))
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    with pytest.raises(
        UserError, match=r"bomb\.pth cannot be read as weights \(ValueError: it would unpack to 4\d{6} bytes\)"
    ):
        load_tensors(tmp_path / "bomb.pth")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"version": VERSION + 1},
            rf"was written by a newer IBBNet \(checkpoint version {VERSION + 1}, known: {VERSION}\)",
        ),
        ({"format": "other"}, "is not an IBBNet checkpoint"),
        ({"state": None}, "is damaged: it lacks state;"),
        ({"kind": 3}, "is damaged: its kind is of another type"),
        ({"class_names": "cat", "backbone": None}, "class_names, backbone are of another type"),
        ({"class_names": [1]}, "class_names"),
        ({"config": []}, "config"),
        ({"config": {1: 2}}, "config"),
        ({"state": {"a": 1}}, "state"),
        ({"state": torch.zeros(2)}, "state"),
        ({"figures": {"loss": "low"}}, "figures"),
        ({"normalisation": {"mean": 0.5}}, "normalisation"),
    ],
)
def test_what_is_not_ours_or_damaged_is_named(tmp_path, changed, message):
    path = tmp_path / "network.pth"
    save_checkpoint(path, example())
    content = content_of(path) | changed
    torch.save({name: value for name, value in content.items() if value is not None or "lacks" not in message}, path)
    with pytest.raises(UserError, match=rf"network\.pth .*{message}"):
        load_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(UserError, match="is not an IBBNet checkpoint"):
        load_checkpoint(path)
