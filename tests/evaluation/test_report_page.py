"""report.html: what it shows of a run at each point, and that it is written anew only when something changed."""

import json
import os

import numpy as np
import pytest

import evaluation.report_gallery as report_gallery
import evaluation.report_page as report_page
from data.artifacts import write_mask
from evaluation.report_page import keep_report_page, update_report_page, write_report_page
from evaluation.stages import pipeline
from stages.files import REPORT_PAGE
from tests.pages.test_page import Page
from utils.errors import UserError
from utils.run import Run

STAGES = pipeline()
TITLES = ["CAM", "+ GFM", "+ PRM", "+ IBB", "+ context", "+ IBB in training", "pseudo masks"]
STEPS = ["truth", "CAM, map", *TITLES[:5], "+ IBB in training, map", *TITLES[5:], "segmentation, predicted labels"]
STEPS += ["IBB: image 1", "IBB: image 2", "errors"]


def written(cfg, run) -> Page:
    write_report_page(STAGES, cfg, run)
    return Page(run.path(REPORT_PAGE))


def layers(page: Page) -> list[str]:
    return [layer["name"] for layer in page.items[0]["layers"]]


def test_a_finished_run_shows_every_step_of_every_image_with_its_scores_and_the_figures_of_the_report(evaluated):
    cfg, run = evaluated
    page = written(cfg, run)
    assert len(page.items) == 10
    assert layers(page) == STEPS
    assert "older than a stage" not in page.text
    assert page.text.count("Loss of stage") == 2
    for heading in ("Results", "Curves", "Classes", "Confusion", "Images", "Stages", "Settings"):
        assert f"<h2>{heading}</h2>" in page.source
    assert "Still to come" not in page.text
    assert "--preset <made>" in page.text
    for number, item in enumerate(page.items):
        by_name = {layer["name"]: layer for layer in item["layers"]}
        prediction = by_name["segmentation, predicted labels"]
        assert set(prediction["by_class"]) == {"background", *item["classes"]}
        assert (prediction["score"] == 1) == bool(number % 3)
        if number % 3 == 0:  # its last class is missing in the prediction
            assert min(prediction["by_class"].values()) == 0
        missing = ["object taken for background"] if number % 3 == 0 else []
        assert [name for name, _, _ in by_name["errors"]["legend"]] == missing
    for row in json.loads(run.path("report.json").read_text()).values():
        low, high = row["interval"]["miou"]
        assert f"{100 * row['miou_best']:.1f}" in page.text
        assert f"{100 * low:.1f} .. {100 * high:.1f}" in page.text
    run.path("report.json").write_text("{")
    assert "are lost or damaged" in written(cfg, run).source


def test_a_run_that_goes_on_shows_what_is_there_and_reads_no_truth(evaluated, monkeypatch):
    cfg, run = evaluated
    run.stages = {name: entry for name, entry in run.stages.items() if name in ("cam", "seeds")}
    monkeypatch.setattr(report_page, "validation_gallery", lambda *_: pytest.fail("the truth was asked for"))
    page = written(cfg, run)
    assert "Still to come: context, remove, ibb, correct, pseudo, segment, ablation, report." in page.text
    assert "<h2>Results</h2>" not in page.source
    assert page.items[0]["layers"][0]["name"] == "seed, map"
    assert all(layer["score"] is None for item in page.items for layer in item["layers"])
    for mask in (run.folder.parent / "voc" / "SegmentationClass").glob("*.png"):
        mask.unlink()
    assert len(written(cfg, run).items) > 0


def test_figures_are_said_to_be_of_their_own_list_and_images_of_another_one_are_not_shown_as_theirs(evaluated):
    cfg, run = evaluated
    for other in ("train", ""):  # the report was skipped since, or not asked for
        page = written(cfg.changed("data", val_list=other), run)
        assert "Evaluated on list val, 10 images." in page.text
        assert "truth" not in layers(page)


def test_stages_made_with_other_settings_or_before_what_they_build_upon_are_named(evaluated):
    cfg, run = evaluated
    made_by = next(stage for stage in STAGES if stage.name == "cam").settings(cfg.changed("cam", epochs=77))
    run.stages["seeds"]["made_from"] = {"cam": run.stages["cam"]["fingerprint"]}
    run.stages["cam"] = run.stages.pop("cam")  # its files were damaged, and made again as they were
    page = written(cfg, run)
    assert "is not what these settings" not in page.text
    assert "older than a stage" in page.text  # the figures
    assert "truth" not in layers(page)  # files of the ablation may be gone
    run.stages["cam"]["settings"] = json.loads(json.dumps(made_by))
    run.stages["segment"]["made_from"] = {"pseudo": "another"}
    text = written(cfg, run).text
    assert "The output of cam, seeds, segment is not what these settings and data give" in text
    assert "made with other settings (cam); images 20" in text
    assert text.count("older than a stage that it builds upon; images 20") == 2


