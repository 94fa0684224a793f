"""report.html of a run, made of its folder's files: figures, curves, images, times and settings, as far as they are."""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from evaluation.ablation import GIVEN
from evaluation.report_gallery import training_gallery, validation_gallery
from pages.page import Cell, Plot, Section, Series, Table, percent, write_page
from stages.config import Config, changed_settings
from stages.files import REPORT, REPORT_IMAGES, REPORT_PAGE
from utils.bootstrap import DRAWS, LEVEL
from utils.files import digest, read_json
from utils.pipeline import Stage, stale_stages
from utils.run import RUN_RECORD, RUN_SETTINGS, Run, duration, read_metrics

CONFUSIONS = 15  # lines of their table
EVERY = 60.0  # seconds between pages while a network is trained
Row = Sequence[str | float | Cell]  # of a table
PER_CLASS = {"precision": "precision", "recall": "recall", "found": "found", "right": "drawn_right"}  # column -> figure
NOT_LOSSES = ("stage", "epoch", "step", "time", "images_per_second", "miou")


def update_report_page(stages: Sequence[Stage], cfg: Config, run: Run) -> None:
    """Write `report.html` unless it has the time of the record of the stages, and so shows all of them already."""
    page, record = run.path(REPORT_PAGE), run.path(RUN_RECORD)
    if not (page.is_file() and record.is_file() and page.stat().st_mtime_ns == record.stat().st_mtime_ns):
        write_report_page(stages, cfg, run)
        if record.is_file():
            os.utime(page, ns=(record.stat().st_mtime_ns,) * 2)


def keep_report_page(stages: Sequence[Stage], cfg: Config, run: Run) -> Callable[[], None]:
    """What to call after each epoch: it writes `report.html` with the new losses, at most every `EVERY` seconds.

    No truth is read meanwhile, and images are drawn once for as long as no stage ends.
    """
    images = lru_cache(1)(lambda state: training_gallery(cfg, run))
    written = time.monotonic()

    def after_epoch() -> None:
        nonlocal written
        if time.monotonic() - written >= EVERY:
            write_report_page(stages, cfg, run, images(digest(run.stages)))
            written = time.monotonic()

    return after_epoch


def write_report_page(
    stages: Sequence[Stage], cfg: Config, run: Run, images: Section | None = None, data: Config | None = None
) -> None:
    """Write `report.html` of what the run folder holds.

    `images` is their section, None makes it anew. With `data`, which takes a while, it also names what was made of
    other data than these settings give.
    """
    figures, chosen = read_json(run.path(REPORT)), read_json(run.path(REPORT_IMAGES))
    damaged = "report" in run.stages and not (figures and chosen)
    figures = figures if "report" in run.stages and not damaged else {}
    fresh = bool(figures) and list(run.stages)[-1] == "report"  # the order of their ends, by no clock
    listed = next((row["evaluated"]["list"] for row in figures.values()), "")  # of a former command, if it was skipped
    if images is None:
        is_of_list = fresh and listed == cfg.data.val_list
        images = validation_gallery(cfg, run, figures, chosen) if is_of_list else training_gallery(cfg, run)
    skipped = {stage.name: reason for stage in stages if (reason := stage.skip(cfg)) is not None}
    missing = [stage.name for stage in stages if stage.name not in skipped and stage.name not in run.stages]
    stale = stale_stages(stages, cfg, run, skipped, data)
    network = f"{cfg.model.backbone}, {cfg.model.weights} weights"
    learned = "image-level labels only" if not cfg.data.hints else f"image-level labels, and hints of {cfg.data.hints}"
    intro = [f"{network}; trained on list {cfg.data.train_list} with {learned}."]
    if figures:
        intro.append(f"Evaluated on list {listed}, {chosen['images']} images.")
    if missing:
        after = "The page is written anew after each stage, and while a network is trained."
        intro.append(f"This run is not complete. Still to come: {', '.join(missing)}. {after}")
    if stale:
        what = f"The output of {', '.join(stale)} is not what these settings and data give: see 'Stages'."
        intro.append(f"{what} train.py without --stages makes it again.")
    if damaged:
        intro.append(f"The figures ({REPORT}, {REPORT_IMAGES}) are lost or damaged; train.py makes them again.")
    for kind, begin in {"warnings": "WARNING of stage", "chosen": "Stage"}.items():  # sentences
        found = {name: row.get("result", {}).get(kind) for name, row in run.stages.items()}
        notes = {name: texts for name, texts in found.items() if isinstance(texts, list)}
        intro += [f"{begin} {name}: {text}" for name, texts in notes.items() for text in texts]
    sections = [Section("Curves", plots=curves(figures, read_metrics(run.path("metrics.jsonl"))))]
    if figures:
        old = "" if fresh else "These figures are older than a stage before them, which has run again since."
        confused = confusion(chosen["confusion"], chosen["class_names"])
        sections = [
            Section("Results", old, tables=[results(figures)]),
            *sections,
            Section("Classes", "IoU in per cent, seeds at the threshold that is set.", tables=[classes(figures)]),
            Section("Confusion", tables=[confused]),
        ]
    stage_section = Section("Stages", tables=[stage_table(stages, run, skipped, stale)])
    sections += [images, stage_section, settings(cfg, read_json(run.path("run.json")))]
    write_page(run.path(REPORT_PAGE), f"IBBNet: {run.folder.resolve().name}", intro, sections)


