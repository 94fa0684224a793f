"""Validation while stage `segment` trains: a curve, the epoch that is kept, and the same network without."""

import json

import torch

from stages.networks import load_network
from tests.project import Project

TWO = ("--set", "segment.epochs=2", "--stages")
EACH = ("--set", "segment.validate_every=1", *TWO)


def weights(project: Project) -> list[torch.Tensor]:
    return list(load_network(project.run / "segmenter.pth")[0].state_dict().values())


def test_validation_changes_no_network_is_in_the_curve_and_chooses_the_best_epoch_where_that_is_asked_for(project):
    project.train(*TWO, "segment").well()
    before = weights(project)
    assert project.train(*EACH, "segment").stages("up to date") == ["segment"]
    project.train(*EACH, "segment", "--redo", "segment").well()
    assert all(torch.equal(one, other) for one, other in zip(before, weights(project), strict=True))
    rows = [json.loads(line) for line in (project.run / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= row["miou"] < 1 for row in [row for row in rows if row["stage"] == "segment"][-2:])
    ended = project.train(*EACH, "segment,report", "--set", "segment.keep=best").well()
    page = (project.run / "report.html").read_text()
    assert "mIoU of stage segment" in page
    assert all("this list has been used to choose" in text for text in (ended.out, page))


def test_validation_without_truth_is_refused(project: Project):
    (project.folder / "voc/SegmentationClass").rename(project.folder / "hidden")
    ended = project.train(*EACH, "segment")
    assert (ended.code, "segment.validate_every is 1, but" in ended.err) == (2, True), ended.err
    assert not ended.stages("up to date")  # it is told before the first stage
    assert project.train(*EACH, "seeds").well().stages("up to date") == ["seeds"]
