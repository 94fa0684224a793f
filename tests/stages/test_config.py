"""The project's configuration: config.yaml and its presets, the published protocol, and settings in the documents."""

from typing import Any

import pytest
import yaml

from docs import settings as docs_settings
from stages.config import REMOVED, config_from_dict, load_config, load_fitting_config, override, parts, resolve_choices
from tests.project import ROOT, refused
from utils.config_file import build_parts, flatten
from utils.errors import UserError
from utils.settings import known_keys, settings_of

FILE = ROOT / "config.yaml"
DOCUMENT = yaml.safe_load(FILE.read_text(encoding="utf-8"))
PRESETS = DOCUMENT["presets"]
BASE = {name: value for name, value in DOCUMENT.items() if name not in ("preset", "presets")}

# What IRN's published program uses, by our name; each must be stated beside the setting.
IRN = """
cam.epochs 5, cam.batch_size 16, cam.crop_size 512, cam.resize_long 320..640, cam.lr 0.1, cam.lr_head_factor 10,
cam.poly_power 0.9, affinity.fg_threshold 0.30, affinity.bg_threshold 0.05, affinity.crop_size 512,
affinity.batch_size 32, affinity.epochs 3, affinity.radius 10, affinity.beta 10, affinity.exp_times 8,
pseudo.threshold 0.25
"""


def flat(nested: dict) -> dict[str, Any]:
    return {key: value for key, (value, _) in flatten(nested, str, {part.section for part in parts()}).items()}


def test_the_file_and_the_documents_have_every_setting_with_its_default():
    """Else run: python docs/settings.py."""
    assert set(flat(BASE)) == set(known_keys(parts()))
    assert config_from_dict(BASE, "config.yaml") == load_config(None)
    text = FILE.read_text(encoding="utf-8")
    assert docs_settings.updated(text) == text
    for path in ROOT.glob("docs/*.md"):
        text = path.read_text(encoding="utf-8")
        assert docs_settings.with_tables(text) == text, path
    tables = docs_settings.TABLE.findall((ROOT / "docs/method.md").read_text(encoding="utf-8"))
    assert {step.name for step in load_config(None).steps} <= set(tables)


def test_the_file_states_irn_values_and_the_published_protocol_has_them():
    found = {key: one.metadata["help"] for part in parts() for key, one in part.keys().items()}  # comments of the file
    voc12 = flat(load_config(FILE, "voc12").to_dict())
    for key, value in (pair.split() for pair in IRN.split(",")):
        assert "IRN" in found[key], key
        assert value in found[key], key
        ours = voc12[key] if isinstance(voc12[key], list) else [voc12[key]]
        assert ours == [float(number) for number in value.split("..")], key
    assert "IRN: 1, 0.5, 1.5, 2" in found["cam.scales"]
    rest = {"model.backbone": "resnet50", "model.weights": "imagenet", "affinity.walk_radius": 5}
    rest |= {"data.kind": "voc", "data.train_list": "train_aug", "data.val_list": "val", "cam.frozen_stride": 8}
    rest |= {"cam.momentum": 0.0, "cam.weight_decay": 0.0, "cam.scales": [1.0, 0.5, 1.5, 2.0], "cam.flip": True}
    assert {key: voc12[key] for key in rest} == rest


