import numpy as np
import pytest

from data.artifacts import voc_palette
from data.index import class_palette, open_index
from data.settings import DataSettings
from utils.errors import UserError


def test_colours_of_mask_values():
    names = ("cat", "dog")
    assert np.array_equal(class_palette(DataSettings(), names), voc_palette())
    palette = class_palette(DataSettings(colors=("#ff8000", "0000fF")), names)
    assert palette[:3].tolist() == [[0, 0, 0], [255, 128, 0], [0, 0, 255]]
    assert np.array_equal(palette[3:], voc_palette()[3:])


def test_background_is_passed_on(make_voc, tmp_path):
    for name in ("cat", "other"):
        (tmp_path / "own" / name).mkdir(parents=True)
        (make_voc(3, folder=name) / "JPEGImages/p0.jpg").rename(tmp_path / "own" / name / "1.jpg")
    settings = DataSettings(kind="folder", root=str(tmp_path / "own"), background="other")
    assert [record.labels for record in open_index(settings, "all").records] == [(0,), ()]


def test_masks_that_are_drawn_here_have_no_values_to_map(tmp_path):
    own = {"shapes_train": 2, "shapes_val": 1, "mask_values": {"0": "background"}}
    settings = DataSettings(kind="shapes", root=str(tmp_path), **own)
    with pytest.raises(UserError, match=r"data.mask_values is for masks in files, and data.kind shapes draws its own"):
        open_index(settings, "val", masks=True)
