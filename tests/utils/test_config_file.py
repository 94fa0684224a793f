"""From a file, a preset and overrides to values: what beats what, and what cannot be read."""

from pathlib import Path

import pytest

from stages.config import load_config as load
from tests.project import refused
from utils.config_file import NOT_YAML, parse_yaml
from utils.errors import UserError


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_beats_what(tmp_path):
    path = write(tmp_path, "cam: {epochs: 7, lr: 0.3, crop_size: 64}\npresets: {fast: {cam: {epochs: 8, lr: 0.4}}}\n")
    plain, preset = load(path), load(path, "fast")
    both = load(path, "fast", ["cam.epochs=9", "cam.epochs=10"])
    found = [cfg.cam for cfg in (load(None), plain, preset, both)]
    assert [training.epochs for training in found] == [5, 7, 8, 10]
    assert [training.lr for training in found] == [0.1, 0.3, 0.4, 0.4]
    assert [training.crop_size for training in found] == [512, 64, 64, 64]
    assert both.cam.momentum == load(None).cam.momentum
    path = write(tmp_path, "preset: a\npresets: {a: {seed: 1}, b: {seed: 2}}\n")  # the file names one, too
    assert [load(path, preset).seed for preset in (None, "a", "b")] == [1, 1, 2]
    assert load(None, overrides=["seed=3"]).seed == 3
    with pytest.raises(UserError, match="no configuration file"):
        load(None, "demo")


def test_an_empty_file_or_section_changes_nothing_and_one_that_cannot_be_read_is_named(tmp_path):
    for empty in ("", "# nothing\n", "cam:\n", "presets:\n"):
        assert load(write(tmp_path, empty)) == load(None)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00seed")
    for name, message in (("nowhere.yaml", r"nowhere\.yaml"), (".", "cannot be read"), ("bytes.yaml", r"bytes\.yaml")):
        refused(message, load, tmp_path / name)


def test_plain_values_and_references():
    read = parse_yaml("a: &x {b: [1, 2.5, true]}\nc: {<<: *x, d: ü}")[1]
    assert read == {"a": {"b": [1, 2.5, True]}, "c": {"b": [1, 2.5, True], "d": "ü"}}
    assert parse_yaml("[yes, no, on, off, TRUE, false]")[1] == ["yes", "no", "on", "off", True, False]
    assert parse_yaml("") == (None, None)


OBJECTS = ["!!python/object/apply:os.system ['false']", "!!python/name:os.system", "{[1]: 2}"]


@pytest.mark.parametrize("text", ["[" * 1000, *OBJECTS, "2020-13-45", "9" * 5000, "!!int a", "!!bool a", "\x00", "="])
def test_what_is_refused(text, tmp_path):
    with pytest.raises(NOT_YAML):
        parse_yaml(text)
    with pytest.raises(UserError, match="not valid YAML"):
        load(None, overrides=[f"seed={text}"])
    refused(r"settings\.yaml.*not valid YAML", load, write(tmp_path, f"seed: {text}"))
