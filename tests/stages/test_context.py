"""Stages context and part, from the seeds of a finished tiny run on: what they write, redo, and leave out."""

import numpy as np
import pytest
import torch

from data.artifacts import read_seed, write_seed
from stages.networks import load_classifier
from tests.project import Project, names


def make_up_seeds(project: Project) -> None:
    """Noise in place of the training list's seeds: a fresh backbone's are sure of nothing or everything."""
    for number, name in enumerate(names(project, "train")):
        path = project.run / "seeds" / f"{name}.npz"
        seed = read_seed(path)
        seed.maps[:] = np.random.default_rng(number).random(seed.maps.shape)
        write_seed(path, seed)


def test_the_classifier_learns_its_context_and_stays_what_it_is(finished: Project):
    plain, taught = (load_classifier(finished.run / name) for name in ("classifier.pth", "context.pth"))
    assert plain.context is None
    assert taught.context is not None
    assert taught.context.weight.shape == (2, 6, 112)  # efficientnet_lite0's first stage of stride 16
    state = taught.state_dict()
    for name, tensor in plain.state_dict().items():
        assert torch.equal(state[name], tensor)


def test_parted_seeds_have_the_form_of_seeds(project: Project):
    make_up_seeds(project)
    ended = project.train("--set", "context.hi=0.7", "--stages", "context,part")
    assert ended.code == 0, ended.err
    assert ended.stages("done") == ["context", "part"]
    for name in names(project, "train"):
        seed, parted = (read_seed(project.run / folder / f"{name}.npz") for folder in ("seeds", "parted"))
        assert (parted.classes == seed.classes).all()
        assert parted.maps.shape == seed.maps.shape
        assert 0.7 < parted.maps.max() <= 1  # noise that is resized loses its peak
        assert not np.array_equal(parted.maps, seed.maps)


def test_other_classes_are_asked_where_there_are_enough(project: Project):
    make_up_seeds(project)
    for least, asked in ((10, False), (1, True)):
        ended = project.train(
            "--set", "context.hi=0.7", "--set", f"context.least_others={least}", "--stages", "context"
        )
        assert ended.code == 0, ended.err
        assert ended.stages("done") == ["context"]
        context = load_classifier(project.run / "context.pth").context
        assert context is not None
        own, others = context.weight
        assert own.abs().sum() > 0
        assert torch.equal(own, others) != asked


def test_without_context_later_stages_take_the_seeds(project: Project):
    off = ("--set", "context.enabled=false")
    ended = project.train(*off)
    assert ended.code == 0, ended.err
    assert ended.stages("skipped") == ["context", "part", "affinity", "walk"]
    assert ended.stages("up to date") == ["cam", "seeds"]
    for name in names(project, "val"):
        before, after = (read_seed(project.run / "ladder" / rung / f"{name}.npz") for rung in ("ibb", "context"))
        assert np.array_equal(before.maps, after.maps)
    masks = project.evaluate(*off, "--masks", project.run / "pseudo", "--split", "train")[1]
    seeds = project.evaluate(*off, "--seeds", project.run / "fused", "--split", "train")[1]
    assert masks["miou"] == pytest.approx(seeds["miou"], abs=1e-9)


def test_part_goes_on_where_it_was(project: Project):
    first, *others = names(project, "train")
    folder = project.run / "parted"
    before = {name: (folder / f"{name}.npz").read_bytes() for name in (first, *others)}
    kept = {name: (folder / f"{name}.npz").stat().st_mtime_ns for name in others}
    (folder / f"{first}.npz").unlink()
    ended = project.train("--stages", "context,part")
    assert ended.stages("up to date") == ["context"]
    assert ended.stages("done") == ["part"]
    assert {name: (folder / f"{name}.npz").read_bytes() for name in before} == before
    assert {name: (folder / f"{name}.npz").stat().st_mtime_ns for name in others} == kept
