"""What is stated with figures."""

import csv
import json

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


def test_a_run_folder_says_how_its_files_were_made(data, tmp_path):
    (tmp_path / "good").rename(tmp_path / "pseudo")
    settings = (tmp_path / "settings.yaml").read_text() + "model: {backbone: resnet101}\npseudo: {refine: par}\n"
    (tmp_path / "config.yaml").write_text(settings)
    (tmp_path / "stages.json").write_text("{}")
    printed = call("evaluate", "--masks", tmp_path / "pseudo").well().out
    expected = "backbone: resnet101 | weights: imagenet | crf: par | scales: [1.0, 0.5, 1.5, 2.0] | affinity: none"
    assert [line for line in expected.split(" | ") if line not in printed] == []
