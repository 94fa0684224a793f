import contextlib
import struct
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

import data.images
from data.artifacts import read_mask, write_mask
from data.dataset import TrainingImages, WholeImages
from data.images import BY_SUFFIX, FORMATS, UnreadableImage, frames_of, known_formats, read_image
from data.index import open_index, pixel_rule
from data.mask_values import read_truth
from data.pixels import LIMIT, PixelRule
from data.settings import DataSettings
from data.tree import find_images
from inference.result import to_pixels
from tests.data.test_mask_values import png
from utils.errors import UserError

COLOURS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
ALPHA = np.linspace(0, 255, 35).astype(np.uint8).reshape(5, 7)
INDICES = np.arange(35, dtype=np.uint8).reshape(5, 7) % 8
PALETTE = np.random.default_rng(1).integers(0, 256, (8, 3), dtype=np.uint8)
GREY = np.repeat(COLOURS[..., :1], 3, axis=2)


def saved(image: Image.Image, path: Path, **options) -> np.ndarray:
    image.save(path, **options)
    result = read_image(path)
    assert result.mode == "RGB"
    return np.array(result)


def unreadable(message: str, path: Path, *given, **options) -> None:
    with pytest.raises(UnreadableImage, match=message):
        read_image(path, *given, **options)


def write_deep(path: Path, values: np.ndarray, orientation: int) -> None:
    """Sixteen bits, as OpenCV and tifffile write them, with an orientation."""
    if path.suffix == ".tif":
        tifffile = pytest.importorskip("tifffile", reason="needs tifffile: pip install -r requirements-extras.txt")
        tags = [(0x0112, "H", 1, orientation, True)]
        tifffile.imwrite(path, values, photometric="rgb" if values.ndim == 3 else "minisblack", extratags=tags)
        return
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    content = cv2.imencode(".png", values[..., ::-1])[1].tobytes()
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    path.write_bytes(content[:33] + chunk + content[33:])


def over_white(colours: np.ndarray) -> np.ndarray:
    share = ALPHA[..., None] / 255
    return colours * share + 255 * (1 - share)


def with_palette() -> Image.Image:
    image = Image.fromarray(INDICES)
    image.putpalette(PALETTE.tobytes())
    return image


def with_white(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where[..., None], 255, values)


UNIQUE = (COLOURS[2, 3] == COLOURS).all(axis=2)


def test_every_mode_is_its_colours_with_what_is_transparent_over_white(tmp_path):
    for image, options, expected in (
        (Image.fromarray(COLOURS), {}, COLOURS),
        (Image.fromarray(COLOURS[..., 0]), {}, GREY),
        (with_palette(), {}, PALETTE[INDICES]),
        (with_palette(), {"transparency": 3}, with_white(PALETTE[INDICES], INDICES == 3)),
        (Image.fromarray(COLOURS), {"transparency": tuple(COLOURS[2, 3].tolist())}, with_white(COLOURS, UNIQUE)),
        (Image.fromarray(np.dstack([COLOURS, ALPHA])), {}, over_white(COLOURS)),
        (Image.fromarray(np.dstack([COLOURS[..., 0], ALPHA]), mode="LA"), {}, over_white(GREY)),
    ):
        difference = np.abs(saved(image, tmp_path / "a.png", **options) - expected.astype(float)).max()
        assert difference <= (1 if image.mode in ("RGBA", "LA") else 0)


UPRIGHT = dict.fromkeys((0, 1, 9, 77), lambda pixels: pixels)  # 1, and values that mean nothing
UPRIGHT |= {2: np.fliplr, 4: np.flipud, 6: lambda pixels: np.rot90(pixels, -1), 8: np.rot90}
UPRIGHT |= {3: lambda pixels: np.rot90(pixels, 2), 5: lambda pixels: pixels.transpose(1, 0, 2)}
UPRIGHT[7] = lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2)


def test_exif_rotation_is_applied_and_malformed_exif_does_not_cost_the_image_or_its_rotation(tmp_path):
    for orientation, turned in UPRIGHT.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        read = saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif)
        assert np.array_equal(read, turned(COLOURS)), orientation
        write_mask(tmp_path / "mask.png", INDICES)
        Image.open(tmp_path / "mask.png").save(tmp_path / "mask.png", exif=exif)
        for read in (read_mask(tmp_path / "mask.png"), read_truth(tmp_path / "mask.png")):
            assert np.array_equal(read, turned(INDICES[..., None])[..., 0]), orientation
    # Two entries: orientation 6, and ImageLength as text where a number is due.
    entries = struct.pack("<HHLL", 0x0112, 3, 1, 6) + struct.pack("<HHL4s", 0x0101, 2, 4, b"abc\0")
    exif = b"Exif\0\0II*\0" + struct.pack("<L", 8) + struct.pack("<H", 2) + entries + struct.pack("<L", 0)
    assert np.array_equal(saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif), UPRIGHT[6](COLOURS))
    noise = b"Exif\0\0" + bytes(range(60))
    assert np.array_equal(saved(Image.fromarray(COLOURS), tmp_path / "a.png", exif=noise), COLOURS)


