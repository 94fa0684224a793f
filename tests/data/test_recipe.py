import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.index import open_index
from data.recipe import INSPECTION, READ_AT, Fit, fitting_preset, has_no_colour, what_sizes_mean
from data.settings import DataSettings
from data.transforms import AS_IS
from stages.config import load_config, load_fitting_config, override
from tests.project import ROOT


def make(root: Path, colour: bool, background: int = 0, count: int = 6, side: int = 32) -> Path:
    """A folder with `count` noisy images of each of two classes, and some of none."""
    random = np.random.default_rng(0)
    for name, many in (("cat", count), ("dog", count), ("background", background)):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(many):
            pixels = random.integers(0, 256, (24, side, 3 if colour else 1), np.uint8)
            Image.fromarray(np.broadcast_to(pixels, (24, side, 3)).copy()).save(root / name / f"{name}{number}.jpg")
    return root


def fit_of(root: Path) -> Fit:
    return fitting_preset(open_index(DataSettings(kind="folder", root=str(root)), "all"))


@pytest.mark.parametrize(
    ("colour", "background", "preset"), [(True, 0, ""), (True, 4, ""), (False, 0, INSPECTION), (True, 12, INSPECTION)]
)
def test_the_preset_follows_from_colours_and_from_images_of_nothing(tmp_path, colour, background, preset):
    root = make(tmp_path, colour, background)
    fit = fit_of(root)
    assert fit.preset == preset
    message = fit.message(READ_AT[preset])
    assert f"{0 if colour else 100} % of" in message
    assert "none of the classes (cat, dog): the settings" in message
    assert ("--preset inspection" in message, "data.recipe=named" in message) == (not preset, bool(preset))
    (root / "cat" / "cat0.jpg").write_bytes(b"no image")
    assert fit_of(root).preset == preset  # a damaged image does not decide


def test_folder_takes_the_settings_of_the_preset_that_fits_and_keeps_what_was_set(tmp_path):
    def load(root: Path, preset: str, *more: str):
        return load_fitting_config(
            ROOT / "config.yaml", preset, [f"data.root={root}", "model.weights=none", "cam.epochs=7", *more]
        )

    grey, coloured = make(tmp_path / "grey", colour=False), make(tmp_path / "coloured", colour=True)
    cfg, reason = load(grey, "folder")
    inspection, nothing = load(grey, INSPECTION)
    assert (cfg.head, cfg.segmenter, cfg.cam) == (inspection.head, inspection.segmenter, inspection.cam)
    assert (cfg.cam.epochs, cfg.run, nothing) == (7, "runs/folder", "")
    assert INSPECTION in reason
    assert load(grey, "folder", "data.recipe=named")[0].head != inspection.head
    assert load(coloured, "folder")[0].head != inspection.head


def test_the_settings_of_a_run_do_not_choose_again_when_its_data_change(tmp_path):
    """`evaluate.py --run` says to train by them where labels have changed, and they have no presets."""
    root = make(tmp_path / "images", colour=True)
    cfg, _ = load_fitting_config(ROOT / "config.yaml", "folder", [f"data.root={root}"])
    (tmp_path / "run.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    make(root, colour=True, background=12)
    assert load_fitting_config(tmp_path / "run.yaml") == (cfg, "")


def test_an_edited_preset_keeps_its_data_and_the_sizes_that_were_set_are_told(tmp_path):
    """Whoever writes the own folder into the preset has it also where another preset fits."""
    root, text = make(tmp_path / "grey", colour=False), (ROOT / "config.yaml").read_text(encoding="utf-8")
    own = text.replace("recipe: auto, root: data/images", f"recipe: auto, root: {root}")
    (tmp_path / "own.yaml").write_text(
        own.replace("run: runs/folder", "run: runs/folder\n    seed: 3"), encoding="utf-8"
    )
    cfg, reason = load_fitting_config(tmp_path / "own.yaml", "folder", ["segment.min_side=64", "model.weights=none"])
    assert (cfg.data.root, cfg.data.recipe, cfg.seed) == (str(root), "named", 3)
    assert INSPECTION in reason
    assert "enlarged to 64 " in reason


@pytest.mark.parametrize(
    ("colour", "side", "more", "factor"),
    [
        (False, 1024, [], 2),
        (False, 1023, [], 1),
        (True, 1024, [], 1),  # photographs
        (False, 1024, ["data.enlarge=1"], 1),
        (True, 32, ["data.enlarge=1.5"], 1.5),
        (False, 1024, ["data.recipe=named"], 1),
        (False, 32, ["data.recipe=named", "data.enlarge=0.5"], 0.5),
    ],
)
def test_large_images_of_textures_are_seen_at_twice_the_size(tmp_path, colour, side, more, factor):
    root = make(tmp_path / "images", colour, side=side)
    given = [f"data.root={root}", "model.weights=none", "segment.max_side=512", *more]
    cfg, reason = load_fitting_config(ROOT / "config.yaml", "folder", given)
    preset = INSPECTION if INSPECTION + "'" in reason else "folder"
    usual = load_config(ROOT / "config.yaml", preset, [*given, "data.enlarge=1"])
    for found, expected in ((cfg.cam, usual.cam), (cfg.seeds, usual.seeds), (cfg.segmenter, usual.segmenter)):
        for name in ("crop_size", "min_side", "max_side"):
            assert getattr(found, name, 0) == round(factor * getattr(expected, name, 0))
    assert cfg.cam.resize_long == tuple(round(factor * one) for one in usual.cam.resize_long)
    told = f"(long side {side}) at {factor:g} times the usual sizes, with {factor**2:g} times the work (--set data.e"
    assert (told in reason) == (factor != 1 and "data.recipe=named" not in more)
    (tmp_path / "run.yaml").write_text(cfg.to_yaml(), encoding="utf-8")
    assert load_fitting_config(tmp_path / "run.yaml") == (cfg, "")  # and not larger again
    read_larger = override(load_config(tmp_path / "run.yaml"), ["data.enlarge=2"])  # as evaluate.py and infer.py do
    assert read_larger.segmenter.max_side == 2 * cfg.segmenter.max_side


def test_shades_of_one_colour_are_no_colours():
    """Grey and tinted images, also after JPEG; a photograph of two colours has some."""
    for tint in ((1, 1, 1), (1, 0.8, 0.55), (0.5, 0.4, 0.9)):
        shades = np.random.default_rng(0).integers(30, 255, (64, 64, 1))
        pixels = (cv2.GaussianBlur(shades.astype(np.float32), (0, 0), 2)[..., None] * tint).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=85)
        assert has_no_colour(Image.open(content))
        pixels[:32, :, 2] = 255 - pixels[:32, :, 2]
        assert not has_no_colour(Image.fromarray(pixels))


def test_sizes_are_told_where_they_are_unusual_as_the_presets_do():
    for sides in READ_AT.values():
        assert "enlarged to 320" in what_sizes_mean(200, sides)
        assert {what_sizes_mean(long_side, sides) for long_side in (320, 500, 890)} == {""}
    assert "less than about 71 pixels" in what_sizes_mean(4000, READ_AT[""])
    assert "less than about 62 pixels" in what_sizes_mean(4000, READ_AT[INSPECTION])
    assert what_sizes_mean(4000, AS_IS) == ""
    for preset, read_at in READ_AT.items():
        cfg = load_config(ROOT / "config.yaml", preset or "folder")
        assert (cfg.segmenter.min_side, cfg.segmenter.max_side) == (read_at.min_side, read_at.max_side)
        assert cfg.seeds.min_side == read_at.min_side
        assert cfg.seeds.max_side <= read_at.max_side