def results(figures: dict[str, dict[str, Any]]) -> Table:
    """A line for each row of the report."""
    rows: list[Row] = []
    for title, row in figures.items():
        low, high = row["interval"]["miou"] or (row["miou_best"],) * 2
        threshold = row["threshold_best"]
        interval = Cell(f"{100 * low:.1f} .. {100 * high:.1f}", low)
        faults = (percent(row[f"{fault}_activation_best"]) for fault in ("over", "under"))
        cut = ("", "") if threshold is None else (Cell(f"{threshold:.2f}", threshold), percent(row["miou"]))
        alone = percent(row.get("miou_classes_best"))
        rows.append((title, percent(row["miou_best"], strong=True), alone, interval, _gain(row["gain"]), *faults, *cut))
    level = f"{100 * LEVEL:.0f} % interval"
    faults_header = ("over-activation", "under-activation", "best threshold", "mIoU at the set one")
    header = ("", "mIoU", "of classes alone", level, "gain", *faults_header)
    note = (
        f"In per cent. Intervals are from a bootstrap over images ({DRAWS} draws). Gain is the paired difference to "
        "the line before with the same labels, bold where its interval leaves out 0. Over-activation is the part of "
        "the background pixels that have a class, under-activation the part of the object pixels that have background."
    )
    return Table("", header, rows, note)


def _gain(gain: dict[str, Any] | None) -> Cell:
    if not gain:
        return Cell("")
    text = f"{100 * gain['miou']:+.1f} ({100 * gain['low']:+.1f} .. {100 * gain['high']:+.1f})"
    return Cell(text, gain["miou"], strong=gain["clear"])


def curves(figures: dict[str, dict[str, Any]], metrics: dict[str, list[dict[str, float]]]) -> list[Plot]:
    """mIoU over thresholds, and each trained stage's losses over epochs."""
    plots = []
    lines = [
        Series(title, [threshold for threshold, _ in row["curve"]], [100 * miou for _, miou in row["curve"]])
        for title, row in figures.items()
        if row["curve"] and row["evaluated"]["labels"] == GIVEN
    ]
    if lines:
        plots.append(Plot("Background threshold", "threshold", "mIoU", lines, "mIoU in per cent, given labels."))
    for stage, rows in metrics.items():
        names = [name for name in rows[-1] if name not in NOT_LOSSES]
        if len(names) == 2 and "loss" in names:
            names.remove("loss")  # the sum of one
        epochs = [row["epoch"] for row in rows]
        lines = [Series(name, epochs, [row.get(name, math.nan) for row in rows]) for name in names]
        plots.append(Plot(f"Loss of stage {stage}", "epoch", "loss", lines, "Mean over the epoch."))
        if watched := [(row["epoch"], 100 * row["miou"]) for row in rows if "miou" in row]:
            line = Series("val, one scale", *map(list, zip(*watched, strict=True)))
            note = "In per cent, predicted labels, while it was trained."
            plots.append(Plot(f"mIoU of stage {stage}", "epoch", "mIoU", [line], note))
    return plots


