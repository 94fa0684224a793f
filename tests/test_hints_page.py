"""From a click in a real browser to a better mask: the page, its file, and the same command again."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from data.artifacts import read_mask
from data.shapes import SHAPES_CLASSES
from tests.browser import DESKTOP, PHONE, choose, overlaps, press, problems, visit
from tests.project import Project, call, names

SPREAD = ".tools > label, .tools legend, .tools fieldset label, .tools button, .tools output, #editor .head > *, .paper"


@pytest.fixture(scope="module")
def project(browser, finished, tmp_path_factory) -> Project:
    """A run with the page; nobody changes it."""
    copied = finished.copy(tmp_path_factory.mktemp("hints"))
    call("report", copied.run, "--hints", "--set", f"data.root={copied.folder / 'voc'}").well()
    return copied


def open_editor(browser, project: Project, size=DESKTOP) -> None:
    visit(browser, project.run / "hints.html", size)
    browser.find_element("id", "give-hints").click()


def shown(browser) -> str:
    return browser.find_element("id", "editor-title").text.rpartition(" (")[0]


def keys_of_kind(browser, kind: str) -> None:
    browser.find_element("id", f"kind-{kind}").click()


def text(browser, name: str) -> str:
    return browser.find_element("id", name).text


def pointer(browser, kind: str, *points: tuple[float, float]) -> None:
    """Press at the first point, move over the others, and release; in parts of the canvas."""
    from selenium.webdriver.common.actions.action_builder import ActionBuilder
    from selenium.webdriver.common.actions.pointer_input import PointerInput

    canvas = browser.find_element("id", "canvas")
    browser.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", canvas)
    box = browser.execute_script("return arguments[0].getBoundingClientRect().toJSON()", canvas)
    places = [(round(box["x"] + x * box["width"]), round(box["y"] + y * box["height"])) for x, y in points]
    actions = ActionBuilder(browser, mouse=PointerInput(kind, kind), duration=10)
    actions.pointer_action.move_to_location(*places[0]).pointer_down()
    for place in places[1:]:
        actions.pointer_action.move_to_location(*place)
    actions.pointer_action.pointer_up()
    actions.perform()


def saved(browser, folder: Path) -> list[dict]:
    """The hints of the file that the page saves."""
    folder.mkdir(exist_ok=True)
    browser.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    browser.find_element("id", "save").click()
    path, until = folder / "hints.json", time.monotonic() + 10
    while not (path.is_file() and path.stat().st_size):  # the browser makes an empty file first
        assert time.monotonic() < until, "no file was saved"
        time.sleep(0.02)
    return json.loads(path.read_text())["hints"]


def load(browser, path: Path, records: list[dict]) -> None:
    """Open a file of these hints on the page."""
    path.write_text(json.dumps({"hints": records}))
    browser.find_element("id", "load").send_keys(str(path))
    time.sleep(0.3)


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    ours, theirs = (mask > 0) & (mask < 255), (truth > 0) & (truth < 255)
    return float((ours & theirs).sum() / max(1, (ours | theirs).sum()))


@pytest.mark.long
def test_from_click_to_better_mask(browser, project, tmp_path):
    open_editor(browser, project)
    name = shown(browser)
    truth = read_mask(project.folder / f"voc/SegmentationClass/{name}.png")
    before = iou(read_mask(project.run / f"pseudo/{name}.png"), truth)
    height, width = truth.shape
    for value in np.unique(truth[(truth > 0) & (truth < 255)]):
        rows, columns = np.nonzero(truth == value)
        choose(browser, "label", SHAPES_CLASSES[value - 1])
        keys_of_kind(browser, "rectangle")
        ends = [(columns.min() / width, rows.min() / height), ((columns.max() + 1) / width, (rows.max() + 1) / height)]
        pointer(browser, "mouse", *ends)
    row, column = np.argwhere(truth == 0)[0]
    choose(browser, "label", "background")
    keys_of_kind(browser, "point")
    pointer(browser, "mouse", ((column + 0.5) / width, (row + 0.5) / height))
    assert text(browser, "hint-count").endswith("on 1 image")
    assert problems(browser, project.run) == []
    record = saved(browser, tmp_path / "saved")[0]
    assert (record["image"], record["height"], record["width"]) == (name, height, width)
    project = project.copy(tmp_path)
    project.train("--set", f"data.hints={tmp_path / 'saved/hints.json'}").well()
    mask = read_mask(project.run / f"pseudo/{name}.png")
    assert mask[row, column] == 0
    assert iou(mask, truth) > before + 0.05


def assert_drawn_in_the_color_beside_its_class(browser) -> None:
    colors = """return ["#label-color", "#canvas circle:last-of-type"].map((found, index) =>
        getComputedStyle(document.querySelector(found))[["backgroundColor", "fill"][index]])"""
    beside, drawn = browser.execute_script(colors)
    assert beside == drawn


def test_undo_next_and_a_second_click_on_the_same_spot(browser, project, tmp_path):
    open_editor(browser, project)
    first = shown(browser)
    assert text(browser, "editor-legend")
    pointer(browser, "mouse", (0.5, 0.5))
    assert_drawn_in_the_color_beside_its_class(browser)
    choose(browser, "label", "background")
    pointer(browser, "mouse", (0.5, 0.5))  # a correction, not a contradiction
    assert_drawn_in_the_color_beside_its_class(browser)
    assert text(browser, "hint-count") == "1 hint on 1 image"
    pointer(browser, "mouse", (0.9, 0.9))
    browser.find_element("id", "undo").click()
    assert text(browser, "hint-count") == "1 hint on 1 image"
    browser.find_element("id", "hint-next").click()
    assert shown(browser) != first
    assert not browser.find_element("id", "undo").is_enabled()
    keys_of_kind(browser, "line")
    pointer(browser, "mouse", (0.2, 0.2), (0.5, 0.3), (0.8, 0.2))
    pointer(browser, "mouse", (0.2, 0.6))  # a click is no line
    assert "drag" in text(browser, "hint-status")
    records = saved(browser, tmp_path / "saved")
    labels = {record["image"]: [shape["label"] for shape in record["shapes"]] for record in records}
    assert labels[first] == ["background"]
    assert sorted(len(shape["points"]) > 2 for record in records for shape in record["shapes"]) == [False, True]
    browser.refresh()
    browser.find_element("id", "give-hints").click()
    polygon = {"shape_type": "polygon", "label": "background", "points": [[1, 1], [9, 1], [5, 9]]}
    records += [{"image": "elsewhere", "width": 9, "height": 9, "shapes": [polygon]}]
    records[0]["shapes"].append(polygon)
    load(browser, tmp_path / "more.json", records)
    assert text(browser, "hint-count") == "4 hints on 3 images"
    assert saved(browser, tmp_path / "again") == records
    others = [record | {"shapes": [polygon | {"points": [[2, 2], [9, 2], [5, 9]]}]} for record in records[::2]]
    for _ in range(2):  # a second file adds to the first, and what is there already is not doubled
        load(browser, tmp_path / "others.json", [*others, records[0]])
        assert text(browser, "hint-count") == "6 hints on 4 images"
    load(browser, tmp_path / "resized.json", [records[0] | {"width": 99}])
    assert f"{records[0]['image']} had 99 x" in text(browser, "hint-status")
    assert text(browser, "hint-count") == "6 hints on 4 images"


def test_by_keyboard_alone_the_least_certain_image_first(browser, project, tmp_path):
    visit(browser, project.run / "hints.html")
    browser.execute_script("document.getElementById('give-hints').focus()")
    press(browser, "ENTER")
    found = []
    for _ in names(project, "train"):
        found.append(float(text(browser, "editor-note").split()[1]))
        browser.find_element("id", "hint-next").click()
    assert found == sorted(found)
    browser.execute_script("document.getElementById('canvas').focus()")
    press(browser, "2", "ARROW_LEFT", "ARROW_UP", "ENTER", "b", "ENTER", *["ARROW_RIGHT", "ARROW_DOWN"] * 6, "ENTER")
    assert text(browser, "hint-count") == "2 hints on 1 image"
    press(browser, "u", "p", "1", "ENTER")
    assert_drawn_in_the_color_beside_its_class(browser)
    press(browser, "n")
    shapes = saved(browser, tmp_path / "saved")[0]["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["point", "point"]


def test_by_touch_on_a_phone(browser, project, tmp_path):
    open_editor(browser, project, PHONE)
    assert overlaps(browser, SPREAD) == []
    pointer(browser, "touch", (0.3, 0.4))
    keys_of_kind(browser, "rectangle")
    pointer(browser, "touch", (0.2, 0.2), (0.5, 0.5), (0.8, 0.7))
    shapes = saved(browser, tmp_path / "saved")[0]["shapes"]
    assert [shape["shape_type"] for shape in shapes] == ["point", "rectangle"]
    assert np.ravel(shapes[1]["points"]) / 64 == pytest.approx((0.2, 0.2, 0.8, 0.7), abs=0.03)
    assert problems(browser, project.run) == []
