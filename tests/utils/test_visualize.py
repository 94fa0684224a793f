"""Drawing: what is coloured, what is left alone, sizes, and letters of any script."""

import numpy as np
import pytest
from PIL import ImageFont

import utils.visualize
from utils.ignore import IGNORE
from utils.visualize import MAX_ROWS, Tile, bright_palette, contact_sheet, drawable, fit, heatmap, legend, overlay

PALETTE = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 220)], np.uint8)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


@pytest.fixture
def mask() -> np.ndarray:
    """Class 1 left above, class 2 right of it, touching; an ignored corner."""
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:30], mask[10:30, 30:60], mask[45:, 60:] = 1, 2, IGNORE
    return mask


def test_an_overlay_tints_and_outlines_classes_and_draws_what_is_ignored_in_greys_and_leaves_the_rest_alone(
    image, mask
):
    drawn = overlay(image, mask, PALETTE, 0.5)
    differs = (drawn != image).any(axis=-1) & (mask == 0)
    assert (drawn[differs] == utils.visualize.RIM).all()
    far = np.ones_like(mask, bool)
    far[8:32, 8:62] = False
    assert not (differs & far).any()
    assert (drawn[15:25, 29] == PALETTE[1]).all()  # where two classes touch, both have an outline
    assert (drawn[15:25, 30] == PALETTE[2]).all()
    assert (drawn[10, 12:58] == PALETTE[mask[10, 12:58]]).all()
    inside = np.s_[15:25, 15:25]
    for opacity in (0, 0.25):
        expected = (1 - opacity) * image[inside] + opacity * PALETTE[1]
        assert np.abs(overlay(image, mask, PALETTE, opacity)[inside] - expected).max() <= 0.5 + 1e-3
    drawn = overlay(np.full((60, 80, 3), 120, np.uint8), mask, PALETTE, 0.5)[mask == IGNORE]
    assert (drawn == drawn[:, :1]).all()
    assert len(np.unique(drawn)) == 2
    with pytest.raises(ValueError, match="does not fit"):
        overlay(image, mask[:-1], PALETTE)
    for size in ((1, 1), (1, 300), (2, 2)):
        assert overlay(np.zeros((*size, 3), np.uint8), np.ones(size, np.uint8), PALETTE).shape == (*size, 3)


def test_a_heatmap_is_brighter_where_the_map_is_higher_and_without_opacity_the_image_in_grey(image):
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(4, axis=0)
    drawn = heatmap(np.full((4, 64, 3), 100, np.uint8), ramp).astype(int).sum(axis=-1)
    assert (np.diff(drawn[0]) >= -3).all()
    assert drawn[0, -1] > drawn[0, 0] + 200
    drawn = heatmap(image, np.ones((3, 3)), opacity=0)
    assert (drawn == drawn[..., :1]).all()


def test_fit_bounds_the_long_side_never_enlarges_and_bright_colours_differ(image, mask):
    assert fit(image, 100) is image
    assert fit(image, 40).shape == (30, 40, 3)
    assert fit(image[:1], 8).shape == (1, 8, 3)
    assert set(np.unique(fit(mask, 37, nearest=True))) <= {0, 1, 2, IGNORE}
    palette = bright_palette()
    assert palette.shape == (256, 3)
    assert len(np.unique(palette, axis=0)) == 256
    first = palette[:8].astype(int)
    distances = np.abs(first[:, None] - first[None]).sum(axis=-1)[~np.eye(8, dtype=bool)]
    assert distances.min() > 60


class TestSheets:
    def test_legend_shows_every_colour_in_the_width(self):
        swatches = [(f"class number {n}", tuple(bright_palette()[n].tolist())) for n in range(1, 12)]
        image = legend(swatches, width=300)
        found = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3)}
        assert image.width == 300
        assert {colour for _, colour in swatches} <= found

    def test_sheet_holds_its_images_is_bounded_and_draws_names_that_are_not_text(self):
        red, blue = np.full((40, 60, 3), (250, 0, 0), np.uint8), np.full((500, 300, 3), (0, 0, 250), np.uint8)
        sheet = contact_sheet([[Tile(red, "a"), Tile(blue, "b" * 300, [("sky", (0, 200, 0))])], [Tile(red)]], tile=100)
        pixels = np.asarray(sheet).reshape(-1, 3)
        assert (pixels == (250, 0, 0)).all(axis=1).sum() > 2 * 60 * 90
        assert (pixels == (0, 0, 250)).all(axis=1).sum() == pytest.approx(60 * 100, rel=0.05)
        assert (pixels == (0, 200, 0)).all(axis=1).any()
        assert sheet.width < 2 * 100 + 100
        row = [Tile(np.zeros((90, 90, 3), np.uint8), "a\udcff.jpg\ntwo lines")]
        heights = [contact_sheet([row] * (MAX_ROWS + more), ["image"], "many", tile=20).height for more in (1, 9)]
        assert heights[0] == heights[1]


def test_latin_needs_no_font_of_the_system_and_what_none_has_becomes_a_question_mark(monkeypatch):
    monkeypatch.setattr(utils.visualize, "_system_fonts", lambda size: [])
    utils.visualize.font_for.cache_clear()
    assert (drawable("cat, dog (2)"), drawable("cat 猫")) == ("cat, dog (2)", "cat ?")
    utils.visualize.font_for.cache_clear()


def test_a_font_of_the_system_is_taken_where_it_has_more_letters():
    font = utils.visualize.font_for("Кот", 16)
    if drawable("Кот") != "Кот":
        pytest.skip("no font here has Cyrillic letters")
    assert font.getname() != ImageFont.load_default(16).getname()
    assert drawable("猫 Кот").endswith("Кот")
