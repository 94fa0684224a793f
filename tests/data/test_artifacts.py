from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data.artifacts
from data.artifacts import Seed, read_mask, read_seed, seed_size, voc_palette, write_mask, write_seed
from data.pixels import LIMIT
from tests.project import refused
from utils.ignore import IGNORE

NAMES = ("猫", 'b\\n"', *(f"class {number}" for number in range(30)))


def make_seed(height: int = 35, width: int = 50, classes: tuple[int, ...] = (3, 17)) -> Seed:
    maps = np.random.default_rng(0).random((len(classes), *seed_size(height, width)), np.float32)
    return Seed(np.array(classes, np.int64), maps, (height, width))


def write_both(folder: Path, names: Sequence[str] = ()) -> tuple[Path, Path]:
    write_seed(folder / "a.npz", make_seed(), names)
    write_mask(folder / "a.png", np.eye(5) * 18, class_names=names)
    return folder / "a.npz", folder / "a.png"


def test_seeds_cover_the_image_and_come_back_within_half_a_step_and_clipped(tmp_path):
    for side in range(1, 50):
        rows, columns = seed_size(side, 50 - side)
        assert 4 * rows >= side > 4 * (rows - 1)
        assert 4 * columns >= 50 - side > 4 * (columns - 1)
    for classes in ((), (0,), (3, 17)):
        seed = make_seed(classes=classes)
        write_seed(tmp_path / "deep/er/a.npz", seed)
        read = read_seed(tmp_path / "deep/er/a.npz")
        assert (read.size, read.classes.tolist()) == (seed.size, list(classes))
        assert read.maps.dtype == np.float32
        assert read.maps.shape == seed.maps.shape
        assert np.abs(read.maps - seed.maps).max(initial=0) <= 0.5 / 255 + 1e-7
        maps = np.array([[[0.0, 1.0], [-0.5, 1.5]]], np.float32)
        write_seed(tmp_path / "a.npz", Seed(np.array([0]), maps, (8, 8)))
        assert read_seed(tmp_path / "a.npz").maps.tolist() == [[[0.0, 1.0], [0.0, 1.0]]]


