"""What a classifier shows: its classes, and the maps of every step that its run has."""

import logging
import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from data.artifacts import read_seed
from data.images import read_image
from inference.classifier import apart
from inference.loading import load_predictor
from tests.project import Project, names
from utils.checkpoint import load_checkpoint, save_checkpoint
from utils.errors import UserError


def test_maps_that_lie_upon_each_other_count_once():
    maps = torch.zeros(4, 10, 10)
    maps[0, :5], maps[1, :4], maps[2, 6:], maps[3] = 1, 0.9, 0.8, 0.3  # the last lies nowhere
    assert apart(maps) == [0, 2, 3]


@pytest.mark.parametrize("checkpoint", ["classifier.pth", "context.pth"])
def test_its_maps_are_those_that_the_report_evaluates(finished: Project, checkpoint):
    predictor = load_predictor(finished.run / checkpoint, ["device=cpu"])
    assert list(predictor.settings["dataset steps"]) == ["context", "trained"]
    for name in names(finished, "val"):
        (path,) = (finished.folder / "voc/JPEGImages").glob(f"{name}.*")
        expected = read_seed(finished.run / "ablation_steps/given/trained" / f"{name}.npz")
        found = predictor.predict(np.array(read_image(path)), expected.classes.tolist())
        assert found.classes == tuple(expected.classes)
        np.testing.assert_allclose(found.maps, expected.maps, atol=0.02)  # files hold 8 bits, after each step


def test_masks_depend_on_the_networks_of_its_steps(project: Project):
    read = partial(load_predictor, project.run / "classifier.pth", ["device=cpu"])
    before = read().settings
    assert read().settings == before
    shutil.copy(project.run / "segmenter.pth", project.run / "ibb.pth")
    assert read().settings != before


def test_networks_of_another_run_beside_it_are_refused(project: Project):
    for name in ("ibb.pth", "context.pth"):
        own = load_checkpoint(project.run / name)
        save_checkpoint(project.run / name, replace(own, class_names=own.class_names[::-1]))
        order = f"{name} was made for the classes .*, in this order; expected .*, in this order"
        with pytest.raises(UserError, match=order):
            load_predictor(project.run / "classifier.pth", ["device=cpu"])
        save_checkpoint(project.run / name, own)
    own.state["classifier.weight"].neg_()
    save_checkpoint(project.run / "context.pth", own)
    other = "context.pth was learned with another classifier than the one that reads the images"
    with pytest.raises(UserError, match=other):
        load_predictor(project.run / "classifier.pth", ["device=cpu"])


def test_fast_opens_no_other_network_and_reads_an_image_once(finished: Project):
    for checkpoint, steps in (("classifier.pth", []), ("context.pth", ["context"])):
        predictor = load_predictor(finished.run / checkpoint, ["device=cpu", "infer.quality=fast"])
        assert [step.name for step in predictor.method.steps] == ["cam", "gfm", "prm"]
        assert predictor.method.views.scales == (1.0,)
        assert list(predictor.settings["dataset steps"]) == steps
        assert predictor.settings["infer"]["quality"] == "fast"


def test_a_step_whose_network_is_missing_is_named(finished: Project, tmp_path, caplog):
    shutil.copy(finished.run / "classifier.pth", tmp_path)
    with caplog.at_level(logging.WARNING):
        predictor = load_predictor(tmp_path / "classifier.pth", ["device=cpu"])
    assert predictor.settings["dataset steps"] == {}
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"the maps are without the step '{title}'" for title in ("context", "IBB in training")
    ]
    assert all(name in caplog.text for name in ("context.pth", "ibb.pth"))
