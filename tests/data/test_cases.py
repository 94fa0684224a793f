"""Inputs that users had, in ../shared/cases: what is read, and what is said of layouts, tables, truth and pixels."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.check import check, draw
from data.index import class_palette, open_index
from stages.config import load_config
from tests.data.test_check import settings
from utils.errors import UserError
from utils.visualize import drawable

CASES = Path(os.environ.get("IBBNET_CASES") or Path(__file__).parents[3] / "shared" / "cases")


@pytest.fixture
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of an input that users had, by its name; skipped where the inputs are not beside the project."""

    def find(name: str) -> Path:
        if not CASES.is_dir():
            pytest.skip("needs ../shared/cases or IBBNET_CASES")
        return Path(shutil.copytree(CASES / name, tmp_path_factory.mktemp("cases") / name))

    return find


BOTH, COCO = {"cat": 3, "dog": 3}, "data.kind=coco data.train_list=train data.val_list=train"
BRUSH = "data.kind=coco data.train_list=train"
NUMBERS = dict.fromkeys(map(str, range(1, 13)), 2)


@pytest.mark.parametrize(
    ("name", "overrides", "counts", "problem", "note"),
    [
        ("18_csv_windows_paths", "", BOTH, "", "18_csv_windows_paths: 6, first"),
        ("34_coco_string_ids", COCO, BOTH, "", None),
        ("39_coco_filename_has_folder", COCO, BOTH, "", None),
        ("41_labelstudio_dotdot", "", BOTH, "", "41_labelstudio_dotdot: 6, first"),
        ("43_coco_float_size", COCO, BOTH, "", None),
        ("46_roboflow", COCO, BOTH, "", "category 'pets' has no annotation and only groups others"),
        ("55_cvat_brush_masks_of_one_class", BRUSH, None, "all annotations of cat are marked iscrowd", ""),
        ("55_cvat_brush_masks_of_one_class", f"{BRUSH} data.crowd=object", BOTH, "", ""),
        (
            *("55_cvat_brush_masks_of_one_class", f"{BRUSH} data.crowd=ignore", {"cat": 0, "dog": 3}, ""),
            "3 of 6 annotations are marked iscrowd",
        ),
        ("70_numeric_classes", "", NUMBERS, "", "differ in numbers alone"),
        ("76_mvtec", "", {"broken": 3}, "more than 24 colours", "the folders 'good' are images of none of the classes"),
    ],
)
def test_what_is_read_and_said(case, name, overrides, counts, problem, note):
    """`counts` is None where nothing is read, `note` None where nothing may be said."""
    root = case(name)
    own = ["workers=0", "data.kind=folder", f"data.root={root}", "data.train_list=all", "data.val_list="]
    findings = check(load_config(None, overrides=[*own, *overrides.split()]))
    found = next((index.label_counts() for index in findings.lists.values()), {})
    assert len(findings.problems) == bool(problem), findings.problems
    assert problem in " ".join(findings.problems)
    assert counts is None or list(found.items()) == list(counts.items())
    assert note in " ".join(findings.notes) if note is not None else not findings.notes


COLOURS = {"#000000": "background", "#008000": "dog", "#800000": "cat"}


@pytest.mark.parametrize(
    ("name", "says", "mapping"),
    [
        ("01_mask_0_255", "{0: background, 255: cat}", {"0": "background", "255": "cat"}),
        ("02_mask_rgb", '{"#000000": background, "#008000": dog, "#800000": cat}', COLOURS),
        ("06_mask_palette_other_order", '{"#800000": cat, "#000000": background, "#008000": dog}', COLOURS),
    ],
)
def test_the_check_stops_with_the_line_that_reads_the_masks(case, name, says, mapping):
    """Also where no validation list is set: masks that are there are looked at."""
    root = case(name)
    (problem,) = check(settings(root)).problems
    assert f"--set 'data.mask_values={says}'" in problem
    cfg = settings(root, mask_values=mapping, val_list="val")
    assert check(cfg).problems == []
    for record in open_index(cfg.data, "val", masks=True).records:
        assert set(np.unique(record.read_truth())) == {0, record.labels[0] + 1}


def test_a_series_of_12_bits_is_refused_and_read_with_its_range(case):
    root = case("61_tiff_12bit")
    assert "--set 'data.range=[0, 4095]'" in check(settings(root)).problems[0]
    with pytest.raises(UserError, match=r"values end at \d+.*--set 'data.range=\[0, 4095\]'"):
        open_index(settings(root).data, "all")
    findings = check(settings(root, range=(0.0, 4095.0)))
    assert (findings.problems, findings.notes) == ([], [])
    record = open_index(settings(root, range=(0.0, 4095.0)).data, "all").records[0]
    assert 60 < np.asarray(record.read_image()).mean() < 200


def test_letters_of_any_script_are_drawn_or_numbered(case, tmp_path):
    cfg = settings(case("112_unicode_classes"))
    findings = check(cfg)
    draw(findings, class_palette(cfg.data, findings.class_names), tmp_path / "sheet.jpg")
    told = [note for note in findings.notes if "contact_sheet.jpg numbers" in note]
    assert len(told) == any(drawable(name) != name for name in findings.class_names)


def test_bands_and_nan_are_told_by_the_check(case, tmp_path):
    for name in ("sentinel_4band16.tif", "multispectral_6band8.tif", "float_nan_nodata.tif"):
        (tmp_path / "cat").mkdir(exist_ok=True)
        shutil.copy(case("60_odd_pictures") / name, tmp_path / "cat" / name)
    (tmp_path / "dog").mkdir()
    Image.new("RGB", (9, 9), "red").save(tmp_path / "dog/1.png")
    problems = "\n".join(check(settings(tmp_path)).problems)
    assert "data.bands=[3, 2, 1]" in problems
    assert "(2 such)" in problems
    notes = "\n".join(check(settings(tmp_path, range="percentile")).notes)
    assert "images that hold NaN: 1, first" in notes