def test_images_of_sixteen_bits_are_turned_upright(tmp_path):
    for suffix, values in [("png", COLOURS), ("tif", COLOURS[..., 0]), ("tif", COLOURS)]:
        for orientation, turned in UPRIGHT.items():
            write_deep(tmp_path / f"a.{suffix}", values.astype(np.uint16) * 257, orientation)
            expected = turned(COLOURS if values.ndim == 3 else GREY)
            assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), expected), orientation


def test_truncated_images_and_what_is_no_image_are_named(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name in ("half.jpg", "half.png", "half.tif", "half.webp", "half.bmp", "half.gif"):
        noise.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        for share in (0.0, 0.02, 0.5, 0.9):
            (tmp_path / name).write_bytes(content[: int(len(content) * share)])
            unreadable(name, tmp_path / name)
    (tmp_path / "notes.jpg").write_text("not an image")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg", "EPS")  # a program, which Pillow would give to Ghostscript
    messages = {"gone.jpg": r"gone\.jpg does not exist", "notes.jpg": r"notes\.jpg is not an image", ".": tmp_path.name}
    for name, message in {**messages, "a.jpg": r"a\.jpg is not an image in a known format"}.items():
        unreadable(message, tmp_path / name)


def test_an_image_of_more_pixels_than_the_limit_is_refused_and_a_bomb_without_being_unpacked(tmp_path, monkeypatch):
    for suffix in ("png", "jpg", "gif", "tif", "webp", "bmp"):
        path = tmp_path / f"large.{suffix}"
        Image.new("RGB", (40, 30)).save(path)
        monkeypatch.setenv(LIMIT, "1200")
        assert read_image(path).size == (40, 30)
        monkeypatch.setenv(LIMIT, "1199")
        message = rf"large\.{suffix} is of 40 x 30 pixels, above data.max_pixels \(1199\)"
        for least_side in (0, 8):
            unreadable(message, path, least_side)
    # A few hundred bytes that say they are 10 gigapixels.
    (tmp_path / "bomb.png").write_bytes(png(100_000, 100_000, 8, 2, bytes(9999)))
    unreadable(r"bomb\.png is of far too many pixels, above data.max_pixels", tmp_path / "bomb.png")


@pytest.mark.long
def test_the_limit_is_that_of_the_settings_and_of_loader_processes(make_voc, monkeypatch):
    monkeypatch.setenv(LIMIT, "1")
    root = make_voc(2)
    refused = pytest.raises(UserError, match=r"data.max_pixels")
    for most, expected in ((1200, contextlib.nullcontext()), (1199, refused)):
        index = open_index(DataSettings(kind="voc", root=str(root), max_pixels=most), "train")
        loader = DataLoader(WholeImages(index), None, num_workers=1, multiprocessing_context="spawn")
        with expected:
            assert len(list(loader)) == 2


def test_find_images_goes_deep_sorts_and_leaves_hidden_files_and_others_out(tmp_path, caplog):
    wanted = ["a/deep/z.PNG", "a/y.jpeg", "ß ü.jpg", "x.webp"]
    others = [".hidden.jpg", ".folder/a.jpg", "a/notes.txt", "a/jpg", "x.webp.part"]
    for name in wanted + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "a/link.jpg").symlink_to("gone.jpg")
    assert find_images(tmp_path) == sorted(tmp_path / name for name in wanted)
    assert "links to nothing are left out: 1, first a/link.jpg" in caplog.text
    hidden_root = tmp_path / ".folder"
    assert find_images(hidden_root) == [hidden_root / "a.jpg"]


LEFT_OUT = "EPS WMF BUFR GRIB HDF5 MPEG IPTC MCIDAS IMT XVTHUMB SPIDER BLP CUR DCX DDS FLI FTEX GBR ICNS ICO IM MSP PCD"


def test_every_format_of_pillow_is_read_or_left_out_for_a_reason():
    """A new Pillow that reads more fails here, so that somebody decides."""
    known_formats()
    assert set(Image.OPEN) - {*LEFT_OUT.split(), "PIXAR", "XBM", "XPM", "MPO"} <= {*FORMATS, *BY_SUFFIX}
    for name, suffixes in (FORMATS | BY_SUFFIX).items():
        registered = {suffix for suffix, owner in Image.registered_extensions().items() if owner == name}
        assert registered <= set(suffixes), name


