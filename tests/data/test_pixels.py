import cv2
import numpy as np
import pytest
from PIL import Image

from data.images import UnreadableImage, array_to_rgb, read_image
from data.index import open_index
from data.inspection import depth_of, series_problem
from data.pixels import AUTO, DRAWN, NeedsSetting, PixelRule, Values, look_of, range_line, to_rgb
from data.settings import DataSettings
from inference.result import to_pixels

tifffile = pytest.importorskip("tifffile")
RAMP = np.linspace(0, 1, 48).reshape(6, 8)


def test_a_file_an_array_and_an_image_give_the_same_pixels(tmp_path):
    for values, rule in (
        (np.rint(RAMP * 4095).astype(np.uint16), PixelRule((0, 4095))),
        (np.rint(RAMP * 2000 - 1000).astype(np.int16), PixelRule((-1000, 1000))),
        (RAMP.astype(np.float32), PixelRule((0, 1))),
        ((RAMP * 5 - 2).astype(np.float64), PixelRule((-2, 3))),
        (np.rint(RAMP * 65535).astype(np.uint16), AUTO),
        (np.rint(RAMP * 70000).astype(np.uint32), PixelRule((0, 70000))),
    ):
        path = tmp_path / "a.tif"
        tifffile.imwrite(path, values)
        read = np.array(read_image(path, rule=rule))
        assert np.abs(read.astype(int) - np.rint(RAMP * 255)[..., None]).max() <= 1
        others = [path, values]
        if values.dtype != np.float64:  # which Pillow does not read
            others.append(Image.open(path))
        assert all(np.array_equal(to_pixels(other, rule), read) for other in others)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_are_counted_from_one_and_give_red_green_and_blue(tmp_path, planar, dtype):
    bands = np.stack([np.full((4, 5), 10 * number, dtype) for number in range(1, 7)])
    array = np.moveaxis(bands, 0, -1) if planar == "contig" else bands
    tifffile.imwrite(tmp_path / "a.tif", array, planarconfig=planar, photometric="minisblack")
    for given, pixel in (((6, 1, 3), [60, 10, 30]), ((2,), [20, 20, 20])):
        assert np.array(read_image(tmp_path / "a.tif", rule=PixelRule((0, 255), given)))[0, 0].tolist() == pixel
    with pytest.raises(NeedsSetting, match=r"a\.tif has 6 bands.*--set 'data.bands=\[3, 2, 1\]'"):
        read_image(tmp_path / "a.tif", rule=PixelRule((0, 255)))
    with pytest.raises(UnreadableImage, match=r"asks for band 7; name bands in 1\.\.6"):
        read_image(tmp_path / "a.tif", rule=PixelRule((0, 255), (7,)))


def test_the_images_of_a_file_are_its_bands_where_bands_ask_for_more(tmp_path):
    images = np.stack([np.full((4, 5), n, np.uint8) for n in (50, 60, 70)])
    tifffile.imwrite(tmp_path / "a.tif", images, photometric="minisblack")
    assert np.array(read_image(tmp_path / "a.tif", rule=PixelRule(bands=(3, 1, 2))))[0, 0].tolist() == [70, 50, 60]


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_have_the_range_that_the_file_says(tmp_path, bits):
    pytest.importorskip("imagecodecs")
    try:
        tifffile.imwrite(tmp_path / "a.tif", np.rint(RAMP * (2**bits - 1)).astype(np.uint16), bitspersample=bits)
    except ValueError:
        pytest.skip("this tifffile writes no packed bits")
    assert np.abs(np.array(read_image(tmp_path / "a.tif"))[..., 0] - RAMP * 255).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "ppm", "tif"])
def test_sixteen_bits_in_colour_lose_nothing(tmp_path, suffix):
    """Pillow would give their upper 8 bits: nothing of 12."""
    values = np.random.default_rng(0).integers(0, 4096, (6, 8, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), values[..., ::-1])
    read = np.array(read_image(tmp_path / f"a.{suffix}", rule=PixelRule((0, 4095))))
    assert np.abs(read - values / 4095 * 255).max() <= 0.51
    assert np.array_equal(to_pixels(Image.open(tmp_path / f"a.{suffix}"), PixelRule((0, 4095))), read)


