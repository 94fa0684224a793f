"""What is stated with figures."""

import csv
import json
import shutil

import numpy as np

from data.artifacts import read_mask, write_mask
from stages.config import load_config
from tests.project import call


def test_list_and_count_and_what_is_not_known(data, tmp_path):
    words = ("--masks", tmp_path / "good", "--json", tmp_path / "f.json", "--csv", tmp_path / "f.csv")
    printed = call("evaluate", *data, *words).well().out
    assert "list: val" in printed
    assert "published list: no, the published 'val' has 1,449 images, this one 10" in printed
    assert "backbone: not known: the files lie in no run folder" in printed
    assert "(10 images)" in printed
    figures = json.loads((tmp_path / "f.json").read_text())
    assert figures["evaluated"]["list"] == "val"
    (row,) = csv.DictReader((tmp_path / "f.csv").open(encoding="utf-8"))
    assert (float(row["miou"]), row["list"], row["n_images"]) == (figures["miou"], "val", "10")
    assert float(row["iou dog"]) == figures["per_class"]["dog"]["iou"]
    for words in (("--masks", tmp_path / "good", "--output", "x"), ("--run", tmp_path, "--split", "val")):
        ended = call("evaluate", *data, *words)  # with an option that changes nothing
        assert (ended.code, f"leave out {words[2]}" in ended.err) == (2, True)


def test_a_run_folder_says_how_its_files_were_made(data, tmp_path):
    (tmp_path / "good").rename(tmp_path / "pseudo")
    settings = (tmp_path / "settings.yaml").read_text() + "model: {backbone: resnet101}\npseudo: {refine: par}\n"
    (tmp_path / "config.yaml").write_text(settings)
    (tmp_path / "stages.json").write_text("{}")
    printed = call("evaluate", "--masks", tmp_path / "pseudo").well().out
    expected = "backbone: resnet101 | weights: imagenet | refine: par | scales: [1.0, 0.5, 1.5, 2.0] | affinity: none"
    assert [line for line in expected.split(" | ") if line not in printed] == []


def test_predictions_of_another_network_settings_or_images_are_never_evaluated_as_its_own(project):
    kept = ("--output", project.folder / "kept", "--model_path")
    first, again = (project.evaluate(*kept, project.run / "segmenter.pth") for _ in range(2))
    assert first == again
    image = project.folder / "voc/JPEGImages/val_0001.jpg"
    fast = ("--set", "infer.quality=fast")
    labels = project.folder / "voc/image_labels.csv"
    before = labels.read_text()
    refused = [("segmenter.pth",), ("ibb.pth",), ("classifier.pth",), ("segmenter.pth", *fast), ("segmenter.pth",)]
    for position, (network, *changed) in enumerate(refused):
        labels.write_text(before if position else before.replace("val_0002,0,1", "val_0002,1,0"))
        if position == 4:
            image.write_bytes(image.read_bytes()[:-1] + b"1")  # of the same size
        ended = project.evaluate_only(*kept, project.run / network, *changed)
        assert (ended.code, "holds predictions of another network" in ended.err) == (2, True), ended.err


def test_a_run_is_predicted_anew_by_other_settings_or_another_network(project):
    for path in (project.run / "predictions").rglob("*.png"):
        write_mask(path, np.ones_like(read_mask(path)))
    words = ("--run", project.run, "--json", project.folder / "f.json")
    found, first = [], (project.run / "config.yaml").read_text()
    for settings in ((), ("--set", "pseudo.refine=none"), ("--set", "cam.scales=[1.0]"), ()):
        if len(found) == 3:  # settings of a later command, by which nothing was made again
            later = load_config(project.run / "config.yaml", overrides=["infer.refine=none"])
            (project.run / "config.yaml").write_text(later.to_yaml())
        call("evaluate", *words, *settings).well()
        found.append(json.loads((project.folder / "f.json").read_text()))
    predicted = [figures["segmentation, predicted labels"] for figures in found]
    assert [row["evaluated"]["refine"] for row in predicted] == ["par", "none", "par", "none"]
    assert [row["over_activation"] == 1 for row in predicted] == [True, False, True, False]
    assert found[2]["evaluated"]["scales"] == [1.0, 0.5]  # of the seeds as they were made
    (project.run / "config.yaml").write_text(first)
    shutil.copy2(project.run / "ibb.pth", project.run / "segmenter.pth")  # which is older, and keeps its time
    call("evaluate", *words).well()
    found = json.loads((project.folder / "f.json").read_text())
    assert found["segmentation, predicted labels"]["over_activation"] < 1


