"""Validation while stage `segment` trains: a curve, the epoch that is kept, and the same network without."""

import json

import torch

from stages.networks import load_network
from tests.project import Project

TWO = ("--set", "segment.epochs=2", "--stages", "segment,report")
EACH = (*TWO, "--set", "segment.validate_every=1")


def weights(project: Project) -> list[torch.Tensor]:
    return list(load_network(project.run / "segmenter.pth")[0].state_dict().values())


def test_validation_changes_no_network_and_is_in_the_curve(project: Project):
    project.train(*TWO).well()
    before = weights(project)
    assert "segment" in project.train(*EACH).stages("up to date")
    project.train(*EACH, "--redo", "segment").well()
    assert all(torch.equal(one, other) for one, other in zip(before, weights(project), strict=True))
    rows = [json.loads(line) for line in (project.run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= row["miou"] < 1 for row in [row for row in rows if row["stage"] == "segment"][-2:])
    assert "mIoU of stage segment" in (project.run / "report.html").read_text()


def test_the_best_epoch_says_that_the_list_was_used(project: Project):
    ended = project.train(*EACH, "--set", "segment.keep=best").well()
    assert "this list has been used to choose" in ended.out
    assert "this list has been used to choose" in (project.run / "report.html").read_text()


def test_validation_without_truth_is_refused(project: Project):
    (project.folder / "voc/SegmentationClass").rename(project.folder / "hidden")
    ended = project.train(*EACH)
    assert (ended.code, "segment.validate_every is 1, but" in ended.err) == (2, True), ended.err
