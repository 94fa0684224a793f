"""A run with hints: what depends on them is made again and nothing else, and no mask contradicts them."""

import json

import numpy as np
import pytest
import torch

import stages.segment
from data.artifacts import read_mask, read_seed, write_mask
from evaluation.stages import pipeline
from stages.config import load_config
from stages.files import PSEUDO, SEGMENTER
from stages.segment import SegmenterPlan, mask_losses, train_on_masks
from tests.project import Project, names
from utils.ignore import IGNORE
from utils.run import Run

BEFORE = ["cam", "seeds", "ablation"]


def give_truth(project: Project, count: int) -> list[str]:
    """Hints: the left half of the truth of some training images."""
    chosen = names(project, "train")[:count]
    for name in chosen:
        said = read_mask(project.folder / f"voc/SegmentationClass/{name}.png").copy()
        said[:, said.shape[1] // 2 :] = IGNORE
        write_mask(project.folder / "hints" / f"{name}.png", said)
    return chosen


def outputs(project: Project) -> dict[str, bytes]:
    files = (path for path in project.run.rglob("*") if path.suffix in (".npz", ".png", ".pth"))
    return {str(path.relative_to(project.run)): path.read_bytes() for path in files}


def test_hints_change_what_depends_on_them_and_nothing_else(project):
    before = outputs(project)
    chosen = give_truth(project, 2)
    words = ("--set", f"data.hints={project.folder / 'hints'}")
    hinted = project.train(*words).well()
    assert hinted.stages("up to date") == BEFORE
    stage = next(stage for stage in pipeline() if stage.name == "remove")
    assert "feature_walk" not in stage.reads(load_config(None, overrides=["data.hints=it"]))
    after = outputs(project)
    assert all(after[name] == before[name] for name in before if name.startswith(("classifier", "seeds/")))
    assert after["context.pth"] != before["context.pth"]
    for name in chosen:
        said = read_mask(project.folder / f"hints/{name}.png")
        for folder in ("ibb_masks", "pseudo"):
            mask = read_mask(project.run / folder / f"{name}.png")
            np.testing.assert_array_equal(mask[said != IGNORE], said[said != IGNORE])
        seed = read_seed(project.run / f"seeds_trained/{name}.npz")
        background = (said == 0)[2::4, 2::4][: seed.maps.shape[1], : seed.maps.shape[2]]
        inside = np.logical_and.reduce([np.roll(background, step, axis) for step in (-1, 0, 1) for axis in (0, 1)])
        assert seed.maps[:, inside].max(initial=0) <= 1 / 255
    record = json.loads((project.run / "stages.json").read_text())["pseudo"]["result"]
    assert record["hinted_images"] == 2
    assert "images: 2, areas: 2" in record["chosen"][-1]
    assert "hints of " in (project.run / "report.html").read_text(encoding="utf-8")
    assert project.train(*words).stages("done") == []
    done = project.train().well().stages("done")  # and all is as it was, as are predictions and the ablation
    assert done == ["context", "remove", "ibb", "correct", "pseudo", "segment", "report"]
    files = [{name: each[name] for name in each if not name.endswith(".pth")} for each in (before, outputs(project))]
    assert files[0] == files[1]


def test_each_image_with_hints_counts_the_same_however_many_there_are(project, monkeypatch):
    weights = []

    def stop(run, plan, network, items, losses):
        weights.append(losses.keywords["hint_weight"])
        raise InterruptedError

    monkeypatch.setattr(stages.segment, "train_on_crops", stop)
    for count in (1, 2):
        give_truth(project, count)
        hints = [f"data.hints={project.folder / 'hints'}", "segment.hint_weight=0.3"]
        cfg = load_config(project.folder / "settings.yaml", overrides=hints)
        with pytest.raises(InterruptedError):
            train_on_masks(cfg, Run(cfg), SegmenterPlan("segment", 1, PSEUDO, SEGMENTER))
    assert weights == [0.3, 0.3]


def test_the_loss_counts_hints_where_there_are_any():
    logits = torch.zeros(1, 3, 4, 4)
    logits[:, 1] = 4
    mask = torch.ones(1, 16, 16, dtype=torch.int64)
    hints = torch.full_like(mask, IGNORE)
    hints[0, 3, 3] = 2
    items = {"image": torch.zeros(1, 3, 16, 16), "mask": mask}
    without, with_ = (mask_losses(lambda _: logits, items | more, hint_weight=0.5) for more in ({}, {"hints": hints}))
    assert set(without) == {"segmentation"}
    assert torch.equal(with_["segmentation"], without["segmentation"])
    assert with_["hints"] > 1
