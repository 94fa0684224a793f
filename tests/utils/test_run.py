"""The run folder: its files, and which of them are kept."""

import json
from pathlib import Path

import pytest
import torch

from stages.config import Config, load_config, override
from utils.errors import UserError
from utils.run import Run


@pytest.fixture
def settings(tmp_path) -> Config:
    return load_config(None, overrides=[f"run={tmp_path / 'run'}"])


def test_the_folder_says_what_ran_or_why_it_cannot(settings):
    Path(settings.run).write_text("a file")
    with pytest.raises(UserError, match=r"run/config\.yaml cannot be written .*choose a folder"):
        Run(settings)
    Path(settings.run).unlink()
    cfg = override(settings, ["seed=5"])
    Run(cfg, ["train.py", "--set", "seed=5"])
    assert load_config(Path(settings.run) / "config.yaml") == cfg
    about = json.loads((Path(settings.run) / "run.json").read_text())
    assert about["command"] == ["train.py", "--set", "seed=5"]
    assert (about["seed"], about["torch"]) == (5, torch.__version__)


def test_the_log_is_appended(settings, capsys):
    for _ in range(2):
        run = Run(settings)
        run.log("hello")
    assert capsys.readouterr().out == "hello\nhello\n"
    assert [line.split(maxsplit=1)[1] for line in run.path("log.txt").read_text().splitlines()] == ["hello", "hello"]


@pytest.mark.parametrize(("fingerprint", "look"), [("two", ""), ("one", "red")])
def test_a_folder_keeps_its_files_only_while_fingerprint_and_look_stay(settings, fingerprint, look):
    run = Run(settings)
    run.begin("a", "one")
    folder = run.fresh_folder("masks")
    (folder / "half.png").write_text("made before a stop")
    assert run.fresh_folder("masks") == folder
    assert (folder / "half.png").is_file()
    again = Run(settings)
    again.begin("a", fingerprint, look)
    again.path("others").mkdir()  # without a mark it is not trusted
    again.path("others", "unknown.png").write_text("from somewhere")
    for name in ("masks", "others"):
        assert list(again.fresh_folder(name).glob("*.png")) == []
