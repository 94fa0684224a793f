"""Two sources compared: what is clear, and what is no source."""

import json
from dataclasses import replace
from typing import Any

import pytest

from evaluation import comparison
from tests.project import call
from utils.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def evaluated(data, tmp_path):
    """A function: an option of evaluate.py, folders of masks or seeds -> what it printed, its figures."""

    def evaluate(option: str, *folders: str) -> tuple[str, dict[str, Any]]:
        named = [tmp_path / folder for folder in folders]
        ended = call("evaluate", *data, option, *named, "--json", tmp_path / "f.json").well()
        return ended.out, json.loads((tmp_path / "f.json").read_text())

    return evaluate


def test_a_clear_gain_and_none_and_seeds_at_their_best_threshold(evaluated, tmp_path):
    printed, compared = evaluated("--compare", "bad", "good")
    assert "B is better" in printed
    row = compared["differences"]["miou"]
    assert row["difference"] == pytest.approx(row["b"] - row["a"])
    assert 0 < row["low"] < row["difference"] < row["high"]
    for side, folder in (("a", "bad"), ("b", "good")):
        assert row[side] == pytest.approx(evaluated("--masks", folder)[1]["miou"], abs=1e-12)
    assert "A is better" in evaluated("--compare", "good", "bad")[0]
    assert "these 10 images show no clear difference" in evaluated("--compare", "good", "same")[0]
    printed, compared = evaluated("--compare", "seeds", "bad")
    assert "A is better" in printed
    _, figures = evaluated("--seeds", "seeds")
    best = figures["threshold_best"]
    assert compared["a"] == {"path": str(tmp_path / "seeds"), "kind": "seeds", "threshold": best}
    assert compared["differences"]["miou"]["a"] == pytest.approx(figures["miou_best"], abs=1e-12)
    assert f"seeds at their best threshold {best:g}" in printed


def test_each_network_is_read_by_its_own_settings(project, monkeypatch):
    write, known = comparison.write_predictions, load_checkpoint(project.run / "segmenter.pth")
    other = project.folder / "other.pth"
    save_checkpoint(other, replace(known, config=known.config | {"infer": known.config["infer"] | {"refine": "none"}}))
    seen = []
    monkeypatch.setattr(comparison, "write_predictions", lambda *given: (seen.append(given[3]), write(*given)))
    where = ("--set", f"data.root={project.folder / 'voc'}")
    call("evaluate", "--compare", project.run / "segmenter.pth", other, *where).well()
    assert [cfg.infer.refine for cfg in seen] == ["par", "none"]
