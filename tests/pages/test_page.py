"""Pages: one file that loads nothing, no name becomes code or breaks it; plots follow their numbers."""

import base64
import hashlib
import itertools
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest

from pages.images import image_uri
from pages.page import FRAME, Cell, Item, Layer, Plot, Section, Series, Table, layout, percent, ticks, write_page

NASTY = "<script>alert('x')</script></script>&\"'#?%20\u2028.jpg"


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
        return json.loads(self.scripts[0])


@pytest.fixture
def page(tmp_path) -> Page:
    uri = image_uri(np.zeros((40, 60, 3), np.uint8))
    layer = Layer(NASTY, uri, legend=[(NASTY, "#010203", NASTY)], names=[(NASTY, 0.5, 0.25)], score=0.5)
    item = Item(NASTY, uri, (40, 60), [NASTY], [layer], [("mask", f"masks/{NASTY}")])
    plot = Plot(NASTY, NASTY, NASTY, [Series(NASTY, [0, 1], [2, 3])], NASTY)
    table = Table(NASTY, [NASTY, "n"], [[NASTY, 1.5], [Cell(NASTY, 1.0, 0.5, True), 2]], NASTY)
    sections = [Section(NASTY, NASTY, [plot], [table], [item], NASTY), Section("empty")]
    write_page(tmp_path / "page.html", NASTY, [NASTY], sections)
    return Page(tmp_path / "page.html")


def gallery_of(folder: Path, item: Item) -> dict:
    """The item as the page of it alone has it."""
    write_page(folder / "page.html", "t", [], [Section("s", items=[item])])
    return Page(folder / "page.html").items[0]


def test_names_never_become_markup_and_nothing_is_run_or_loaded_but_the_pages_own(page):
    assert len(page.scripts) == 2  # the gallery's data and the page's own script
    assert "alert" not in page.tags
    assert page.text.count("<script>alert('x')</script>") >= 12
    assert page.items[0]["title"].startswith("<script>alert('x')</script>")
    digest = "sha256-" + base64.b64encode(hashlib.sha256(page.scripts[1].encode()).digest()).decode()
    assert f"script-src '{digest}'" in page.policy
    assert page.policy.startswith("default-src 'none'; img-src data:")
    assert all(address.startswith("#") for address in page.addresses)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org)", page.source)
    assert not {"link", "iframe", "object", "embed"} & set(page.tags)
    assert all(item["uri"].startswith("data:image/webp;base64,") for item in page.items)


def test_links_lead_to_files_beside_the_page(page, tmp_path):
    assert unquote(page.items[0]["links"][0][1]) == f"masks/{NASTY}"
    links = [("a", "javascript:alert(1)"), ("b", "//host/x"), ("c", "masks/a\udcff.png")]
    javascript, host, odd = (href for _, href in gallery_of(tmp_path, Item("i", "", (1, 1), links=links))["links"])
    assert ":" not in javascript
    assert not host.startswith("//")
    assert odd == "masks/a%FF.png"


def test_names_that_are_no_text_do_not_break_the_page_and_scores_that_are_no_numbers_are_refused(tmp_path):
    layer = Layer("m", "", score=float("nan"))  # no JSON, so that the page would stay empty
    with pytest.raises(ValueError, match="JSON"):
        gallery_of(tmp_path, Item("i", "", (1, 1), layers=[layer]))
    assert not (tmp_path / "page.html").exists()
    assert gallery_of(tmp_path, Item("a\udcff\n.jpg", "", (1, 1), ["b\udcff"]))["title"] == "a\udcff\n.jpg"


def test_a_share_is_shown_in_per_cent_and_sorted_by_its_number():
    assert percent(0.1234) == Cell("12.3", 0.1234)
    assert percent(0.1234, 0, strong=True) == Cell("12", 0.1234, strong=True)
    assert percent(None).value is None


def test_ticks_are_even_and_enclose_and_those_of_whole_numbers_are_whole():
    for low, high in ((0, 1), (0, 0.6), (-3, 7), (0.0123, 0.0131), (1, 1), (0, 0), (37.1, 49.4), (1, 1e6)):
        found = ticks([low, high])
        assert found[0] <= low <= high <= found[-1]
        assert 2 <= len(found) <= 8
        steps = [b - a for a, b in itertools.pairwise(found)]
        assert steps == pytest.approx([steps[0]] * len(steps))
    for epochs in (1, 2, 4, 9, 12, 13, 30):
        found = ticks(range(1, epochs + 1))
        assert found == [int(tick) for tick in found]
        assert 2 <= len(found) <= 8


def test_a_line_is_linear_in_its_numbers_stands_where_the_ticks_say_and_inside():
    at = layout(Plot("t", "x", "y", [Series("a", [0, 1, 2, 4], [0, 10, 20, 40])]))
    first, second, third, last = at["lines"][0][2]
    assert second[0] - first[0] == pytest.approx(third[0] - second[0], abs=0.2)
    assert first[1] - second[1] == pytest.approx(second[1] - third[1], abs=0.2)
    assert {(first[0], "0"), (last[0], "4")} <= set(at["x_ticks"])
    assert {(first[1], "0"), (last[1], "40")} <= set(at["y_ticks"])
    assert FRAME["left"] <= first[0] < last[0] <= FRAME["right"]
    assert FRAME["top"] <= last[1] < first[1] <= FRAME["bottom"]  # up is more


def test_points_that_are_no_number_are_left_out_and_series_of_different_length_refused():
    lines = layout(Plot("t", "x", "y", [Series("a", [0, 1, 2], [1, math.nan, 3]), Series("b", [], [])]))["lines"]
    assert [len(line) for _, _, line in lines] == [2, 0]
    with pytest.raises(ValueError, match=r"shorter|longer"):
        layout(Plot("t", "x", "y", [Series("a", [0, 1], [1])]))
