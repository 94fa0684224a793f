"""The scripts in examples/ run to their end from any folder, and write the files that they name."""

import importlib

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask
from examples.tour import QUICK
from tests.project import call


@pytest.mark.long
def test_the_tour_shows_every_step_of_every_image_and_leaves_a_mask_and_an_image(tmp_path, monkeypatch):
    small = ("data.shapes_train=16", "data.shapes_size=96", "cam.crop_size=96", "cam.resize_long=[96,112]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.import_module("examples.tour"), "QUICK", (*QUICK, *small, "cam.epochs=1"))
    ended = call("examples.tour", "tour").well()
    folder, printed = tmp_path / "tour", ended.out
    assert [line[:2] for line in printed.splitlines() if line[:1].isdigit()] == ["1.", "2.", "3.", "4.", "5."]
    assert "seeds of 3 images: mIoU" in printed
    sheet = np.asarray(Image.open(folder / "maps.jpg"))
    assert sheet.shape[1] > 7 * 180
    assert sheet.std() > 20  # images, and no blank sheet
    image = sorted((folder / "data/JPEGImages").glob("val_*"))[0]
    assert read_mask(folder / "mask.png").shape == np.asarray(Image.open(image)).shape[:2]
    assert Image.open(folder / "result.jpg").width >= 2 * Image.open(image).width
    assert (folder / "best_model.pth").is_file()


@pytest.mark.slow
def test_the_whole_tour_has_maps_of_a_classifier_that_has_learned(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("examples.tour", "tour").code == 0
    cam = np.asarray(Image.open(tmp_path / "tour/maps.jpg"))[:, 210:390].astype(int)  # the second column
    assert (cam[..., 0] - cam[..., 2]).max() > 100  # warm somewhere
