"""What the check says of values: of masks, of pixels of more than eight bits, and of letters."""

import numpy as np
import pytest
from PIL import Image

from data.check import check, draw
from data.index import class_palette, open_index
from data.settings import DataSettings
from tests.data.conftest import put
from tests.data.layouts_of_tools import build
from tests.data.test_check import settings
from tests.project import refused
from utils.visualize import drawable


def test_masks_of_other_values_are_refused_with_the_line_that_reads_them(pets):
    """Also where no validation list is set: masks that are there are looked at."""
    for name, colour in (("cat/1", 0), ("cat/2", 255)):
        put(pets / f"masks/{name}.png", np.full((6, 8), colour, np.uint8))
    (problem,) = check(settings(pets)).problems
    assert "--set 'data.mask_values={0: background, 255: cat}'" in problem
    cfg = settings(pets, mask_values={"0": "background", "255": "cat"}, val_list="val")
    assert check(cfg).problems == []
    assert [record.read_truth().max() for record in open_index(cfg.data, "val", masks=True).records] == [0, 1]


COLOURS = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
BY_COLOUR = {"#000000": "background", "#008000": "dog", "#800000": "cat"}
PLACES = np.array([1, 0, 2], np.uint8)  # of background, cat and dog in a palette
GREYS = {"0": "background", "255": "cat"}


@pytest.mark.parametrize(
    ("kind", "says", "mapping"),
    [
        ("grey", "{0: background, 255: cat}", GREYS),
        ("colours", '{"#000000": background, "#008000": dog, "#800000": cat}', BY_COLOUR),
        ("palette", '{"#800000": cat, "#000000": background, "#008000": dog}', BY_COLOUR),  # in another order
    ],
)
def test_masks_of_each_kind_are_read_with_the_line_that_the_check_gives(pets, kind, says, mapping):
    values = np.zeros((6, 8), np.uint8)
    for name, value in (("cat/1", 1), ("cat/2", 1) if kind == "grey" else ("dog/1", 2)):
        values[2:5, 2:6] = value
        image = Image.fromarray({"grey": 255 * values, "colours": COLOURS[values]}.get(kind, PLACES[values]))
        if kind == "palette":
            image.putpalette(COLOURS[PLACES].tobytes())
        (pets / f"masks/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        image.save(pets / f"masks/{name}.png")
    (problem,) = check(settings(pets)).problems
    assert f"--set 'data.mask_values={says}'" in problem
    cfg = settings(pets, mask_values=mapping, val_list="val")
    assert check(cfg).problems == []
    records = open_index(cfg.data, "val", masks=True).records
    assert [set(np.unique(record.read_truth())) for record in records] == [{0, r.labels[0] + 1} for r in records]
    assert len(records) == 2


def test_photographs_in_place_of_masks_are_a_problem(tmp_path):
    build("MVTec AD", tmp_path)
    for name in ("crack", "hole"):
        put(tmp_path / f"ground_truth/{name}/000_mask.png", np.arange(192, dtype=np.uint8).reshape(8, 8, 3))
    findings = check(settings(tmp_path))
    assert [next(iter(findings.lists.values())).label_counts(), len(findings.problems)] == [{"crack": 1, "hole": 1}, 1]
    assert "more than 24 colours" in findings.problems[0]


def test_a_series_of_12_bits_is_refused_and_read_with_its_range(tmp_path):
    for name, lowest in (("cat/1.png", 0), ("cat/2.tif", 1), ("dog/1.png", 2), ("dog/2.tif", 3)):
        put(tmp_path / name, np.linspace(lowest, 3900, 48).reshape(6, 8).astype(np.uint16))
    assert "--set 'data.range=[0, 4095]'" in check(settings(tmp_path)).problems[0]
    refused(r"values end at 3900.*--set 'data.range=\[0, 4095\]'", open_index, settings(tmp_path).data, "all")
    given = settings(tmp_path, range=(0.0, 4095.0))
    assert (check(given).problems, check(given).notes) == ([], [])
    assert 60 < np.asarray(open_index(given.data, "all").records[0].read_image()).mean() < 200


def test_bands_and_nan_are_told(tmp_path):
    tifffile = pytest.importorskip("tifffile")
    put(tmp_path / "cat/1.png")
    put(tmp_path / "dog/1.png")
    for name, bands in (
        ("dog/a.tif", np.full((6, 8, 4), 60000, np.uint16)),
        ("dog/b.tif", np.ones((6, 8, 6), np.uint8)),
    ):
        tifffile.imwrite(tmp_path / name, bands, photometric="minisblack", planarconfig="contig")
    (problem,) = check(settings(tmp_path)).problems
    assert "data.bands=[3, 2, 1]" in problem
    assert "(2 such)" in problem
    tifffile.imwrite(tmp_path / "cat/1.tif", np.full((6, 8), np.nan, np.float32))
    assert "images that hold NaN: 1, first" in "\n".join(check(settings(tmp_path, range="percentile")).notes)


def test_letters_that_no_font_has_are_numbered(pets, tmp_path):
    (pets / "cat").rename(pets / "\ue000")
    findings = check(settings(pets))
    expected = "contact_sheet.jpg numbers 1 classes, because no font here has the letters of \ue000"
    assert any(expected in note for note in findings.notes)
    draw(findings, class_palette(DataSettings(), findings.class_names), tmp_path / "sheet.jpg")
    for old, new in (("\ue000", "猫"), ("dog", "Кот")):
        (pets / old).rename(pets / new)
    put(pets / "a,b/1.png")
    findings = check(settings(pets))
    draw(findings, class_palette(DataSettings(), findings.class_names), tmp_path / "sheet.jpg")
    told = [note for note in findings.notes if "contact_sheet.jpg numbers" in note]
    assert len(told) == any(drawable(name) != name for name in findings.class_names)
