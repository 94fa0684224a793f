"""Both pages in a headless Chromium, as a person uses them: by mouse, by keyboard, on a phone, in dark mode."""

from pathlib import Path

import numpy as np
import pytest

from evaluation.report_page import write_report_page
from evaluation.stages import pipeline
from inference.bulk import predict_images
from pages.images import image_uri, mask_layer
from pages.page import Item, Layer, Section, write_page
from stages.files import REPORT_PAGE
from tests.browser import DESKTOP, PHONE, choose, overlaps, press, problems, visit
from tests.conftest import voc_maker
from tests.evaluation.evaluated import evaluated_run
from tests.inference.stub import Stub, save
from utils.visualize import bright_palette

GREY = image_uri(np.zeros((10, 10, 3), np.uint8))
CONTROLS = ".bar label, .bar output, header h1, nav a, h2, h3, .card, .plot, .keys li"


@pytest.fixture(scope="module")
def report(browser, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        cfg, run = evaluated_run(folder, voc_maker(folder), patch)
    write_report_page(pipeline(), cfg, run)
    return run.path(REPORT_PAGE)


@pytest.fixture(scope="module")
def gallery(browser, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    for number in range(7):
        save(folder / "in" / f"image {number} <b>.png", (60, 80), number % 3)
    predict_images(folder / "in", folder / "out", Stub())
    return folder / "out" / "index.html"


def texts(browser, selector: str) -> list[str]:
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent.trim())"
    return browser.execute_script(script, selector)


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("page", ["report", "gallery"])
def test_nothing_is_broken_and_nothing_overlaps(browser, page, size, dark, request):
    path = request.getfixturevalue(page)
    visit(browser, path, size, dark)
    assert problems(browser, path.parent) == []
    assert overlaps(browser, CONTROLS) == []
    browser.execute_script("document.querySelector('#grid button').click()")
    assert problems(browser, path.parent) == []
    assert overlaps(browser, "dialog figure, dialog .head > *") == []
    background = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    brightness = np.mean([int(part) for part in background.strip("rgb()").split(",")])
    assert (brightness < 60) if dark else (brightness > 200)


def scores(browser) -> list[float]:
    return [float(text.split()[1]) for text in texts(browser, "#grid .score")]


def test_classes_orders_layers_and_a_table_are_chosen(browser, report):
    visit(browser, report)
    assert (len(texts(browser, "#grid .card")), texts(browser, "#count")) == (10, ["10 images"])
    lowest_first = scores(browser)
    assert lowest_first == sorted(lowest_first)
    choose(browser, "order", "highest IoU first")
    assert scores(browser) == lowest_first[::-1]
    choose(browser, "class", "cat")
    count = len(texts(browser, "#grid .card"))
    assert 0 < count < 10
    assert texts(browser, "#count") == [f"{count} of 10 images"]
    assert all(text.startswith("IoU of cat") for text in texts(browser, "#grid .score"))
    choose(browser, "layer", "IBB: image 2")  # what has no figure shows the last that has one
    assert texts(browser, "#grid .score")[0].endswith("(segmentation, predicted labels)")
    images = browser.find_elements("css selector", "#grid img")
    assert all(image.get_attribute("alt").startswith("IBB: image 2 of p") for image in images)
    button = browser.find_element("css selector", "#part-3 thead th:nth-child(2) button")
    for order in (True, False):
        browser.execute_script("arguments[0].click()", button)
        values = [float(text) for text in texts(browser, "#part-3 tbody td:nth-child(2)")]
        assert values == sorted(values, reverse=order)
    assert problems(browser, report.parent) == []


def test_an_image_is_seen_at_every_step_by_keyboard(browser, report):
    visit(browser, report)
    browser.execute_script("document.querySelector('#grid button').focus()")
    press(browser, "ENTER")
    assert browser.find_element("id", "viewer").is_displayed()
    captions = texts(browser, "dialog figcaption")
    assert len(captions) == len(texts(browser, "#layer option"))  # the image itself, and each layer
    assert [captions[0], captions[-1].split(",")[0][:6]] == ["image", "errors"]
    first = texts(browser, "#viewer-title")
    press(browser, "ARROW_RIGHT")
    assert texts(browser, "#viewer-title") != first
    press(browser, "ARROW_LEFT")
    assert texts(browser, "#viewer-title") == first
    figure = browser.find_element("css selector", "dialog figure button")
    before = figure.size["width"]
    figure.click()
    assert figure.size["width"] > 1.5 * before
    assert "background" in texts(browser, "#viewer-table th")
    assert problems(browser, report.parent) == []
    press(browser, "ESCAPE")
    assert not browser.find_element("id", "viewer").is_displayed()


def test_the_gallery_filters_classes_offers_files_and_has_a_slider_for_what_lies_over_the_image(browser, gallery):
    visit(browser, gallery)
    assert len(texts(browser, "#grid .card")) == 7
    links = browser.find_elements("css selector", "#grid .links a")
    assert len(links) == 14
    assert all(link.get_attribute("download") is not None for link in links)
    opacity = "return Number(getComputedStyle(document.querySelector('#grid img.over')).opacity)"
    assert 0 < browser.execute_script(opacity) < 1
    browser.find_element("id", "opacity").click()
    for key, value in (("HOME", 0), ("END", 1)):
        press(browser, key)
        assert browser.execute_script(opacity) == value
    names, counts = texts(browser, "#class option")[1:], []
    assert names == sorted(names)
    for name in names:
        choose(browser, "class", name)
        counts.append(len(texts(browser, "#grid .card")))
    assert max(counts) <= 7 <= sum(counts)
    assert problems(browser, gallery.parent) == []


def test_names_on_a_mask_do_not_cover_each_other(browser, tmp_path):
    rows, columns = np.indices((300, 400))
    mask = 1 + sum(((rows - 150) ** 2 + (columns - 200) ** 2 < radius**2).astype(np.uint8) for radius in (30, 60))
    names = ["dining table", "potted plant", "person"]
    layer = mask_layer("mask", mask, bright_palette(), names)
    item = Item("a", image_uri(np.zeros((300, 400, 3), np.uint8)), mask.shape, layers=[layer])
    write_page(tmp_path / "page.html", "names", [], [Section("Images", items=[item], show="mask")])
    for size in (DESKTOP, PHONE):
        visit(browser, tmp_path / "page.html", size)
        browser.execute_script("document.querySelector('.card > button').click()")
        assert sorted(texts(browser, ".on-mask")) == sorted(names)
        assert overlaps(browser, ".on-mask") == []


def test_more_images_are_shown_on_demand(browser, tmp_path):
    items = [Item(f"p{number:03}", GREY, (10, 10)) for number in range(100)]
    write_page(tmp_path / "page.html", "many", [], [Section("Images", items=items)])
    visit(browser, tmp_path / "page.html")
    assert len(texts(browser, "#grid .card")) == 24
    assert texts(browser, "#more") == ["Show 76 more"]
    browser.execute_script("document.getElementById('more').click()")
    assert len(texts(browser, "#grid .card")) == 100
    assert not browser.find_element("id", "more").is_displayed()


def test_faults_are_found(browser, tmp_path):
    """The check itself: each kind of fault makes it report something, and a sound page nothing."""
    path = tmp_path / "page.html"
    layers, broken = [Layer("mask", GREY)], [Layer("mask", GREY[:40] + "AAAA")]
    elsewhere = '<main><img src="https://example.org/x.png" alt="x">'
    for link, layer, old, new, fault in (
        ("page.html", layers, "", "", ""),
        ("none.png", broken, "<main>", '<main><div style="width:9000px">wide</div>', "link: none.png|image: |wider"),
        ("page.html", layers, "<main>", elsewhere, "console: "),
        ("page.html", layers, '"use strict";', '"use strict"; throw new Error("x");', "console: "),  # not as allowed
    ):
        item = Item("i", GREY, (10, 10), [], layer, [("mask", link)])
        write_page(path, "t", [], [Section("s", items=[item], show="mask")])
        path.write_text(path.read_text().replace(old, new, 1))
        visit(browser, path)
        found = "\n".join(problems(browser, tmp_path))
        assert all(part in found for part in fault.split("|"))
        assert bool(found) == bool(fault)
