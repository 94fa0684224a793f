import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.artifacts import read_mask, write_mask
from inference.bulk import predict_images
from inference.images import InputImage
from inference.output_folder import CLASSES, DONE, ClassValues, claim, file_of, find_done, read_done, write_done
from tests.inference.stub import MANY, NAMES, Stub, save
from utils.errors import UserError
from utils.ignore import IGNORE

IMAGE = InputImage(Path("a.jpg"), "a.jpg", "a")


def test_files_of_other_programs_are_never_overwritten(tmp_path):
    for name in ("masks/a.png", "maps/a.npz", "classes.json", "index.html", "coco.json"):
        folder = tmp_path / name.partition(".")[0]
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text("mine")
        with pytest.raises(UserError, match=f"its {name.split('/')[0]} was not written by infer.py"):
            claim(folder, ("coco.json",))
        (folder / DONE).mkdir()
        claim(folder, ("coco.json",))


def test_a_note_is_read_as_it_was_written_or_not_at_all(tmp_path):
    path, entry = tmp_path / "a.json", {"classes": [{"name": "ü", "score": 0.1}], "width": 3}
    write_done(path, "abc", entry)
    assert read_done(path, "abc") == entry
    assert read_done(path, "abd") is None
    whole = path.read_text(encoding="utf-8")
    for changed in (whole.replace("0.1", "0.2"), whole.replace("3", "null"), whole[:-9], "[" * 100_000, "[]", "{}", ""):
        path.write_text(changed, encoding="utf-8")
        assert read_done(path, "abc") is None


def test_what_is_done_is_found_only_with_its_files_and_values(tmp_path):
    values = ClassValues(tmp_path, MANY)
    entry = {"classes": [{"name": "class 7", "value": values.value(7)}]}
    write_mask(tmp_path / "masks/a.png", [[0, 1]])
    (tmp_path / "overlays").mkdir()
    Image.new("RGB", (2, 1)).save(tmp_path / "overlays/a.jpg")
    write_done(tmp_path / file_of(IMAGE, DONE), "abc", entry)
    assert find_done(tmp_path, IMAGE, "abc", ClassValues(tmp_path, MANY)) == entry
    (tmp_path / CLASSES).unlink()
    assert find_done(tmp_path, IMAGE, "abc", ClassValues(tmp_path, MANY)) is None


def test_a_damaged_table_of_values_is_begun_anew(tmp_path):
    ClassValues(tmp_path, MANY).value(9)
    assert ClassValues(tmp_path, MANY).values == {9: 1}
    content = json.loads((tmp_path / CLASSES).read_text())
    row = {"name": "class 7", "value": 1}
    for changes in ([{}, {"name": "class 8"}], [{"name": "no such"}], [{"value": "1"}], [{"value": 2}], []):
        damaged: list = [row | change for change in changes] or [3]  # what is no row at all
        (tmp_path / CLASSES).write_text(json.dumps(content | {"classes": damaged}))
        assert ClassValues(tmp_path, MANY).values == {}


def test_a_few_classes_keep_the_networks_order_and_many_get_values_as_they_occur(tmp_path):
    assert [ClassValues(tmp_path / "few", NAMES).value(index) for index in (2, 0, 1)] == [3, 1, 2]
    assert [ClassValues(tmp_path, MANY).value(280), ClassValues(tmp_path, MANY).value(5)] == [1, 2]
    again = ClassValues(tmp_path, MANY)
    assert [again.value(index) for index in (5, 280, 0)] == [2, 1, 3]
    rows = json.loads((tmp_path / CLASSES).read_text())["classes"]
    assert [(row["value"], row["name"]) for row in rows] == [(1, "class 280"), (2, "class 5"), (3, "class 0")]
    assert again.names == ["class 280", "class 5", "class 0"]
    assert ClassValues(tmp_path, tuple(reversed(MANY))).value(5) == 1  # another network's are not taken over


def test_what_no_mask_can_hold_is_255_and_counted(tmp_path):
    values = ClassValues(tmp_path, MANY)
    assert [values.value(index) for index in range(255)] == [*range(1, 255), IGNORE]
    save(tmp_path / "in/a.png", (20, 30), 255)
    summary = predict_images(tmp_path / "in", tmp_path, Stub(MANY))
    assert summary.without_value == ["class 255"]
    assert set(np.unique(read_mask(tmp_path / "masks/a.png"))) == {0, IGNORE}
