"""Stages affinity and walk, from the seeds of a finished tiny run on: what they write, redo, and survive."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.common import set_all
from data.artifacts import Seed, read_mask, read_seed, write_seed
from models.random_walk import MOST_WEIGHTS
from stages.config import load_config
from stages.files import seed_index
from stages.networks import load_affinity
from stages.reading import TOGETHER, SeedFolders, change_seeds
from stages.walk import open_boundary_walk
from tests.models.tiny import tiny_classifier
from tests.project import Project, names
from utils.compute import Compute

LEARNED = [
    *("affinity.kind=learned", "affinity.refine=par", "affinity.epochs=1", "affinity.batch_size=3"),
    *("affinity.crop_size=64", "affinity.radius=5", "affinity.exp_times=4"),
]


@pytest.fixture(scope="module")
def learned(finished: Project, tmp_path_factory) -> Project:
    """A run that goes on from the finished one with a learned walk."""
    project = finished.copy(tmp_path_factory.mktemp("learned"))
    project.first = project.train(*set_all(LEARNED)).well()
    return project


@pytest.fixture
def walked(learned: Project, tmp_path) -> Project:
    """A copy of it."""
    return learned.copy(tmp_path)


def test_learned_walk_goes_on_from_the_seeds(learned: Project, walked: Project):
    done = learned.first
    assert done.stages("up to date") == ["cam", "seeds", "context", "remove", "ibb", "correct", "ablation"]
    assert done.stages("done") == ["affinity", "walk", "pseudo", "segment", "report"]
    for name in names(learned, "train"):
        seed, walk = (read_seed(learned.run / folder / f"{name}.npz") for folder in ("seeds_trained", "seeds_walk"))
        assert walk.maps.shape == seed.maps.shape
        assert (walk.classes == seed.classes).all()
        assert walk.maps.max() == pytest.approx(1)
        assert not np.array_equal(walk.maps, seed.maps)
        assert set(np.unique(read_mask(learned.run / "confident" / f"{name}.png"))) <= {0, 255, *(seed.classes + 1)}
    losses = [json.loads(line) for line in (learned.run / "metrics.jsonl").read_text().splitlines()]
    assert {"bg_pos", "fg_pos", "neg", "loss"} <= set([line for line in losses if line["stage"] == "affinity"][-1])
    assert not load_affinity(learned.run / "affinity.pth").has_displacement
    assert "+ random walk" in json.loads((learned.run / "report.json").read_text())
    for setting, redone in (
        ("affinity.feature_power=3", []),  # of the other walk
        ("pseudo.threshold=0.3", ["pseudo"]),
        ("affinity.exp_times=2", ["walk", "pseudo"]),
    ):
        stages = "cam,seeds,context,remove,ibb,correct,affinity,walk,pseudo"
        assert walked.train(*set_all([*LEARNED, setting]), "--stages", stages).stages("done") == redone


def test_images_that_walk_together_get_the_seeds_of_each_alone(walked: Project, monkeypatch):
    """As on a GPU; an image without classes is among them, and another is there already."""
    cfg, cpu = load_config(walked.run / "config.yaml"), Compute(torch.device("cpu"))
    index, source = seed_index(cfg), walked.run / "seeds_trained"
    there, empty, *_ = [f"{record.name}.npz" for record in index.records]
    seed = read_seed(source / empty)
    write_seed(source / empty, Seed(seed.classes[:0], seed.maps[:0], seed.size))
    walk, sizes = open_boundary_walk(cfg, walked.run, tiny_classifier()), []

    def change_all(maps, edges):
        sizes.append(len(maps))
        return walk.change_all(maps, edges)

    for together in (1, 3):
        monkeypatch.setitem(TOGETHER, "cpu", together)
        monkeypatch.setitem(MOST_WEIGHTS, "cpu", 2**20 * (together - 1))
        target = walked.folder / f"together{together}"
        target.mkdir()
        shutil.copy(source / there, target)
        folders = SeedFolders(index, source, target)
        assert change_seeds(cfg, folders, replace(walk, change_all=change_all), cpu, "walk") == len(index) - 1
    assert max(sizes) > 1
    for record in index.records:
        one, other = (read_seed(walked.folder / f"together{count}/{record.name}.npz") for count in (1, 3))
        assert np.array_equal(one.maps, other.maps)
        assert (one.classes.tolist(), one.size) == (other.classes.tolist(), other.size)
    assert not len(read_seed(walked.folder / "together3" / empty).classes)


def walked_maps(project: Project) -> list[np.ndarray]:
    return [read_seed(project.run / "seeds_walk" / f"{name}.npz").maps for name in names(project, "train")]


def test_displacement_changes_no_mask_and_background_that_walks_leaves_less_to_the_classes(walked: Project):
    without = walked_maps(walked)
    walked.train(*set_all([*LEARNED, "affinity.displacement=true"]), "--stages", "affinity,walk").well()
    network = load_affinity(walked.run / "affinity.pth")
    assert network.has_displacement
    assert network.mean_shift.running_mean.abs().sum() > 0
    assert Image.open(walked.run / "affinity.jpg").width > 1000  # five tiles a row
    assert all(np.abs(one - other).max() < 0.02 for one, other in zip(walked_maps(walked), without, strict=True))
    maps = []
    for background in (0.1, 1.0):
        settings = ("affinity.displacement=true", f"affinity.walk_background={background}")
        walked.train(*set_all([*LEARNED, *settings]), "--stages", "walk").well()
        maps.append(walked_maps(walked))
    for weak, strong in zip(*maps, strict=True):
        assert weak.sum(axis=0).max() < 1.01
        assert strong.mean() < 0.6 * weak.mean()


def test_nothing_confident_and_one_image(project: Project):
    first = names(project, "train")[0]
    (project.folder / "voc/ImageSets/Segmentation/one.txt").write_text(f"{first}\n")
    settings = ("affinity.fg_threshold=1.0", "affinity.bg_threshold=0.0", "affinity.refine=none")
    words = set_all([*LEARNED, "data.train_list=one", *settings])
    ended = project.train(*words, "--stages", "cam,seeds,affinity,walk,pseudo").well()
    assert "loss" in ended.out
    assert read_seed(project.run / "seeds_walk" / f"{first}.npz").maps.max() == pytest.approx(1)


@pytest.mark.long
def test_any_size(project: Project):
    sizes = dict(zip(names(project, "train"), [(1, 70), (70, 1), (250, 90)], strict=False))
    for name, size in sizes.items():
        path = next((project.folder / "voc/JPEGImages").glob(f"{name}.*"))
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)).save(path)
    for kind in ("learned", "features"):
        stages = "seeds,context,remove,ibb,correct,affinity,walk,pseudo"
        project.train(*set_all([*LEARNED, f"affinity.kind={kind}"]), "--stages", stages).well()
        assert {name: read_mask(project.run / "pseudo" / f"{name}.png").shape for name in sizes} == sizes
