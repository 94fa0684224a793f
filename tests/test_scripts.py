"""The scripts as a person runs them: one tiny run from images and labels to an evaluated network."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import stages.seeds
from data.artifacts import read_mask, read_seed, write_mask
from exports.mask_sets import open_mask_set
from exports.masks import export_masks
from tests.project import Project, call, names, new_project

SCRIPTS = ("train", "evaluate", "infer", "report")
STAGES = ["cam", "seeds", "context", "remove", "ibb", "correct", "pseudo", "segment", "ablation", "report"]


def test_training_runs_from_images_and_labels_to_a_report(finished):
    assert finished.first.stages("done") == STAGES
    assert finished.first.stages("skipped") == ["affinity", "walk"]
    for name in names(finished, "train"):
        seed = read_seed(finished.run / "seeds" / f"{name}.npz")
        mask = read_mask(finished.run / "pseudo" / f"{name}.png")
        assert mask.shape == seed.size
        assert set(np.unique(mask)) <= {0, 255, *(seed.classes + 1)}
    assert (finished.folder / "best_model.pth").read_bytes() == (finished.run / "segmenter.pth").read_bytes()
    record = finished.read("stages.json")
    assert set(record) == set(STAGES)
    assert record["seeds"]["result"] == {"images": 6, "written": 6}
    lines = (finished.run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == ["cam", "ibb", "segment"]


def test_the_same_command_again_changes_nothing_and_other_colours_only_what_shows_them(project):
    project.train()  # the copy lies in another folder, which no stage depends on
    cache = "run/contents.json"  # of digests; files that are seconds old enter it later
    before = project.files()
    again = project.train().well()
    assert again.stages("up to date") == STAGES
    assert again.stages("done") == []
    assert project.files() | {cache: None} == before | {cache: None}
    colours = ("--set", f"data.colors={json.dumps([f'#0000{10 * number:02x}' for number in range(1, 7)])}")
    assert project.train(*colours).stages("done") == ["pseudo", "report"]
    mask = Image.open(project.run / "pseudo" / f"{names(project, 'train')[0]}.png")
    assert mask.getpalette()[3:21] == [value for number in range(1, 7) for value in (0, 0, 10 * number)]
    assert project.train(*colours).stages("done") == []


def test_without_masks_training_runs_to_the_end(tmp_path, tiny_backbone):
    project = new_project(tmp_path, tiny_backbone)
    shutil.rmtree(tmp_path / "voc" / "SegmentationClass")
    ended = project.train("--set", "prm.enabled=false").well()
    assert ended.stages("done") == STAGES[:8]
    assert ended.stages("skipped: list 'val' has no masks") == ["ablation", "report"]
    assert (tmp_path / "best_model.pth").is_file()


@pytest.mark.parametrize("stopped", [True, False])
def test_seeds_that_are_there_are_kept_and_the_others_made_as_before(project, monkeypatch, stopped):
    """Those of a command that was stopped, and those of a stage that was done."""
    folder, written = project.run / "seeds", []
    before = {path: path.read_bytes() for path in sorted(folder.glob("*.npz"))}

    def write_two(path: Path, *more, write=stages.seeds.write_seed) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, *more)

    if stopped:
        with monkeypatch.context() as patch:
            patch.setattr(stages.seeds, "write_seed", write_two)
            assert project.train("--redo", "seeds").code == 130
    else:
        for path in list(before)[2:]:
            path.unlink()
    assert len(list(folder.glob("*.npz"))) == 2
    again = project.train()
    assert again.stages("done") == ["seeds"]
    assert re.search("written +4\n", again.out)
    assert {path: path.read_bytes() for path in before} == before


KEYS = {
    *("miou", "miou_best", "miou_classes", "miou_classes_best", "over_activation", "over_activation_best"),
    *("under_activation", "under_activation_best", "threshold", "threshold_best", "per_class", "n_images"),
    *("ignored_predictions", "curve", "evaluated"),
}


def evaluated(project: Project, *words: str | Path) -> tuple[dict, dict]:
    """The figures of evaluate.py, which finds the data by itself, and those of the report."""
    call("evaluate", *words, "--json", project.run / "figures.json").well()
    return project.read("figures.json"), project.read("report.json")


def test_networks_are_evaluated_with_given_and_predicted_labels_and_after_every_step(finished):
    figures, report = evaluated(finished, "--model_path", finished.folder / "best_model.pth")
    assert set(figures) >= KEYS
    assert figures["n_images"] == 3
    assert (figures["evaluated"]["backbone"], figures["evaluated"]["list"]) == ("tiny", "val")
    given = figures["segmentation, given labels"]
    assert set(given) >= KEYS
    assert given["miou"] == report["segmentation, given labels"]["miou"]
    figures, report = evaluated(finished, "--model_path", finished.run / "context.pth")
    for title in ("+ IBB in training", "CAM"):
        assert figures[title]["miou"] == report[title]["miou"]
    assert figures["miou"] == report["IBB in training, predicted labels"]["miou"]


def test_seeds_are_evaluated_at_every_threshold_and_masks_are_the_seeds_at_theirs(finished):
    figures = finished.evaluate("--seeds", finished.run / "ablation_steps/given/context")
    assert set(figures) == KEYS
    thresholds = [threshold for threshold, _ in figures["curve"]]
    assert thresholds == pytest.approx([0, 0.3, 0.4, 0.6, 0.9])  # and the configured one
    assert figures["threshold"] == 0.4
    assert dict(map(tuple, figures["curve"]))[0.4] == figures["miou"]
    assert max(miou for _, miou in figures["curve"]) == figures["miou_best"]
    assert figures["curve"] == finished.read("report.json")["+ context"]["curve"]
    figures = finished.evaluate("--masks", finished.folder / "voc" / "SegmentationClass", "--split", "train")
    assert set(figures) == KEYS
    assert (figures["miou"], figures["over_activation"], figures["under_activation"]) == (1.0, 0.0, 0.0)
    assert (figures["n_images"], figures["threshold"], figures["curve"]) == (6, None, [])
    assert figures["per_class"]["background"]["iou"] == 1.0
    masks = finished.evaluate("--masks", finished.run / "pseudo", "--split", "train")
    seeds = finished.evaluate("--seeds", finished.run / "seeds_trained", "--split", "train")
    for name in ("miou", "over_activation"):
        assert masks[name] == pytest.approx(seeds[name], abs=1e-9)


def test_a_run_is_evaluated_on_the_lists_that_figures_are_published_on(finished):
    figures, report = evaluated(finished, "--run", finished.run)
    for title in ("segmentation, given labels", "segmentation, predicted labels"):
        assert figures[title]["miou"] == report[title]["miou"]
        assert (figures[title]["evaluated"]["list"], figures[title]["n_images"]) == ("val", 3)
    seeds = finished.evaluate("--seeds", finished.run / "seeds", "--split", "train")
    assert (figures["miou"], figures["evaluated"]["list"], figures["n_images"]) == (seeds["miou"], "train", 6)
    masks = finished.evaluate("--masks", finished.run / "pseudo", "--split", "train")
    assert figures["pseudo masks"]["miou"] == masks["miou"]
    assert figures["pseudo masks"]["evaluated"]["refine"] == "none"
    rows = [figures, *(figures[title] for title in ("seeds + context", "seeds + IBB in training", "pseudo masks"))]
    published = {row["evaluated"]["published list"] for row in rows}
    assert published == {"no, the published 'train' has 1,464 images, this one 6"}


def test_a_run_whose_network_is_newer_than_its_predictions_is_predicted_anew(project):
    project.train()
    record = project.read("stages.json")
    record["segment"] = record.pop("segment")  # made again after the report
    (project.run / "stages.json").write_text(json.dumps(record))
    for path in (project.run / "predictions").rglob("*.png"):
        write_mask(path, np.zeros_like(read_mask(path)))
    found, report = evaluated(project, "--run", project.run)
    title = "segmentation, given labels"
    assert found[title]["miou"] == report[title]["miou"]
    next((project.run / "seeds_context").glob("*.npz")).unlink()
    ended = project.evaluate_only("--run", project.run)
    assert (ended.code, "run the stages that are missing" in ended.err) == (2, True)


def test_a_network_and_its_own_masks_do_not_differ(finished):
    both = finished.run / "segmenter.pth", finished.run / "predictions/predicted"
    ended = call("evaluate", "--compare", *both).well()
    assert "these 3 images show no clear difference" in ended.out
    assert "+0.00 .. +0.00" in ended.out


def test_a_runs_masks_are_exported_with_its_classes_and_images(project, tmp_path, caplog):
    for folder, list_name in (("pseudo", "train"), ("predictions/given", "val")):
        masks = open_mask_set(project.run / folder)
        assert [mask.name for mask in masks.masks] == sorted(names(project, list_name))
        assert all((project.folder / "voc/JPEGImages" / mask.image).is_file() for mask in masks.masks)
    checkpoint = torch.load(project.run / "segmenter.pth", weights_only=True)
    assert list(masks.class_names.values()) == checkpoint["class_names"]
    assert export_masks(masks, ["coco"], tmp_path).startswith("coco: 3 images")
    assert not caplog.text
    next((project.run / "pseudo").glob("*.png")).unlink()
    config = project.run / "config.yaml"  # of a later command that was stopped
    config.write_text(config.read_text().replace("threshold: 0.4", "threshold: 0.5"))
    assert len(open_mask_set(project.run / "pseudo").masks) == 5
    assert "1 of the 6 images of the run's list have no mask" in caplog.text
    assert "stage 'pseudo', which wrote it, is stale: " in caplog.text
