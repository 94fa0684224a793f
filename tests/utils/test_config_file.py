"""From a file, a preset and overrides to values: what beats what, and what cannot be read."""

from pathlib import Path

import pytest

from stages.config import Config, load_config, parts
from stages.config import load_config as load
from tests.project import refused
from utils.config_file import NOT_YAML, parse_yaml
from utils.errors import UserError
from utils.settings import known_keys


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
    refused("no configuration file", load, None, "demo")


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


@pytest.mark.parametrize("text", ["[" * 600, *OBJECTS, "2020-13-45", "9" * 5000, "!!int a", "!!bool a", "\x00", "="])
def test_what_is_refused(text, tmp_path):
    with pytest.raises(NOT_YAML):
        parse_yaml(text)
    refused("not valid YAML", load, None, overrides=[f"seed={text}"])
    refused(r"settings\.yaml.*not valid YAML", load, write(tmp_path, f"seed: {text}"))


def overridden(*overrides: str) -> Config:
    return load_config(None, overrides=overrides)


# Each: the text of a file, the overrides, and what the message must hold.
MISTAKES = {
    "key without its section": ("crop_size: 64\n", [], ["line 1", "'crop_size'", "crop_size'?"]),
    "nothing near": ("xyzzy: 1\n", [], ["line 1: unknown setting 'xyzzy'"]),
    "in a preset": ("preset: a\npresets:\n  a:\n    prm:\n      high: 0.5", [], ["line 5", "'prm.high'", "'prm.hi'?"]),
    "yes for a number": ("", ["cam.epochs=true"], ["'cam.epochs'", "int", "True"]),
    "number for a switch": ("", ["prm.enabled=1"], ["'prm.enabled'", "bool"]),
    "endless": ("", ["cam.lr=.inf"], ["'cam.lr'", "float"]),
    "one for a list": ("", ["cam.scales=1"], ["'cam.scales'", "a list", "float"]),
    "list of another length": ("", ["cam.resize_long=[320]"], ["'cam.resize_long'", "a list of 2 values", "int"]),
    "list without brackets": ("", ["data.classes=cat,dog"], ["a list in brackets: [cat, dog], found 'cat,dog'"]),
    "another choice": ("", ["pseudo.background=treshold"], ["background'", "threshold, power", "mean 'threshold'?"]),
    "below": ("cam: {lr: 0.1, epochs: 0}\n", [], ["line 1", "'cam.epochs' must be at least 1, found 0"]),
    "above": ("", ["prm.hi=1.5"], ["'prm.hi' must be between 0 and 1, found 1.5"]),
    "out of range in a list": ("", ["cam.scales=[1, 0]"], ["'cam.scales' must be between 0.1 and 8, found 0"]),
    "range the wrong way": ("", ["cam.resize_long=[640, 320]"], ["'cam.resize_long'", "smallest first"]),
    "a section that is a number": ("seed: 1\ncam: 3\n", [], ["line 2", "key: value", "3"]),
    "presets that are a list": ("presets: [a]\n", [], ["line 1", "'presets'"]),
    "key that YAML reads as false": ("false: 3\n", [], ["unknown setting 'False'"]),
}


def test_a_mistake_is_named_with_its_line_and_the_nearest_name(tmp_path):
    for mistake in MISTAKES:
        text, overrides, expected = MISTAKES[mistake]
        path = write(tmp_path, text)
        with pytest.raises(UserError) as error:
            load_config(path, overrides=overrides)
        for part in expected:
            assert part in str(error.value)
        if not overrides:
            assert str(path) in str(error.value)


def test_values_become_those_of_the_right_type_and_those_that_nothing_can_be_done_with_are_refused():
    again = next(part for part in parts() if part.section == "prm")
    with pytest.raises(TypeError, match=r"two classes of settings have 'prm\.\w+'"):
        known_keys([*parts(), again])
    cfg = overridden("cam.scales=[1, 0.5, 1e0]", "cam.resize_long=[64, 70]", "data.classes=[cat, 7]")
    assert cfg.step("cam").scales == (1.0, 0.5, 1.0)
    assert all(isinstance(scale, float) for scale in cfg.step("cam").scales)
    for text, number in (("1e-4", 1e-4), ("1E-4", 1e-4), ("0.0001", 1e-4), ("1", 1.0), ("'0.5'", 0.5), ("0", 0.0)):
        assert (overridden(f"cam.lr={text}").cam.lr, type(overridden(f"cam.lr={text}").cam.lr)) == (number, float)
    assert cfg.cam.resize_long == (64, 70)
    assert cfg.data.classes == ("cat", "7")
    assert overridden("data.classes=[]").data.classes == ()
    cfg = overridden("precision=off", "data.val_list=", "data.train_list=2012", "data.root=a=b.csv")
    assert cfg.precision == "off"
    assert (cfg.data.val_list, cfg.data.train_list, cfg.data.root) == ("", "2012", "a=b.csv")
    for text, message in (
        ('data.root="a\\0b"', r"'data.root' must be text that a path or name can hold, found 'a\\x00b'"),
        ('data.classes=["\\ud800"]', "'data.classes' must be text that"),
        (f"cam.lr=[{'x, ' * 500}]", r"'cam.lr' must be of type float, found \['x', .*\.\.\. \(list\)$"),
    ):
        refused(message, overridden, text)
