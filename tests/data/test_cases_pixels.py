"""Images that real users had, in ../shared/cases: depths, bands, rotation, formats, letters."""

import shutil

import numpy as np
import pytest
from PIL import Image

from data.check import check, draw
from data.images import UnreadableImage, read_image
from data.index import class_palette, open_index
from data.pixels import AUTO, PixelRule
from inference.result import to_pixels
from tests.data.test_check import settings
from utils.errors import UserError
from utils.visualize import drawable


@pytest.mark.parametrize(
    "name", ["exif6.jpg", "grey16_full.tif", "transparent.png", "x.jfif", "x.avif", "avif_named.jpg"]
)
def test_a_path_an_image_and_an_array_give_the_same_pixels(case, name):
    path = case("60_odd_pictures") / name
    expected = np.array(read_image(path))
    with Image.open(path) as image:
        assert np.array_equal(to_pixels(image), expected)
        image.load()
        assert np.array_equal(to_pixels(image), expected)
        if name not in ("exif6.jpg",):  # an array knows no rotation
            assert np.array_equal(to_pixels(np.asarray(image)), expected)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("grey10_in_16.png", PixelRule((0, 1020))),
        ("grey12_in_16.tif", PixelRule((0, 4080))),
        ("grey16_full.tif", AUTO),
        ("rgb12_in_16.png", PixelRule((0, 4080))),
        ("float01.tif", PixelRule((0, 1))),
        ("float_hounsfield.tif", PixelRule((-1000, 1040))),
        ("rgb_float32.tif", PixelRule((0, 1))),
        ("sentinel_4band16.tif", PixelRule((0, 3060), (3, 2, 1))),
        ("multispectral_6band8.tif", PixelRule(bands=(3, 2, 1))),
    ],
)
def test_the_right_rule_shows_the_reference(case, name, rule):
    folder = case("60_odd_pictures")
    expected = np.array(read_image(folder / "ref.png")).astype(int)
    read = np.array(read_image(folder / name, rule=rule)).astype(int)
    if (read[..., 0] == read[..., 1]).all():
        grey = np.asarray(Image.fromarray(expected.astype(np.uint8)).convert("L")).astype(int)
        expected = np.repeat(grey[..., None], 3, axis=2)
    assert min(np.abs(read - other).mean() for other in (expected, expected[..., ::-1])) < 4  # or in its bands' order


@pytest.mark.parametrize("name", ["float01.tif", "float_hounsfield.tif", "float_nan_nodata.tif", "rgb_float32.tif"])
def test_floats_without_a_range_are_refused_with_the_line_to_add(case, name):
    with pytest.raises(UnreadableImage, match=rf"{name} holds float32 values, here .*--set 'data.range=\["):
        read_image(case("60_odd_pictures") / name)


def test_a_series_of_12_bits_is_refused_and_read_with_its_range(case):
    root = case("61_tiff_12bit")
    assert "--set 'data.range=[0, 4095]'" in check(settings(root)).problems[0]
    with pytest.raises(UserError, match=r"values end at \d+.*--set 'data.range=\[0, 4095\]'"):
        open_index(settings(root).data, "all")
    findings = check(settings(root, range=(0.0, 4095.0)))
    assert (findings.problems, findings.notes) == ([], [])
    record = open_index(settings(root, range=(0.0, 4095.0)).data, "all").records[0]
    assert 60 < np.asarray(record.read_image()).mean() < 200


def test_formats_are_read_whatever_a_file_is_called(case):
    root = case("63_jfif_avif_heic")
    for path in root.rglob("*.*"):
        assert min(read_image(path).size) > 100


def test_letters_of_any_script_are_drawn_or_numbered(case, tmp_path):
    cfg = settings(case("112_unicode_classes"))
    findings = check(cfg)
    draw(findings, class_palette(cfg.data, findings.class_names), tmp_path / "sheet.jpg")
    told = [note for note in findings.notes if "contact_sheet.jpg numbers" in note]
    assert len(told) == any(drawable(name) != name for name in findings.class_names)


def test_bands_and_nan_are_told_by_the_check(case, tmp_path):
    for name in ("sentinel_4band16.tif", "multispectral_6band8.tif", "float_nan_nodata.tif"):
        (tmp_path / "cat").mkdir(exist_ok=True)
        shutil.copy(case("60_odd_pictures") / name, tmp_path / "cat" / name)
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "dog/1.png")
    problems = "\n".join(check(settings(tmp_path)).problems)
    assert "data.bands=[3, 2, 1]" in problems
    assert "(2 images need it)" in problems
    notes = "\n".join(check(settings(tmp_path, range="percentile")).notes)
    assert "images that hold NaN: 1, first" in notes
