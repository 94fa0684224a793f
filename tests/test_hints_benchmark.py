"""Hints simulated from truth are what a person would give, and what data.hints takes."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks import hints as benchmark
from data.hints import open_hints
from data.index import open_index
from data.settings import DataSettings
from tests.project import call
from utils.ignore import IGNORE


@pytest.mark.parametrize("kind", sorted(benchmark.SECONDS))
def test_what_it_writes_is_right_and_can_be_read(kind, make_voc, tmp_path):
    settings = DataSettings(kind="voc", root=str(make_voc()), train_list="train")
    output = tmp_path / ("hints" if kind == "masks" else "hints.json")
    words = ["--set", "data.kind=voc", "--set", f"data.root={settings.root}", "--set", "data.train_list=train"]
    ended = call("benchmarks.hints", "--kind", kind, "--output", output, *words).well()
    assert "min of a person" in ended.out
    index = open_index(settings, "train", masks=True)
    hints = open_hints(replace(settings, hints=str(output)), open_index(settings, "train"))
    assert hints.images.keys() == {record.name for record in index.records}
    for record in index.records:
        truth, hint = record.read_truth(), hints.of(record.name)
        said = hint.values != IGNORE
        assert (truth[said] != hint.values[said]).sum() <= 0.1 * said.sum()  # a disc or a line may touch the border
        if kind == "masks":
            np.testing.assert_array_equal(hint.values, truth)
        elif kind == "boxes":
            assert {box[0] for box in hint.boxes} == set(record.labels)
            for label, left, top, right, bottom in hint.boxes:
                outside = truth == label + 1
                outside[top:bottom, left:right] = False
                assert not outside.any()
        else:
            assert set(np.unique(hint.values[said])) == {0, *(label + 1 for label in record.labels)}


def test_objects_are_regions_and_a_click_is_well_inside():
    truth = np.zeros((100, 60), np.uint8)
    truth[5:15, 5:15], truth[20:35, 30:50], truth[0, 59] = 1, 1, 1
    regions = benchmark.objects_of(truth, ("background", "cat"))
    assert [label for label, _ in regions] == ["cat", "cat"]  # the single pixel is too small to be seen
    inside = benchmark.well_inside(truth == 1)
    assert inside[26:30].any()
    assert not inside[5, 5:15].any()


def test_a_folder_for_masks_and_a_file_for_the_rest(tmp_path):
    assert call("benchmarks.hints", "--kind", "masks", "--output", tmp_path / "a.json").code == 2
    assert call("benchmarks.hints", "--kind", "clicks", "--output", tmp_path / "a").code == 2
