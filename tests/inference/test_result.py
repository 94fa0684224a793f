"""What `infer.predict` returns: values, names, images for notebooks and for the screen."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from data.artifacts import read_mask
from inference.predictor import Prediction, resize_mask
from inference.result import to_pixels, to_result
from tests.inference.stub import MANY, Stub
from utils.errors import UserError
from utils.ignore import IGNORE

NO_MAPS = np.zeros((0, 1, 1), np.float32)


@pytest.fixture
def result():
    """Class `train` over the upper half, `<cat>` in a corner below, a line unsure."""
    mask = np.zeros((40, 60), np.uint8)
    mask[:20], mask[30:, 50:], mask[39] = 2, 1, IGNORE
    prediction = Prediction(mask, (0, 2), (0.25, 0.75), NO_MAPS)
    return to_result(np.full((40, 60, 3), 90, np.uint8), prediction, Stub(("<cat>", "dog", "train")))


def test_classes_have_the_values_of_the_files_or_are_counted_where_there_are_many(result):
    found = [(found.name, found.value, found.score) for found in result.classes]
    assert found == [("train", 3, 0.75), ("<cat>", 1, 0.25)]
    assert result.classes[0].share == 0.5
    assert np.unique(result.mask).tolist() == [0, 1, 3, IGNORE]
    mask, many = np.array([[0, 1, 2]], np.uint8), Stub(MANY)
    of_many = to_result(np.zeros((1, 3, 3), np.uint8), Prediction(mask, (7, 299), (0.5, 0.5), NO_MAPS), many)
    assert {one.name: one.value for one in of_many.classes} == {"class 7": 1, "class 299": 2}
    assert np.array_equal(of_many.mask, mask)
    assert of_many.class_names == ("class 7", "class 299")


def test_a_notebook_gets_image_overlay_and_legend_and_nothing_found_is_drawn_too(result):
    drawn = np.asarray(Image.open(io.BytesIO(result._repr_jpeg_())), dtype=int)
    assert drawn.shape == np.asarray(result.drawn()).shape
    assert abs(drawn[:40, :60] - 90).max() < 30
    assert abs(drawn[:40, 60:120] - np.asarray(result.overlay())).mean() < 20
    assert (drawn[40:] < 60).any()  # letters below
    empty = to_result(np.zeros((5, 5, 3), np.uint8), Prediction(np.zeros((5, 5), np.uint8), (), (), NO_MAPS), Stub())
    assert empty.drawn().height > 5


def test_show_opens_a_viewer_or_fills_the_cell(result, monkeypatch):
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda self: shown.append(self.size))
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    result.show()
    assert shown[0][0] >= 120
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=shown.append))
    result.show()
    assert shown[1] is result


def test_the_overlay_tints_what_the_mask_says(result, tmp_path):
    drawn = np.asarray(result.overlay())
    assert (drawn[5, 5] != 90).any()
    assert (drawn[33, 5] == 90).all()
    assert (np.asarray(result.overlay(0.0)) == 90).all()
    result.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", ("<cat>", "dog", "train")), result.mask)
    with pytest.raises(UserError, match="was made for the classes"):
        read_mask(tmp_path / "mask.png", ("cat",))


def test_any_way_to_give_an_image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    path = tmp_path / "a.png"
    for given in (path, str(path), Image.open(path), pixels, torch.from_numpy(pixels)):
        assert np.array_equal(to_pixels(given), pixels)
    half_clear = Image.new("LA", (2, 2), (100, 128))
    assert np.array_equal(to_pixels(half_clear.convert("La")), to_pixels(half_clear))
    closed = Image.open(tmp_path / "a.png").convert("L")
    closed.close()
    for wrong, says in (
        (pixels / 255, r"float64 values, here 0 to .* --set 'data.range=\[0, 1\]'"),
        (pixels.transpose(2, 0, 1)[:, :2].transpose(1, 2, 0)[..., [0, 1, 2, 0, 1]], r"5 bands.*data\.bands"),
        (torch.rand(3, 40, 50, requires_grad=True), r"\(3, 40, 50\), which looks like \(bands, H, W\).*permute"),
        ([pixels, pixels[:3]], "the image is a list; expected a path"),
        (b"\xff\xd8", "the image is a bytes; expected a path.*PIL.Image.open"),
        (tmp_path, "cannot be opened .*check the path"),
        (closed, "the image cannot be read .*give its path, or an open one"),
        (pixels[:0], r"expected \(H, W\) or \(H, W, bands\)"),
    ):
        with pytest.raises(UserError, match=says):
            to_pixels(wrong)


def test_a_mask_keeps_its_values_and_areas_at_another_size():
    mask = np.zeros((20, 30), np.uint8)
    mask[:10], mask[10:, 15:] = 7, IGNORE
    large = resize_mask(mask, (63, 95))
    assert large.shape == (63, 95)
    assert set(np.unique(large)) == {0, 7, IGNORE}
    for value in (0, 7, IGNORE):
        assert (large == value).mean() == pytest.approx((mask == value).mean(), abs=0.03)
    assert np.array_equal(resize_mask(mask, mask.shape), mask)


def test_the_frame_that_pillow_has_gone_to_is_read(tmp_path):
    frames = [Image.new("L", (30, 20), value) for value in (10, 90, 200)]
    for path in (tmp_path / "a.tif", tmp_path / "a.gif"):
        frames[0].save(path, save_all=True, append_images=frames[1:])
        with Image.open(path) as image:
            for number, value in ((2, 200), (0, 10), (1, 90)):
                image.seek(number)
                assert to_pixels(image).max() == value
