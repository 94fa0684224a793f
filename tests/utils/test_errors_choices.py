"""Names of tables: found, or refused with the known names."""

import pytest

from utils.errors import UserError, nearest, pick

TABLE = {"voc": 1, "coco": 2}


def test_an_entry_by_its_name_or_the_known_ones_and_the_nearest():
    assert [pick(TABLE, name, "data.kind") for name in TABLE] == [1, 2]
    with pytest.raises(UserError) as error:
        pick(TABLE, "cocoa", "data.kind", more=["NAME"])
    assert str(error.value) == "'data.kind' must be one of voc, coco, NAME, found 'cocoa'; did you mean 'coco'?"
    with pytest.raises(UserError, match=rf"found '{'x' * 100}'$"):
        pick(TABLE, "x" * 1000, "data.kind")


def test_the_nearest_by_the_whole_or_by_the_last_part():
    found = [nearest(word, ["cam.epochs", "seed"]) for word in ("epoch", "cam.epoch", "xyzzy", "")]
    assert found == ["; did you mean 'cam.epochs'?"] * 2 + ["", ""]