def test_every_preset_is_what_the_file_says_and_any_values_come_back(tmp_path, monkeypatch):
    for preset in PRESETS:
        cfg = load_config(FILE, preset)
        (tmp_path / "preset.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
        assert load_config(tmp_path / "preset.yaml") == cfg
        assert flat(cfg.to_dict()) == flat(BASE) | flat(PRESETS[preset])
        assert config_from_dict(cfg.to_dict(), "a checkpoint") == cfg
    mapping = 'data.mask_values={0: background, 255: yes, "#ff0000": true}'
    classes = "data.classes=['off', yes, true, '1', 7, 'ä: b', '#c']"
    monkeypatch.setenv("HOME", str(tmp_path))
    lists = ("data.root", "data.labels", "data.train_list", "data.val_list")
    homes = [f"{key}=~/x" for key in ("run", "checkpoint", "model.weights", *lists)]
    given = ["cam.weight_decay=1e-5", mapping, classes, "data.seed_list=''", "cam.flip=no"]
    cfg = load_config(FILE, "demo", [*given, *homes])
    data = cfg.data
    found = (cfg.run, cfg.checkpoint, cfg.model.weights, data.root, data.labels, data.train_list, data.val_list)
    assert set(found) == {f"{tmp_path}/x"}
    assert cfg.data.mask_values == {"0": "background", "255": "yes", "#ff0000": "true"}
    assert cfg.data.classes == ("off", "yes", "true", "1", "7", "ä: b", "#c")
    assert not cfg.step("cam").flip
    (tmp_path / "settings.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    assert load_config("~/settings.yaml") == cfg


def test_every_bound_allows_itself_and_nothing_beyond():
    ordered = {"prm", "context", "affinity_training"}  # their thresholds bound each other, too
    for part in parts():
        for key, one in part.keys().items():
            if part.attribute.split(".")[-1] in ordered or not isinstance(one.default, int | float):
                continue
            for end, beyond in ((one.metadata["low"], -1), (one.metadata["high"], 1)):
                if end is not None:
                    built = build_parts([part], {key: (end, "here")})[part.attribute]
                    assert getattr(built, one.name) == end
                    with pytest.raises(UserError, match=f"'{key}' must be (between|at least)"):
                        build_parts([part], {key: (end + beyond, "here")})


def test_settings_of_earlier_versions_are_read_where_they_mean_something(caplog):
    for key, value in REMOVED.items():
        assert load_config(None, overrides=[f"{key}={str(value).lower()}"]) == load_config(None)
        with pytest.raises(UserError, match=f"unknown setting '{key}'"):
            load_config(None, overrides=[f"{key}=1"])
    assert not caplog.text
    assert config_from_dict({"cam": {"epochs": 2, "epoch": 3}}, "old.pth").cam.epochs == 2
    assert "old.pth: settings cam.epoch are not known here" in caplog.text
    with pytest.raises(UserError, match=r"old\.pth: 'cam\.epochs' must be of type int"):
        config_from_dict({"cam": {"epochs": "two"}}, "old.pth")


def test_a_threshold_that_is_set_by_hand_is_not_found():
    own, by_hand = load_config(FILE, "folder"), ["pseudo.threshold=0.4"]
    assert own.pseudo.find_threshold
    for cfg in (load_config(FILE, "folder", by_hand), override(own, by_hand)):
        assert (cfg.pseudo.threshold, cfg.pseudo.find_threshold) == (0.4, False)
    assert override(own, ["pseudo.threshold=0.4", "pseudo.find_threshold=true"]).pseudo.find_threshold
    assert override(own, ["pseudo.refine=none"]).pseudo.find_threshold


def test_paths_of_a_file_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = "data: {root: ~/d, labels: ~/l.csv, train_list: ~/t.txt}"
    text = f"run: ~/r\ncheckpoint: ~/c.pth\n{data}\nmodel: {{weights: ~/w.pth}}\n"
    (tmp_path / "settings.yaml").write_text(text)
    cfg = load_config("~/settings.yaml", overrides=["data.val_list=~/v.txt"])
    found = (cfg.run, cfg.checkpoint, cfg.data.root, cfg.data.labels, cfg.data.train_list, cfg.model.weights)
    assert found == tuple(f"{tmp_path}/{name}" for name in ("r", "c.pth", "d", "l.csv", "t.txt", "w.pth"))
    assert cfg.data.val_list == f"{tmp_path}/v.txt"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("context.hi=0.1", r"'context\.lo' \(0\.25\) must not be above 'context\.hi' \(0\.1\)"),
        ("affinity.bg_threshold=0.6", r"'affinity\.bg_threshold' \(0\.6\) .* above 'affinity\.fg_threshold' \(0\.3\)"),
        *(("data.mask_values=[0]", "must be a mapping such as"), ("data.mask_values={0: [a]}", "of type str")),
        ("data.range=[1]", "must be a list of 2 values of type float, or one of auto, percentile"),
        ("data.range=percent", "or one of auto, percentile, found 'percent'"),
        *(("data.range=[5, 1]", "must be a range, the smallest first"), ("data.range=[5, 5]", "two different ends")),
        *(("data.bands=[1, 2]", "must be three bands"), ("data.bands=[0]", "between 1 and")),
    ],
)
def test_values_that_contradict_each_other_or_mean_nothing(text, says):
    with pytest.raises(UserError, match=says) as error:
        load_config(None, overrides=[text])
    assert str(error.value).startswith(f"--set {text}: ")


def test_what_a_step_that_is_off_could_do_makes_nothing_stale():
    settings = [[], ["sipe.power=3.0"], ["sipe.power=3.0", "sipe.enabled=true"]]
    plain, other, on = (settings_of(load_config(None, overrides=each), "steps") for each in settings)
    assert plain == other
    assert on == plain | {"sipe": on["sipe"]}
    assert on["sipe"]["power"] == 3.0


def test_a_run_in_the_folder_of_its_data_is_refused(tmp_path):
    places = [f"data.root={tmp_path}", f"run={tmp_path / 'x' / '..'}"]
    refused("the folder of the data, too.*--run", load_fitting_config, FILE, "folder", places)


def test_a_missing_dense_crf_is_told_before_any_stage_that_needs_it(monkeypatch):
    cfg = load_config(FILE, "demo")
    for given in (["pseudo.refine=crf"], ["infer.refine=crf"], ["affinity.kind=learned", "affinity.refine=crf"]):
        monkeypatch.setattr("stages.config.has_dense_crf", lambda: False)
        with pytest.raises(UserError, match=rf"{given[-1]} needs the package pydensecrf2: pip install"):
            resolve_choices(override(cfg, given))
        resolve_choices(override(cfg, ["affinity.refine=crf"]))  # no stage of this run reads it
        monkeypatch.setattr("stages.config.has_dense_crf", lambda: True)
        resolve_choices(override(cfg, given))
