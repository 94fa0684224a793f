"""What values become as 8-bit RGB: one rule for a data set, whichever way an image comes."""

import numpy as np
import pytest
from PIL import Image

from data.images import UnreadableImage, array_to_rgb, read_image
from data.inspection import depth_of, series_problem
from data.pixels import AUTO, NeedsSetting, PixelRule, Values, look_of, range_line, to_rgb
from inference.result import to_pixels

tifffile = pytest.importorskip("tifffile")
RAMP = np.linspace(0, 1, 48).reshape(6, 8)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (np.rint(RAMP * 4095).astype(np.uint16), PixelRule((0, 4095))),
        (np.rint(RAMP * 2000 - 1000).astype(np.int16), PixelRule((-1000, 1000))),
        (RAMP.astype(np.float32), PixelRule((0, 1))),
        ((RAMP * 5 - 2).astype(np.float64), PixelRule((-2, 3))),
        (np.rint(RAMP * 65535).astype(np.uint16), AUTO),
        (np.rint(RAMP * 70000).astype(np.uint32), PixelRule((0, 70000))),
    ],
)
def test_a_file_an_array_and_an_image_give_the_same_pixels(tmp_path, values, rule):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values)
    expected = np.repeat(np.rint(RAMP * 255)[..., None], 3, axis=2)
    read = np.array(read_image(path, rule=rule))
    assert np.abs(read.astype(int) - expected).max() <= 1
    assert np.array_equal(to_pixels(path, rule), read)
    assert np.array_equal(to_pixels(values, rule), read)
    if values.dtype != np.float64:  # which Pillow does not read
        assert np.array_equal(to_pixels(Image.open(path), rule), read)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_are_counted_from_one_and_give_red_green_and_blue(tmp_path, planar, dtype):
    bands = np.stack([np.full((4, 5), 10 * number, dtype) for number in range(1, 7)])
    array = np.moveaxis(bands, 0, -1) if planar == "contig" else bands
    tifffile.imwrite(tmp_path / "a.tif", array, planarconfig=planar, photometric="minisblack")
    rule = PixelRule((0, 255), (6, 1, 3))
    assert np.array(read_image(tmp_path / "a.tif", rule=rule))[0, 0].tolist() == [60, 10, 30]
    assert np.array(read_image(tmp_path / "a.tif", rule=PixelRule((0, 255), (2,))))[0, 0].tolist() == [20, 20, 20]
    with pytest.raises(NeedsSetting, match=r"a\.tif has 6 bands.*--set 'data.bands=\[3, 2, 1\]'"):
        read_image(tmp_path / "a.tif", rule=PixelRule((0, 255)))
    with pytest.raises(UnreadableImage, match=r"asks for band 7; name bands in 1\.\.6"):
        read_image(tmp_path / "a.tif", rule=PixelRule((0, 255), (7,)))


def test_the_images_of_a_file_are_its_bands_where_bands_ask_for_more(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.stack([np.full((4, 5), n, np.uint8) for n in (50, 60, 70)]), photometric="minisblack"
    )
    assert np.array(read_image(tmp_path / "a.tif", rule=PixelRule(bands=(3, 1, 2))))[0, 0].tolist() == [70, 50, 60]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_have_the_range_that_the_file_says(tmp_path, bits):
    pytest.importorskip("imagecodecs")
    values = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    try:
        tifffile.imwrite(tmp_path / "a.tif", values, bitspersample=bits)
    except ValueError:
        pytest.skip("this tifffile writes no packed bits")
    assert np.abs(np.array(read_image(tmp_path / "a.tif"))[..., 0] - RAMP * 255).max() <= 1


def test_sixteen_bits_in_colour_lose_nothing(tmp_path):
    """Pillow would give their upper 8 bits: nothing of 12."""
    import cv2

    values = np.random.default_rng(0).integers(0, 4096, (6, 8, 3)).astype(np.uint16)
    for suffix in ("png", "ppm", "tif"):
        cv2.imwrite(str(tmp_path / f"a.{suffix}"), values[..., ::-1])
        read = np.array(read_image(tmp_path / f"a.{suffix}", rule=PixelRule((0, 4095))))
        assert np.abs(read - values / 4095 * 255).max() <= 0.51, suffix
        assert np.array_equal(to_pixels(Image.open(tmp_path / f"a.{suffix}"), PixelRule((0, 4095))), read), suffix


def test_alpha_of_sixteen_bits_is_laid_over_white():
    array = np.array([[[0, 0, 0, 65535], [0, 0, 0, 0], [65535, 0, 0, 32768]]], np.uint16)
    assert array_to_rgb(array)[0].tolist() == [[0, 0, 0], [255, 255, 255], [255, 127, 127]]


def test_percentiles_are_of_each_image_and_nan_is_dark():
    values = np.arange(1000, dtype=np.float32).reshape(20, 50)
    values[0, 0] = np.nan
    pixels = to_rgb(Values(values[..., None], 0), PixelRule("percentile"), "x")[..., 0]
    assert pixels[0, 0] == 0
    assert pixels.max() == 255
    assert 120 <= pixels[10, 0] <= 135
    assert (
        to_rgb(Values(np.full((3, 3, 1), 7.0), 0), PixelRule("percentile"), "x").max() == 0
    )  # flat, and no division by zero


@pytest.mark.parametrize("value", [np.nan, -np.inf, np.inf])
def test_what_is_no_number_is_an_end_of_the_range(value):
    pixel = to_rgb(Values(np.full((1, 1, 1), value), 0), PixelRule((-5, 5)), "x")[0, 0, 0]
    assert pixel == (255 if value > 0 else 0)


def test_the_line_to_add_covers_what_was_found():
    assert range_line(0, 0.97) == "--set 'data.range=[0, 1]'"
    assert range_line(3, 4000) == "--set 'data.range=[0, 4095]'"
    assert range_line(-1.5, 3.2) == "--set 'data.range=[-2, 4]'"
    assert range_line(0, 1.3) == "--set 'data.range=[0, 2]'"


@pytest.mark.parametrize(
    ("highest", "refused"), [(255, True), (4095, True), (32767, True), (32768, False), (65535, False)]
)
def test_a_series_of_fewer_bits_than_its_files_is_refused(tmp_path, highest, refused):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.rint(RAMP * highest / (number + 1)).astype(np.uint16))
    depths = [(path, depth_of(path)) for path in sorted(tmp_path.glob("*.tif"))]
    problem = series_problem([(path, depth) for path, depth in depths if depth], "the data")
    assert bool(problem) == refused
    if refused:
        assert f"--set 'data.range=[0, {2 ** highest.bit_length() - 1}]'" in problem


def test_images_of_eight_bits_have_no_depth(tmp_path):
    for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK"):
        Image.new(mode, (4, 4)).save(tmp_path / f"{mode}.tif")
        assert depth_of(tmp_path / f"{mode}.tif") is None


@pytest.mark.parametrize(("level", "look"), [(5, "nearly black"), (252, "nearly white"), (120, "flat")])
def test_images_that_show_nothing(level, look):
    assert look_of(np.full((40, 40, 3), level, np.uint8)) == look
    assert look_of(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)) == ""