def test_predictions_of_former_code_are_never_evaluated_as_those_of_the_present(project, monkeypatch):
    kept = ("--output", project.folder / "kept", "--model_path", project.run / "segmenter.pth")
    project.evaluate_only(*kept).well()
    monkeypatch.setattr("evaluation.predictions.symbols_of", lambda root: {"inference.segmenter": "changed"})
    ended = project.evaluate_only(*kept)
    assert (ended.code, "by other settings or code, or of other" in ended.err) == (2, True), ended.err


def test_a_run_whose_files_are_of_other_settings_or_labels_or_are_not_whole_is_not_evaluated(project):
    config = project.run / "config.yaml"
    before = config.read_text()
    config.write_text(load_config(config, overrides=["prm.hi=0.7"]).to_yaml())  # of a command that was stopped
    ended = call("evaluate", "--run", project.run)
    assert (ended.code, "stage 'seeds' is stale, made with other settings (steps)" in ended.err) == (2, True), ended.err
    ended = call("evaluate", "--seeds", project.run / "seeds", "--split", "train")
    assert "not known: the files were made with other settings" in ended.out
    for option, folder, setting in (
        ("--masks", "predictions/given", "infer.refine=none"),
        ("--seeds", "ablation/given/cam", "prm.hi=0.7"),
    ):
        config.write_text(load_config(config, overrides=[setting]).to_yaml())
        assert "not known: the files were made with" in call("evaluate", option, project.run / folder).well().out
        config.write_text(before)
    config.write_text(load_config(config, overrides=["context.enabled=false"]).to_yaml())
    ended = call("evaluate", "--seeds", project.run / "seeds_context", "--split", "train")
    assert "not known: the files were made with other settings (context.enabled is false now)" in ended.out
    config.write_text(before)
    labels = project.folder / "voc/image_labels.csv"
    labels.write_text(labels.read_text().replace("train_0001,1,0", "train_0001,0,1"))
    moved = ("--set", f"data.root={project.folder / 'voc'}")  # the run is a copy, as are the data
    ended = call("evaluate", "--run", project.run, *moved)
    assert (ended.code, "stage 'cam' is stale, made of other images, labels or hints" in ended.err) == (2, True)
    call("report", project.run, *moved).well()
    page = (project.run / "report.html").read_text(encoding="utf-8")
    assert "is not what these settings and data give" in page
    labels.write_text(labels.read_text().replace("train_0001,0,1", "train_0001,1,0"))
    copied = project.run.rename(project.folder / "copied")
    next((copied / "pseudo").glob("*.png")).unlink()
    ended = call("evaluate", "--run", copied, *moved)
    command = f"python train.py --config {copied / 'config.yaml'} --run {copied}"
    assert (ended.code, command in ended.err) == (2, True), ended.err


def test_a_run_folder_itself_is_no_folder_of_seeds(project):
    ended = call("evaluate", "--seeds", project.run, "--split", "train")
    assert (ended.code, "there is no seed file" in ended.err) == (2, True), ended.err


def test_what_has_no_truth_for_all_its_images_is_left_out_and_the_network_is_evaluated(project):
    """Own images have masks for a few images."""
    masks = project.folder / "voc/SegmentationClass"
    sorted(masks.glob("train_*.png"))[0].unlink()
    words = ("--run", project.run, "--set", f"data.root={project.folder / 'voc'}")
    ended = call("evaluate", *words, "--json", project.folder / "f.json").well()
    figures = json.loads((project.folder / "f.json").read_text())
    titles = [title for title in figures if title.split()[0] in ("seeds", "pseudo", "segmentation,")]
    assert titles == ["segmentation, given labels"]  # those of the first evaluation stand by themselves
    assert f"{project.run / 'pseudo'}: left out, because 1 of the " in ended.err
    assert "mIoU" in ended.out
    ended = call("evaluate", *words, "--set", "data.val_list=")
    assert (ended.code, "evaluation needs one for each image of the list" in ended.err) == (2, True), ended.err


def test_maps_are_evaluated_at_the_threshold_that_their_run_has_found(project):
    (project.run / "threshold.json").write_text('{"threshold": 0.6, "reason": ""}')
    words = ("--seeds", project.run / "seeds"), ("--model_path", project.run / "classifier.pth")
    for what in words:
        found = project.evaluate(*what, "--split", "train", "--set", "pseudo.find_threshold=true")
        given = project.evaluate(*what, "--split", "train", "--set", "pseudo.threshold=0.3")
        assert (found["threshold"], given["threshold"]) == (0.6, 0.3)
