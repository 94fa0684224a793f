"""Mean and deviation of several runs."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from tests.project import call


@pytest.fixture
def paths(data, tmp_path) -> list[Path]:
    """The figures of three folders of masks, and of another list."""
    found = []
    for folder, more in (("good", []), ("same", []), ("bad", []), ("good", ["--split", "train"])):
        found.append(tmp_path / f"{folder}{len(found)}.json")
        call("evaluate", *data, "--masks", tmp_path / folder, "--json", found[-1], *more)
    return found


def test_mean_and_deviation_of_a_sample_and_a_figure_that_no_run_has_leaves_the_others_in_their_columns(
    paths, tmp_path
):
    printed = call("evaluation.gather", *paths[:3], "--csv", tmp_path / "g.csv").well().out
    figures = [json.loads(path.read_text()) for path in paths[:3]]
    values, cats = ([each["miou"] for each in figures], [each["per_class"]["cat"]["iou"] for each in figures])
    assert f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f}" in printed
    lines = {line["figure"]: line for line in csv.DictReader((tmp_path / "g.csv").open(encoding="utf-8"))}
    assert [float(lines["miou"][f"run {number}"]) for number in (1, 2, 3)] == values
    assert float(lines["miou"]["mean"]) == pytest.approx(np.mean(values))
    assert float(lines["miou"]["deviation"]) == pytest.approx(np.std(values, ddof=1))
    assert float(lines["iou cat"]["mean"]) == pytest.approx(np.mean(cats))
    for path in paths[:2]:
        path.write_text(json.dumps(json.loads(path.read_text()) | {"over_activation": None}))
    header, row = call("evaluation.gather", *paths[:2]).well().out.splitlines()[-2:]
    assert row[: header.index("over") + 4].endswith("   -"), row


def test_what_is_no_repeat_is_refused(paths):
    paths.append(paths[0].with_name("copied.json"))
    content = json.loads(paths[0].read_text())
    paths[4].write_text(json.dumps(content | {"evaluated": content["evaluated"] | {"path": "elsewhere"}}))
    for other, message in ((paths[3], "images is 10 and 20"), (paths[4], "have the same figures, as one run and its")):
        ended = call("evaluation.gather", paths[0], other)
        assert (ended.code, message in ended.err) == (2, True), ended.err
