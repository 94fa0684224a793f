"""Pages: one file, nothing loaded from elsewhere, no name that becomes code, an address of another kind or a broken file."""

import base64
import hashlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from utils.page import (
    Cell,
    Gallery,
    Item,
    Layer,
    Plots,
    Section,
    Table,
    Text,
    heat_uri,
    image_uri,
    mask_layer,
    mask_uri,
    page_made_from,
    write_page,
)
from utils.plots import Series, line_plot
from utils.visualize import HEAT, bright_palette

NASTY = "<script>alert('x')</script></script>&\"'\u2028.jpg"


class Page(HTMLParser):
    """Every tag and every address of a page, its text outside scripts, and the gallery's data."""

    def __init__(self, path: Path):
        super().__init__()
        self.tags, self.addresses, self.scripts, self.text = [], [], [], ""
        self.policy = ""
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        if tag == "script":
            self.scripts.append("")
        if dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policy = dict(attrs)["content"]

    def handle_data(self, data):
        if self.lasttag == "script" and self.scripts and data.strip():
            self.scripts[-1] += data
        else:
            self.text += data

    @property
    def items(self) -> list[dict]:
        return json.loads(self.scripts[0])["items"]


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def page(tmp_path, image) -> Page:
    layer = Layer(NASTY, image_uri(image), swatches=[(NASTY, (1, 2, 3))], places=[(NASTY, 0.5, 0.25)], score=0.5)
    item = Item(
        NASTY,
        image_uri(image),
        (40, 60),
        [NASTY],
        [layer],
        [(NASTY, (1, 2, 3), "0.5")],
        [("mask", f"masks/{NASTY}")],
        NASTY,
    )
    plot = line_plot(NASTY, [Series(NASTY, [0, 1], [2, 3])], NASTY, NASTY)
    table = Table(NASTY, [NASTY, "n"], [[NASTY, 1.5], [Cell(NASTY, 1.0, 0.5, True, NASTY), 2]], NASTY)
    sections = [
        Section(NASTY, [table, Plots([plot]), Text([NASTY], NASTY), Gallery([item], NASTY, 2)], NASTY),
        Section("empty", []),
    ]
    write_page(tmp_path / "page.html", NASTY, [NASTY], sections, "abc")
    return Page(tmp_path / "page.html")


def uri_pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGBA"))


def test_names_never_become_markup(page):
    assert len(page.scripts) == 2  # the gallery's data and the page's own script
    assert "alert" not in page.tags
    assert page.text.count("<script>alert('x')</script>") >= 12
    assert page.items[0]["title"].startswith("<script>alert('x')</script>")


def test_the_policy_allows_the_pages_own_script_and_no_other(page):
    digest = "sha256-" + base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src '{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:")


def test_nothing_is_loaded_from_elsewhere(page):
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page.source)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    assert all(item["uri"].startswith("data:image/webp;base64,") for item in page.items)


def test_links_lead_to_files_beside_the_page(page, tmp_path, image):
    assert unquote(page.items[0]["links"][0][1]).startswith("masks/<script>alert('x')")
    links = [("a", "javascript:alert(1)"), ("b", "//host/x"), ("c", "masks/a\udcff.png")]
    write_page(tmp_path / "links.html", "t", [], [Section("s", [Gallery([Item("i", "", (1, 1), links=links)])])])
    javascript, host, odd = (href for _, href in Page(tmp_path / "links.html").items[0]["links"])
    assert ":" not in javascript
    assert not host.startswith("//")
    assert odd == "masks/a%FF.png"


def test_sections_without_content_are_left_out(page):
    assert "empty" not in page.text


def test_what_a_page_was_made_from_can_be_read(page, tmp_path):
    assert page_made_from(tmp_path / "page.html") == "abc"
    assert page_made_from(tmp_path / "none.html") == ""


def test_figures_that_are_no_numbers_are_written_as_none(tmp_path):
    layer = Layer("m", "", score=float("nan"), by_class={"cat": float("inf"), "dog": 0.25})
    write_page(tmp_path / "page.html", "t", [], [Section("s", [Gallery([Item("i", "", (1, 1), layers=[layer])])])])
    written = Page(tmp_path / "page.html").items[0]["layers"][0]
    assert written["score"] is None
    assert written["by"] == {"cat": None, "dog": 0.25}


def test_images_are_bounded():
    noise = np.random.default_rng(0).integers(0, 256, (1500, 2000, 3), dtype=np.uint8)
    assert uri_pixels(image_uri(noise, 100)).shape == (75, 100, 4)


def test_a_mask_is_clear_where_there_is_nothing_and_rimmed_where_it_changes():
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:20] = 2
    mask[17:] = 255
    palette = bright_palette()
    pixels = uri_pixels(mask_uri(mask, palette))
    assert (pixels[0, :, 3] == 0).all()
    assert pixels[10, 10].tolist() == [*palette[2].tolist(), 255]
    assert pixels[5, 10].tolist() == [255, 255, 255, 255]
    assert len(np.unique(pixels[18:].reshape(-1, 4), axis=0)) == 2  # stripes


def test_a_mask_of_all_values_can_be_drawn():
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = uri_pixels(mask_uri(mask, bright_palette()))
    assert (pixels[..., 3] == 0).sum() == 1


def test_a_heat_map_goes_from_dark_to_bright():
    pixels = uri_pixels(heat_uri(np.array([[0.0, 0.5, 1.0]])))
    assert pixels[0, 0, :3].tolist() == list(HEAT[0])
    assert pixels[0, 2, :3].tolist() == list(HEAT[-1])
    assert pixels[0, :, :3].sum(axis=-1).tolist() == sorted(pixels[0, :, :3].sum(axis=-1).tolist())


def test_a_mask_layer_names_its_classes_where_they_are():
    mask = np.zeros((100, 200), np.uint8)
    mask[20:60, 100:180] = 1
    layer = mask_layer("truth", mask, bright_palette(), ["cat", "dog"], score=0.5)
    ((name, x, y),) = layer.places
    assert name == "cat"
    assert mask[int(y * 100), int(x * 200)] == 1
    assert [name for name, _ in layer.swatches] == ["cat"]
    assert layer.score == 0.5
