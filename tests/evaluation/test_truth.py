"""Truth is there and can be right, before anything is measured."""

import logging
from pathlib import Path

import numpy as np
import pytest

from data.artifacts import write_mask
from data.dataset import Index, Record
from evaluation import truth
from evaluation.truth import check_truth
from utils.errors import UserError


def index(folder: Path, *masks: np.ndarray, label: int = 0) -> Index:
    records = []
    for number, mask in enumerate(masks):
        write_mask(folder / f"{number}.png", mask)
        records.append(Record(f"{number}", folder / f"{number}.jpg", (label,), folder / f"{number}.png"))
    return Index(("cat", "dog"), tuple(records))


def test_a_mask_that_is_missing_is_named(tmp_path):
    found = index(tmp_path, np.ones((3, 4)), np.ones((3, 4)))
    (tmp_path / "1.png").unlink()
    with pytest.raises(UserError, match=r"1\.png has no mask.* 1 of 2 have none"):
        check_truth(found, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_truth_that_cannot_be_right_is_refused(tmp_path, workers):
    with pytest.raises(UserError, match=r"hold only 0 and 255.*data.mask_values=\{0: background, 255: cat\}"):
        check_truth(index(tmp_path, *[np.tile([0, 255], (3, 2))] * 4), workers)


def test_a_list_is_read_once_and_again_when_a_mask_has_changed(tmp_path, monkeypatch):
    found = index(tmp_path, np.ones((3, 4)))
    read = []
    real = truth.read_with_facts
    monkeypatch.setattr(truth, "read_with_facts", lambda *given: (read.append(given[0]), real(*given))[1])
    check_truth(found, 0)
    check_truth(found, 0)
    assert len(read) == 1
    write_mask(tmp_path / "0.png", np.tile([0, 255], (30, 20)))
    with pytest.raises(UserError, match="hold only"):
        check_truth(found, 0)


def test_a_few_contradictions_are_a_warning(tmp_path, caplog):
    right, wrong = np.tile([0, 1], (3, 2)), np.tile([0, 2], (3, 2))
    with caplog.at_level(logging.WARNING):
        check_truth(index(tmp_path, right, right, right, right, wrong), 0)
    assert "the masks of 1 of 5 images contradict their labels" in caplog.text