@pytest.mark.parametrize("suffix", ["jfif", "jp2", "j2k", "ppm", "tga", "pcx", "qoi", "sgi", "dib", "avif", "heic"])
def test_further_formats(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif")
    name = {"jfif": "JPEG", "heic": "HEIF", "j2k": "JPEG2000", "jp2": "JPEG2000"}.get(suffix, suffix.upper())
    known_formats()
    pixels = np.full((32, 48, 3), (200, 40, 90), np.uint8)
    try:
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}", format=name)
    except (KeyError, ValueError):
        pytest.skip(f"this Pillow writes no {name}")
    assert find_images(tmp_path) == [tmp_path / f"a.{suffix}"]
    assert np.abs(np.array(read_image(tmp_path / f"a.{suffix}")).astype(int) - pixels).max() < 12


def test_a_format_without_a_signature_needs_its_suffix_and_one_of_a_missing_package_is_named(tmp_path, monkeypatch):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.tga")
    assert read_image(tmp_path / "a.tga").size == (9, 9)
    (tmp_path / "a.tga").rename(tmp_path / "a.png")
    unreadable("not an image in a known format", tmp_path / "a.png")
    monkeypatch.setattr(data.images, "known_formats", lambda: ("PNG", "JPEG"))
    for brand, package in ((b"heic", "pip install pillow-heif"), (b"avif", "Pillow 11.3")):
        (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(40))
        unreadable(package, tmp_path / "a.jpg")


def test_a_tiff_of_many_bands_is_named_where_it_is_truncated_or_its_package_missing(tmp_path, monkeypatch):
    tifffile, path, rule = pytest.importorskip("tifffile"), tmp_path / "a.tif", PixelRule(bands=(3, 2, 1))
    values = np.random.default_rng(0).integers(0, 60000, (40, 40, 6)).astype(np.uint16)
    tifffile.imwrite(path, values, photometric="minisblack", planarconfig="contig")
    content = path.read_bytes()
    for share in (0.02, 0.3, 0.9):
        path.write_bytes(content[: int(len(content) * share)])
        unreadable(r"a\.tif", path, rule=rule)
    path.write_bytes(content)
    monkeypatch.setitem(sys.modules, "tifffile", None)
    unreadable(r"a\.tif is a TIFF .*pip install tifffile imagecodecs", path, rule=rule)


def test_frames_of_a_file_are_counted(tmp_path):
    first, *others = (Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=others)
    first.save(tmp_path / "b.png")
    assert [frames_of(tmp_path / name) for name in ("a.gif", "b.png", "gone.png")] == [3, 1, 1]


EIGHT = np.random.default_rng(0).integers(0, 256, (24, 30, 3)).astype(np.uint8)
REFLECTANCE = np.dstack([EIGHT[..., 0], EIGHT[..., ::-1]]).astype(np.uint16) * 39


@pytest.mark.parametrize(
    ("values", "photometric", "limits", "bands"),
    [(REFLECTANCE, "minisblack", (0.0, 9945.0), (4, 3, 2)), ((EIGHT / 255).astype(np.float32), "rgb", (0.0, 1.0), ())],
)
def test_training_whole_images_and_inference_read_by_one_rule(tmp_path, values, photometric, limits, bands):
    """Data that are not of 8 bits, made from one image, give its pixels everywhere."""
    tifffile = pytest.importorskip("tifffile")
    (tmp_path / "cat").mkdir()
    tifffile.imwrite(tmp_path / "cat/1.tif", values, photometric=photometric, planarconfig="contig")
    settings = DataSettings(kind="folder", root=str(tmp_path), range=limits, bands=bands)
    index = open_index(settings, "all")
    whole = WholeImages(index)[0]["image"].permute(1, 2, 0).numpy()
    assert np.abs(whole.astype(int) - EIGHT).max() <= 1
    seen = []
    TrainingImages(index, lambda image, mask, random: seen.append(np.array(image)) or {})[0, 0]
    assert np.array_equal(seen[0], whole)
    assert np.array_equal(to_pixels(tmp_path / "cat/1.tif", pixel_rule(settings)), whole)
    assert index.fingerprint() != open_index(replace(settings, range="percentile"), "all").fingerprint()
    with pytest.raises(UserError, match=r"--set"):
        next(iter(WholeImages(open_index(DataSettings(kind="folder", root=str(tmp_path)), "all"))))
