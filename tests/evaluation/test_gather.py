"""Mean and deviation of several runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import evaluate
from evaluation import gather


class TestGather:
    def files(self, call, data, tmp_path) -> list[Path]:
        paths = []
        for folder in ("good", "same", "bad"):
            paths.append(tmp_path / f"{folder}.json")
            call(evaluate, *data, "--masks", tmp_path / folder, "--json", paths[-1])
        return paths

    def test_mean_and_deviation_of_a_sample(self, call, data, tmp_path):
        paths = self.files(call, data, tmp_path)
        code, printed = call(gather, *paths, "--csv", tmp_path / "g.csv")
        assert code == 0, printed
        values = [json.loads(path.read_text())["miou"] for path in paths]
        assert f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}" in printed
        lines = {line["figure"]: line for line in csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8"))}
        assert [float(lines["miou"][f"run {number}"]) for number in (1, 2, 3)] == values
        assert float(lines["miou"]["mean"]) == pytest.approx(np.mean(values))
        assert float(lines["miou"]["deviation"]) == pytest.approx(np.std(values, ddof=1))
        cats = [json.loads(path.read_text())["per_class"]["cat"]["iou"] for path in paths]
        assert float(lines["iou cat"]["mean"]) == pytest.approx(np.mean(cats))

    def test_what_is_no_repeat_is_refused(self, call, data, tmp_path):
        paths = self.files(call, data, tmp_path)
        call(evaluate, *data, "--masks", tmp_path / "good", "--split", "train", "--json", tmp_path / "other.json")
        (tmp_path / "text.json").write_text("{}")
        for arguments, expected in (
            ([paths[0]], "at least two runs"),
            ([paths[0], tmp_path / "other.json"], "images is 10 and 20"),
            ([paths[0], tmp_path / "text.json"], "text.json holds no figures"),
            ([paths[0], tmp_path], "holds no figures"),
            ([paths[0], tmp_path / "gone.json"], "gone.json holds no figures"),
        ):
            code, printed = call(gather, *arguments)
            assert (code, expected in printed) == (2, True), printed
