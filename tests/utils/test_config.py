"""The settings: what config.yaml shows of them, and that the defaults are the published protocol."""

import pytest

# TODO ['known_keys']
from stages.config import Config, config_from_dict, load_config
from tests.utils.settings import FILE, base, flat

# What IRN's published program uses, by our name; each must be stated beside the setting.
IRN = {
    "cam.epochs": "5",
    "cam.batch_size": "16",
    "cam.crop_size": "512",
    "cam.resize_long": "320..640",
    "cam.lr": "0.1",
    "cam.lr_head_factor": "10",
    "cam.poly_power": "0.9",
    "cam.scales": "1, 0.5, 1.5, 2",
    "affinity.fg_threshold": "0.30",
    "affinity.bg_threshold": "0.05",
    "affinity.crop_size": "512",
    "affinity.batch_size": "32",
    "affinity.epochs": "3",
    "affinity.radius": "10",
    "affinity.beta": "10",
    "affinity.exp_times": "8",
    "pseudo.threshold": "0.25",
}


def comments() -> dict[str, str]:
    """Dotted key -> the comment on its line, of everything above the presets."""
    found, section = {}, ""
    for line in FILE.read_text(encoding="utf-8").split("\npresets:")[0].splitlines():
        text, _, comment = line.partition("#")
        name = text.partition(":")[0]
        if not text.strip():
            continue
        if not name.startswith(" "):
            section = name
        found[name if not name.startswith(" ") else f"{section}.{name.strip()}"] = comment.strip()
    return found


def test_the_file_shows_every_setting_with_its_default():
    assert set(flat(base())) | {"data.mask_values"} == set(known_keys())  # a mapping, empty
    assert base()["data"]["mask_values"] == {}
    assert config_from_dict(base(), "config.yaml") == Config()


def test_the_file_states_irn_values_beside_the_settings():
    found = comments()
    for key, value in IRN.items():
        assert "IRN" in found[key], key
        assert value in found[key], key


def test_the_published_protocol():
    cfg = load_config(FILE, "voc12")
    assert (cfg.model.backbone, cfg.model.weights) == ("resnet50", "imagenet")
    assert (cfg.data.kind, cfg.data.train_list, cfg.data.val_list) == ("voc", "train_aug", "val")
    assert (cfg.cam.crop_size, cfg.cam.epochs, cfg.cam.batch_size, cfg.cam.lr) == (512, 5, 16, 0.1)
    assert (cfg.cam.momentum, cfg.cam.weight_decay, cfg.cam.poly_power) == (0.0, 0.0, 0.9)
    assert (cfg.cam.lr_head_factor, cfg.cam.frozen_stride, cfg.cam.resize_long) == (10.0, 8, (320, 640))
    assert (cfg.step("cam").scales, cfg.step("cam").flip) == ((1.0, 0.5, 1.5, 2.0), True)
    assert (cfg.affinity.fg_threshold, cfg.affinity.bg_threshold) == (0.30, 0.05)
    assert (cfg.affinity.radius, cfg.affinity.walk_radius) == (10, 5)
    assert (cfg.affinity.beta, cfg.affinity.exp_times) == (10.0, 8)


def test_the_configuration_cannot_be_changed_by_accident():
    with pytest.raises(AttributeError):
        Config().cam.epochs = 3
