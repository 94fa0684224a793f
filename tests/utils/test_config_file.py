"""From a file, a preset and overrides to a configuration: what beats what, and what is kept."""

import pytest

# TODO ['to_yaml']
from stages.config import Config, config_from_dict, load_config, override
from tests.utils.settings import DOCUMENT, FILE, PRESETS, base, flat, write
from utils.errors import UserError


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_says_what_it_loads(preset):
    cfg = to_dict(load_config(FILE, preset))
    expected = flat(base()) | flat(PRESETS[preset]) | {"precision": "off"}  # YAML reads a bare off as false
    assert flat(cfg) == expected


def test_the_file_names_the_preset_that_is_used_when_none_is_asked_for():
    assert load_config(FILE) == load_config(FILE, DOCUMENT["preset"]) != load_config(FILE, "voc12")


def test_what_beats_what(tmp_path):
    path = write(tmp_path, "cam: {epochs: 7, lr: 0.3, crop_size: 64}\npresets: {fast: {cam: {epochs: 8, lr: 0.4}}}\n")
    plain, preset = load_config(path), load_config(path, "fast")
    both = load_config(path, "fast", ["cam.epochs=9", "cam.epochs=10"])
    assert [cfg.cam.epochs for cfg in (Config(), plain, preset, both)] == [5, 7, 8, 10]
    assert [cfg.cam.lr for cfg in (Config(), plain, preset, both)] == [0.1, 0.3, 0.4, 0.4]
    assert [cfg.cam.crop_size for cfg in (Config(), plain, preset, both)] == [512, 64, 64, 64]
    assert both.cam.batch_size == Config().cam.batch_size


def test_overrides_of_a_configuration_keep_the_rest():
    cfg = override(load_config(FILE, "demo"), ["cam.epochs=9"])
    assert cfg.cam.epochs == 9
    assert override(cfg, [f"cam.epochs={load_config(FILE, 'demo').cam.epochs}"]) == load_config(FILE, "demo")


def test_without_a_file_there_are_the_defaults():
    assert load_config(None) == Config()
    assert load_config(None, overrides=["seed=3"]).seed == 3
    with pytest.raises(UserError, match="no configuration file"):
        load_config(None, "demo")


@pytest.mark.parametrize("empty", ["", "# nothing\n", "cam:\n", "presets:\n"])
def test_an_empty_file_or_section_changes_nothing(tmp_path, empty):
    assert load_config(write(tmp_path, empty)) == Config()


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load_config(tmp_path / "nowhere.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00seed")
    with pytest.raises(UserError, match=r"bytes\.yaml"):
        load_config(tmp_path / "bytes.yaml")


@pytest.mark.parametrize("preset", PRESETS)
def test_round_trip(tmp_path, preset):
    odd = [
        "cam.weight_decay=1e-5",
        "data.classes=['off', '1', 'ä: b', '#c']",
        "data.labels=''",
        "cam.scales=[0.3333333]",
    ]
    cfg = load_config(FILE, preset, odd)
    assert load_config(write(tmp_path, cfg.to_yaml())) == cfg
    assert config_from_dict(cfg.to_dict(), "a checkpoint") == cfg


def test_a_setting_that_is_not_known_any_more_is_left_out_and_named():
    settings = Config().to_dict()
    settings["cam"] |= {"epochs": 2, "epoch": 3}
    with pytest.warns(UserWarning, match=r"old\.pth: settings cam\.epoch are not known here"):
        assert config_from_dict(settings, "old.pth").cam.epochs == 2


def test_a_dictionary_with_a_wrong_value_names_where_it_came_from():
    with pytest.raises(UserError, match=r"old\.pth: 'cam\.epochs' must be of type int"):
        config_from_dict({"cam": {"epochs": "two"}}, "old.pth")