def test_alpha_lies_over_white_percentiles_are_of_each_image_and_what_is_no_number_is_an_end_of_the_range():
    array = np.array([[[0, 0, 0, 65535], [0, 0, 0, 0], [65535, 0, 0, 32768]]], np.uint16)
    assert array_to_rgb(array)[0].tolist() == [[0, 0, 0], [255, 255, 255], [255, 127, 127]]
    values = np.arange(1000, dtype=np.float32).reshape(20, 50)
    values[0, 0] = np.nan
    pixels = to_rgb(Values(values[..., None], 0), PixelRule("percentile"), "x")[..., 0]
    assert (pixels[0, 0], pixels.max()) == (0, 255)
    assert 120 <= pixels[10, 0] <= 135
    flat = to_rgb(Values(np.full((3, 3, 1), 7.0), 0), PixelRule("percentile"), "x")
    assert flat.max() == 0  # and no division by zero
    for value, pixel in ((np.nan, 0), (-np.inf, 0), (np.inf, 255)):
        assert to_rgb(Values(np.full((1, 1, 1), value), 0), PixelRule((-5, 5)), "x")[0, 0, 0] == pixel


HIGHEST = {255: True, 4095: True, 32767: True, 32768: False, 65535: False}


@pytest.mark.parametrize(("highest", "is_refused"), HIGHEST.items())
def test_a_series_of_fewer_bits_than_its_files_is_refused_with_the_line_to_add(tmp_path, highest, is_refused):
    for number in range(3):
        tifffile.imwrite(tmp_path / f"{number}.tif", np.rint(RAMP * highest / (number + 1)).astype(np.uint16))
    depths = [depth_of(path) for path in sorted(tmp_path.glob("*.tif"))]
    problem = series_problem([depth for depth in depths if depth], "the data")
    assert (f"--set 'data.range=[0, {2 ** highest.bit_length() - 1}]'" in problem) == bool(problem) == is_refused
    limits = {(0, 0.97): "0, 1", (3, 4000): "0, 4095", (-1.5, 3.2): "-2, 4", (0, 1.3): "0, 2", (1, 249.7): "0, 255"}
    for ends, line in limits.items():
        assert range_line(*ends) == f"--set 'data.range=[{line}]'"


def test_images_of_twelve_bits_among_those_of_sixteen_are_told_and_those_of_eight_have_no_depth(tmp_path, caplog):
    for number, highest in enumerate((4095, 65535, 60000)):
        (tmp_path / "cat").mkdir(exist_ok=True)
        tifffile.imwrite(tmp_path / f"cat/{number}.tif", np.rint(RAMP * highest).astype(np.uint16))
    open_index(DataSettings(kind="folder", root=str(tmp_path)), "all")
    assert "16 bits with no value above 4095, while others reach 65535: 1, first" in caplog.text
    for mode in ("L", "RGB", "RGBA", "P", "1", "CMYK"):
        Image.new(mode, (4, 4)).save(tmp_path / "a.tif")
        assert depth_of(tmp_path / "a.tif") is None
    for level, look in ((5, "nearly black"), (252, "nearly white"), (120, "flat")):
        assert look_of(np.full((40, 40, 3), level, np.uint8)) == look
    assert look_of(np.repeat(np.indices((40, 40))[:1] // 20 * 255, 3, axis=0).T.astype(np.uint8)) == DRAWN
    assert look_of(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)) == ""


def test_what_a_geotiff_calls_no_data_counts_for_nothing(tmp_path):
    kinds = [("uint16", 65535, 1), ("int16", -9999, 1), ("float32", -9999, 1), ("uint16", 65535, 4)]
    for dtype, no_data, bands in kinds:
        values = np.rint(RAMP * 3000).astype(dtype)
        values[:3] = no_data
        kind = {"photometric": "minisblack", "extratags": [(42113, 2, 0, f"{no_data}", True)]}
        if bands > 1:
            tifffile.imwrite(tmp_path / "a.tif", np.stack([values] * bands, axis=2), planarconfig="contig", **kind)
        else:
            tifffile.imwrite(tmp_path / "a.tif", values, **kind)
        depth = depth_of(tmp_path / "a.tif", (1,))
        assert (depth.low, depth.high, depth.has_nan) == (values[3:].min(), 3000, True)
        pixels = np.asarray(read_image(tmp_path / "a.tif", rule=PixelRule("percentile", (1,))))
        assert (pixels[:3].max(), pixels.max()) == (0, 255)
