"""Images of pages: what is clear, what is coloured, and where names stand."""

import base64
import io
import itertools

import numpy as np
from PIL import Image

from pages.images import LETTER, LINE, heat_layer, image_uri, mask_layer, name_positions
from utils.visualize import bright_palette, heat_colours

NAMELESS = [""] * 254


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def test_a_mask_is_clear_where_there_is_nothing_and_rimmed_where_it_changes():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 2
    mask[17:] = 255
    palette = bright_palette()
    found = pixels(mask_layer("", mask, palette, NAMELESS).uri)
    assert (found[0, :, 3] == 0).all()
    assert found[10, 10].tolist() == [*palette[2].tolist(), 255]
    assert found[5, 10].tolist() == [255, 255, 255, 255]
    assert found[19, 10].tolist() == [128, 128, 128, 128]
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (pixels(mask_layer("", mask, palette, NAMELESS).uri)[..., 3] == 0).sum() == 1


def test_images_are_bounded_and_a_map_goes_from_dark_to_bright():
    assert pixels(image_uri(np.zeros((150, 200, 3), np.uint8), 100)).shape == (75, 100, 4)
    found = pixels(heat_layer("map", np.array([[0.0, 0.5, 1.0, 2.0]])).uri)[0, :, :3].astype(int)
    ends = heat_colours(np.array([0.0, 1.0])).tolist()
    assert [found[0].tolist(), found[2].tolist(), found[3].tolist()] == [ends[0], ends[1], ends[1]]
    assert found[0].sum() < found[1].sum() < found[2].sum()


def test_a_name_stands_well_inside_the_largest_part_and_small_or_ignored_ones_have_none():
    mask = np.zeros((60, 80), np.uint8)
    mask[5:10, 5:10] = 3
    mask[20:60, 40:80] = 3  # touches the rim
    layer = mask_layer("truth", mask, bright_palette(), ["cat", "dog", "owl"], score=0.5)
    ((name, x, y),) = layer.names
    assert (name, [found[0] for found in layer.legend], layer.score) == ("owl", ["owl"], 0.5)
    assert 55 <= x * 80 <= 65
    assert 35 <= y * 60 <= 45
    mask = np.zeros((100, 100), np.uint8)
    mask[0, :3], mask[50:] = 1, 255
    assert name_positions(mask, ["owl"]) == []
    mask[0, :50] = 1
    assert [name for name, _, _ in name_positions(mask, ["owl"])] == ["owl"]


def test_names_are_not_written_on_each_other():
    names = [f"a class {number}" for number in range(40)]
    mask = np.repeat(np.arange(1, 41, dtype=np.uint8), 5)[None].repeat(100, axis=0)  # narrow stripes
    boxes = []
    for name, x, y in name_positions(mask, names):
        size = np.array([LETTER * len(name), LINE])
        corner = np.array([x, y]) * ([1, 0.5] - size)
        boxes.append((corner, corner + size))
    assert len(boxes) > 1
    for (one, end), (other, other_end) in itertools.combinations(boxes, 2):
        assert (end <= other + 2e-3).any() or (other_end <= one + 2e-3).any()  # positions are rounded
