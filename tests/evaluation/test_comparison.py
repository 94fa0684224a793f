"""Two sources compared: what is clear, and what is no source."""

import json

import pytest

import evaluate


class TestCompare:
    def test_a_clear_gain_and_none(self, call, data, tmp_path):
        code, printed = call(
            evaluate, *data, "--compare", tmp_path / "bad", tmp_path / "good", "--json", tmp_path / "c.json"
        )
        assert code == 0, printed
        assert "B is better" in printed
        compared = json.loads((tmp_path / "c.json").read_text())
        row = compared["differences"]["miou"]
        assert row["difference"] == pytest.approx(row["b"] - row["a"])
        assert 0 < row["low"] < row["difference"] < row["high"]
        for side, folder in (("a", "bad"), ("b", "good")):
            call(evaluate, *data, "--masks", tmp_path / folder, "--json", tmp_path / "f.json")
            assert row[side] == pytest.approx(json.loads((tmp_path / "f.json").read_text())["miou"], abs=1e-12)
        _, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / "bad")
        assert "A is better" in printed
        _, printed = call(evaluate, *data, "--compare", tmp_path / "good", tmp_path / "same")
        assert "these 10 images show no clear difference" in printed

    def test_seeds_are_compared_at_their_best_threshold(self, call, data, tmp_path):
        _, printed = call(
            evaluate, *data, "--compare", tmp_path / "seeds", tmp_path / "bad", "--json", tmp_path / "c.json"
        )
        compared = json.loads((tmp_path / "c.json").read_text())
        call(evaluate, *data, "--seeds", tmp_path / "seeds", "--json", tmp_path / "f.json")
        figures = json.loads((tmp_path / "f.json").read_text())
        assert compared["a"] == {
            "path": str(tmp_path / "seeds"),
            "kind": "seeds",
            "threshold": figures["threshold_best"],
        }
        assert compared["differences"]["miou"]["a"] == pytest.approx(figures["miou_best"], abs=1e-12)
        assert f"seeds at their best threshold {figures['threshold_best']:g}" in printed