def test_what_does_not_fit_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="do not fit"):
        write_seed(tmp_path / "a.npz", Seed(np.array([0]), np.zeros((1, 9, 9), np.float32), (35, 50)))
    for value in (-1, 256):
        with pytest.raises(ValueError, match=r"0\.\.255"):
            write_mask(tmp_path / "a.png", np.array([[0, value]]))
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_and_those_of_another_kind_are_named_and_no_more_is_unpacked_than_a_seed_takes(tmp_path):
    write_seed(tmp_path / "a.npz", make_seed(80, 100))
    write_mask(tmp_path / "a.png", np.random.default_rng(0).integers(0, 21, (40, 40)))
    seed, mask = ((tmp_path / name).read_bytes() for name in ("a.npz", "a.png"))
    seeds = [seed[:length] for length in range(0, len(seed), len(seed) // 20)]
    for place in range(len(seed) // 4, len(seed) * 3 // 4, len(seed) // 40):  # in the middle of the maps
        seeds.append(seed[:place] + bytes([seed[place] ^ 0x55]) + seed[place + 1 :])
    lengths = [*range(0, mask.index(b"IDAT") + 200, 50), mask.index(b"IEND") // 2]
    for variant in seeds:
        (tmp_path / "a.npz").write_bytes(variant)
        refused(r"a\.npz is damaged", read_seed, tmp_path / "a.npz")
    for variant in (b"class", *(mask[:length] for length in lengths)):
        (tmp_path / "a.png").write_bytes(variant)
        refused(r"mask .*a\.png cannot be decoded", read_mask, tmp_path / "a.png")
    for changed, reason in (
        ({"classes": None}, ""),
        ({"maps": np.zeros((2, 9, 13), np.uint8)}, "'maps' is uint8"),
        ({"maps": np.zeros((1, 9, 12), np.uint8)}, "'maps' is uint8"),
        ({"maps": np.zeros((1, 9, 13), np.float32)}, "'maps' is float32"),
        ({"maps": np.zeros((1, 5000, 5000), np.uint8)}, "'maps' unpacks to 25000128 bytes, expected at most 117"),
        ({"classes": np.zeros(1_000_000, np.int64)}, "'classes' unpacks to"),
        ({"classes": np.array([None])}, "Object arrays cannot be loaded"),
        ({"classes": np.array([-1])}, r"classes \[-1\]"),
        ({"classes": np.array([255])}, r"classes \[255\]"),
        ({"classes": np.array([[0]])}, r"'classes' is int64 \(1, 1\)"),
        ({"size": np.array([35])}, "'size' is int64"),
        ({"size": np.array([-35, 50])}, "an image of 50 x -35 pixels"),
        ({"size": np.array([35.0, 50.0])}, "'size' is float64"),
        ({"size": np.array(["35", "50"])}, "'size' is <U2"),
    ):
        np.savez_compressed(tmp_path / "a.npz", **ARRAYS)
        read_seed(tmp_path / "a.npz")
        arrays = {name: values for name, values in (ARRAYS | changed).items() if values is not None}
        np.savez_compressed(tmp_path / "a.npz", **arrays)
        refused(rf"a\.npz is damaged or of another kind \(\w+: .*{reason}", read_seed, tmp_path / "a.npz")


ARRAYS = {"classes": np.array([0]), "maps": np.zeros((1, 9, 13), np.uint8), "size": np.array([35, 50])}


def test_seeds_and_masks_of_too_large_images_are_refused(tmp_path, monkeypatch):
    seed, mask = write_both(tmp_path)
    write_mask(mask, np.zeros((35, 50)))
    monkeypatch.setenv(LIMIT, "1749")
    refused(r"a\.npz is of 50 x 35 pixels, above data.max_pixels \(1749\)", read_seed, seed)
    refused(r"a\.png is of 50 x 35 pixels, above data.max_pixels \(1749\)", read_mask, mask)


def test_masks_keep_every_value_with_any_palette_and_that_of_the_devkit(tmp_path):
    for count in (0, 1, 2, 4, 16, 21, 256):
        mask = np.arange(256).reshape(16, 16)
        write_mask(tmp_path / "deep/a.png", mask, np.full((count, 3), 77) if count else None)
        read = read_mask(tmp_path / "deep/a.png")
        assert read.dtype == np.uint8
        assert np.array_equal(read, mask)
        with Image.open(tmp_path / "deep/a.png") as image:
            colours = np.array(image.convert("RGB")).reshape(256, 3)
        assert (colours[:count] == 77).all()
        assert np.array_equal(colours[count:], voc_palette()[count:])
    # Bit 0 of a value is the top bit of red, bit 1 of green, bit 2 of blue, and so on downwards.
    palette = voc_palette()
    # background black, aeroplane, bicycle, person, tvmonitor, and the cream of the void: the devkit's VOClabelcolormap
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert palette[[0, 1, 2, 15, 20, IGNORE]].tolist() == expected
    assert len(np.unique(palette, axis=0)) == len(palette) == 256


def test_names_change_no_array_and_no_pixel_and_artifacts_of_other_classes_are_refused(tmp_path, monkeypatch):
    seed, mask = write_both(tmp_path / "with", NAMES)
    plain_seed, plain_mask = write_both(tmp_path / "without")
    assert np.array_equal(read_seed(seed, NAMES).maps, read_seed(plain_seed).maps)
    assert np.array_equal(read_mask(mask, list(NAMES)), read_mask(plain_mask))
    # Files without names are read for any classes that can be meant.
    assert read_seed(plain_seed, NAMES).classes.tolist() == [3, 17]
    assert read_mask(plain_mask, ("one",)).max() == 18
    refused(r"a\.npz has class 17; the data has classes 0\.\.1: cat, dog", read_seed, plain_seed, ("cat", "dog"))
    for names, message in (
        ((*NAMES, "new"), r"class 9, \.\.\. \(32 in all\); expected .* \(33 in all\); run train\.py without"),
        (NAMES[1:], r"\(32 in all\); expected .* \(31 in all\)"),
        (NAMES[::-1], r"\(32 in all\), in this order; expected class 29, .*, in this order;"),
    ):
        seed, mask = write_both(tmp_path, NAMES)
        refused(rf"seed file .*a\.npz was made for the classes 猫, .*{message}", read_seed, seed, names)
        refused(rf"mask .*a\.png was made for the classes 猫, .*{message}", read_mask, mask, names)
    for text in (" ", "3", '["a", 1]', "[" * 5000, "\\xff"):
        monkeypatch.setattr(data.artifacts, "_names_as_text", lambda names, text=text: text)
        seed, mask = write_both(tmp_path, NAMES)
        refused(r"a\.npz is damaged", read_seed, seed, NAMES)
        refused(r"a\.png cannot be decoded", read_mask, mask, NAMES)