def classes(figures: dict[str, dict[str, Any]]) -> Table:
    """IoU by class of every line, and the last line's over- and under-activation."""
    titles, last = list(figures), list(figures.values())[-1]
    rows = []
    for name, figure in last["per_class"].items():
        values = [figures[title]["per_class"][name]["iou"] for title in titles]
        best = max((value for value in values if value is not None), default=None)
        cells = [percent(value, shade=value or 0.0, strong=value == best) for value in values]
        if best is not None:
            others = (percent(figure.get(key)) for key in PER_CLASS.values())
            faults = (percent(figure["over_activation"], 2), percent(figure["under_activation"]))
            rows.append((name, *cells, *faults, *others))
    header = ("class", *titles, "its over-activation", "its under-activation", *PER_CLASS)
    note = (
        f"The last columns are of '{titles[-1]}'. Precision and recall are of pixels. Found: of the images with the "
        "class, those whose mask of it touches it; right: of the images whose mask has the class, those where it "
        "touches it. A click on a heading sorts."
    )
    return Table("IoU by class", header, rows, note, sortable=True)


def confusion(matrices: dict[str, list[list[int]]], class_names: Sequence[str]) -> Table:
    """The last line's largest confusions: pixels of one class that have another."""
    title, matrix = list(matrices.items())[-1]
    counts, names = np.array(matrix, np.float64), ("background", *class_names)
    wrong = counts - np.diag(np.diag(counts))
    pairs = np.unravel_index(np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS], wrong.shape)
    rows = [
        (names[row], names[column], percent(value / counts.sum(), 2), percent(value / counts[row].sum()))
        for row, column, value in zip(*pairs, wrong[pairs], strict=True)
        if value > 0
    ]
    header = ("truth", "taken for", "of all pixels", "of the class's pixels")
    return Table("", header, rows, f"The largest ones of '{title}', in per cent. All are in {REPORT_IMAGES}.")


def stage_table(stages: Sequence[Stage], run: Run, skipped: Mapping[str, str], stale: Mapping[str, str]) -> Table:
    """Time, memory and result of each stage."""
    rows: list[Row] = []
    for stage in stages:
        reason, entry = skipped.get(stage.name), run.stages.get(stage.name)
        if entry is None or reason is not None:
            rows.append((stage.name, stage.title, "", "", "", f"skipped: {reason}" if reason else "has not run"))
            continue
        seconds = entry.get("seconds", 0)
        sizes = ", ".join(f"{name} {size / 1024:.1f} GB" for name, size in entry.get("peak_memory_mb", {}).items())
        finished = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["finished"]))
        values = {name: value for name, value in entry.get("result", {}).items() if not isinstance(value, list)}
        result = ", ".join(  # without sentences, which stand above
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
        )
        result = "; ".join(filter(None, (stale.get(stage.name), result)))
        rows.append((stage.name, stage.title, Cell(duration(seconds), seconds), sizes, finished, result))
    total = duration(sum(entry.get("seconds", 0) for entry in run.stages.values()))
    return Table("", ("stage", "what it does", "time", "peak", "finished", "result"), rows, f"{total} in all.")


def settings(cfg: Config, about: dict[str, Any]) -> Section:
    """Versions, and what is set other than by default."""
    facts = [
        (key, " ".join(map(str, value)) if isinstance(value, list) else str(value)) for key, value in about.items()
    ]
    changed = [(key, str(value)) for key, value in changed_settings(cfg.to_dict()).items()]
    tables = [Table("Run", ("", ""), facts), Table("Other than the defaults", ("setting", "value"), changed)]
    return Section("Settings", f"All of them are in {RUN_SETTINGS}.", tables=tables)