def test_a_page_stays_below_its_bound_and_is_written_again_only_after_a_change(evaluated, monkeypatch):
    cfg, run = evaluated
    uris = [picture["uri"] for item in written(cfg, run).items for picture in (item, *item["layers"])]
    monkeypatch.setattr(report_gallery, "MOST_BYTES", sum(map(len, uris)) // 2)
    page = written(cfg, run)
    assert 1 <= len(page.items) < 10
    assert f"{len(page.items)} of 10 images" in page.text
    update_report_page(STAGES, cfg, run)
    before = run.path(REPORT_PAGE).stat().st_mtime_ns
    update_report_page(STAGES, cfg, Run.reopen(run.folder))
    assert run.path(REPORT_PAGE).stat().st_mtime_ns == before
    os.utime(run.path(REPORT_PAGE), (2e9, 2e9))  # and the clock was set back
    run.finish("cam", seconds=2.0)
    update_report_page(STAGES, cfg, run)
    assert "older than a stage" in run.path(REPORT_PAGE).read_text(encoding="utf-8")


def test_while_a_network_is_trained_the_page_follows_its_losses_once_a_minute(evaluated, monkeypatch):
    cfg, run = evaluated
    drawn, draw = [], report_page.training_gallery
    monkeypatch.setattr(report_page, "training_gallery", lambda *known: drawn.append(1) or draw(*known))
    monkeypatch.setattr(report_page, "validation_gallery", lambda *_: pytest.fail("the truth was asked for"))
    run.after_epoch = keep_report_page(STAGES, cfg, run)
    run.record("affinity", epoch=1, step=1, loss=3.0)
    assert not run.path(REPORT_PAGE).exists()
    monkeypatch.setattr(report_page, "EVERY", 0.0)
    sources = []
    for epoch in (2, 3, 4):
        run.record("affinity", epoch=epoch, step=epoch, loss=4.0 - epoch)
        page = Page(run.path(REPORT_PAGE))
        assert "Loss of stage affinity" in page.text
        assert layers(page) == ["seed, map", "seed + context, map", "seed + IBB in training, map", "pseudo mask"]
        sources.append(page.source)
    assert len(set(sources)) == 3
    assert len(drawn) == 1
    run.stages["affinity"] = run.stages["seeds"]
    run.after_epoch()
    assert len(drawn) == 2


def test_the_page_of_hints_begins_with_the_least_certain_image_and_draws_no_mask_of_another_size(
    evaluated, monkeypatch
):
    cfg, run = evaluated
    falling = iter(range(1000, 0, -1))
    monkeypatch.setattr(report_gallery, "certainty_of", lambda *_: next(falling) / 1000)
    items = Page(report_gallery.write_hints_page(cfg, run)).items
    assert len(items) > 1
    numbers = [int(item["title"].removeprefix("p")) for item in items]
    assert numbers == sorted(numbers, reverse=True)
    write_mask(run.path(f"pseudo/{items[0]['title']}.png"), np.zeros((5, 7), np.uint8))
    with pytest.raises(UserError, match=r"\.png has another size than its image.*; give the train command again"):
        report_gallery.write_hints_page(cfg, run)


def test_the_largest_confusions_are_those_of_the_last_line_and_each_kind_of_error_has_its_value():
    counts = [[100 if row == column else 0 for column in range(50)] for row in range(50)]
    counts[3][7] = 40
    table = report_page.confusion({"x": [[0] * 50] * 50, "y": counts}, [f"c{n}" for n in range(1, 50)])
    ((truth, taken_for, _, share),) = table.rows
    assert (truth, taken_for, share.text) == ("c3", "c7", "28.6")
    truth, mask = (np.array([row], np.uint8) for row in ([0, 0, 1, 1, 2, 255, 1], [0, 1, 1, 0, 1, 1, 255]))
    errors = report_gallery.error_map(truth, mask)  # ignored pixels of a mask count as background
    assert errors.tolist() == [[0, 1, 0, 2, 3, 0, 2]]
