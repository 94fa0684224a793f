"""report.html of a run: one file with figures, curves, confusions, images, settings and times, of what is there so far.

train.py writes it after each stage, and while a network is trained at most once a minute; report.py writes it anew. Everything comes
from the run folder's files, so that the page can be made again at any time, and figures that are older than a stage before them are
called so.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from evaluation.report_gallery import PREDICTION, SEED, training_items, validation_items
from stages.files import REPORT, REPORT_IMAGES, REPORT_PAGE
from utils.bootstrap import DRAWS, LEVEL
from utils.config import Config, to_dict, to_yaml
from utils.files import digest, read_json
from utils.metrics_log import read_metrics
from utils.page import Cell, Gallery, Plots, Section, Table, Text, page_made_from, write_page
from utils.pipeline import Stage
from utils.plots import Interval, Series, interval_plot, line_plot
from utils.run import Run, duration

VERSION = 1  # raised when the page changes, so that old ones are written anew
EXTREMES = 6  # worst and best images shown above the gallery
MATRIX_CLASSES = 32  # more are told by their largest confusions alone
CONFUSIONS = 15
EVERY = 60.0  # seconds between pages while a network is trained
Row = Sequence[str | float | Cell]  # of a table
NOT_LOSSES = ("stage", "epoch", "step", "time", "images_per_second")


def update_report_page(stages: Sequence[Stage], cfg: Config, run: Run) -> None:
    """Write `report.html` unless it says all this already."""
    made_from = digest([VERSION, run.stages, to_dict(cfg)["report"]])
    if page_made_from(run.path(REPORT_PAGE)) != made_from:
        write_report_page(stages, cfg, run, made_from)


def keep_report_page(stages: Sequence[Stage], cfg: Config, run: Run) -> Callable[[], None]:
    """What to call after each epoch: writes `report.html` with the new losses, at most every `EVERY` seconds.

    No truth is read meanwhile, so measured figures show without their images. Images of the seed list are drawn once for
    as long as no stage has ended, so that the page takes milliseconds.
    """
    images: dict[str, Section] = {}
    written = time.monotonic()

    def after_epoch() -> None:
        nonlocal written
        if time.monotonic() - written < EVERY:
            return
        state = digest(run.stages)
        if state not in images:
            images.clear()
            images[state] = gallery(cfg, run, {}, {})
        write_report_page(stages, cfg, run, images=images[state])
        written = time.monotonic()

    return after_epoch


def write_report_page(
    stages: Sequence[Stage], cfg: Config, run: Run, made_from: str = "", images: Section | None = None
) -> None:
    """Write `report.html` of what the run folder holds.

    Args:
        stages: the pipeline (train.STAGES).
        made_from: what the page says it shows, for `update_report_page`.
        images: the section of images while a network is trained; None makes it anew.
    """
    about = read_json(run.path("run.json"))
    figures, measured = read_json(run.path(REPORT)), read_json(run.path(REPORT_IMAGES))
    unreadable = "report" in run.stages and not (figures and measured)
    if "report" not in run.stages or unreadable:
        figures = {}
    fresh = bool(figures) and images is None and is_fresh(run.stages)
    missing = [stage.name for stage in stages if stage.skip(cfg) is None and stage.name not in run.stages]
    intro = [
        f"{cfg.model.backbone}, {cfg.model.weights} weights; trained on list {cfg.data.train_list} with image-level labels only."
    ]
    if figures:
        intro.append(f"Measured on list {cfg.data.val_list}, {measured['images']} images.")
    if missing:
        intro.append(
            f"This run is not complete: {', '.join(missing)} still to come. The page is written anew after each stage, and while a network is trained."
        )
    if unreadable:
        intro.append(f"The figures ({REPORT}, {REPORT_IMAGES}) are lost or damaged; train.py makes them again.")
    note = (
        "" if fresh or not figures else "These figures are older than a stage before them, which was run again since."
    )
    sections = [
        Section("Results", results(figures), note),
        Section("Curves", curves(figures, read_metrics(run.path("metrics.jsonl")))),
        Section("Classes", classes(figures), "IoU in per cent, seeds at their best threshold."),
        Section("Confusion", confusion(measured["confusion"], measured["class_names"]) if figures else []),
        images or gallery(cfg, run, figures if fresh else {}, measured),
        Section("Stages", stage_tables(stages, cfg, run)),
        Section("Settings", settings(cfg, about)),
    ]
    write_page(run.path(REPORT_PAGE), f"IBBNet: {run.folder.resolve().name}", intro, sections, made_from)


def is_fresh(stages: dict[str, dict[str, Any]]) -> bool:
    """Whether the figures were measured after every other stage."""
    return stages["report"]["finished"] >= max(entry["finished"] for entry in stages.values())


def results(figures: dict[str, dict[str, Any]]) -> list[Table | Plots]:
    """The ladder as a plot and a table, with intervals."""
    if not figures:
        return []
    rows: list[Row] = []
    bars = []
    for title, row in figures.items():
        low, high = row["interval"]["miou"] or (None, None)
        bars.append(Interval(short_title(title), row["miou_best"], low, high))
        gain = row["gain"]
        gained = Cell("")
        if gain:
            text = f"{100 * gain['miou']:+.1f} ({100 * gain['low']:+.1f} .. {100 * gain['high']:+.1f})"
            told = "the interval leaves out 0" if gain["clear"] else "these images cannot tell: the interval holds 0"
            gained = Cell(text, gain["miou"], strong=gain["clear"], note=f"over {gain['over']}; {told}")
        rows.append(
            (
                title,
                Cell(_percent(row["miou_best"]), row["miou_best"], strong=True),
                Cell("") if low is None or high is None else Cell(f"{100 * low:.1f} .. {100 * high:.1f}", low),
                gained,
                _cell(row["over_activation_best"]),
                _cell(row["under_activation_best"]),
                *(
                    ("", "")
                    if row["threshold_best"] is None
                    else (Cell(f"{row['threshold_best']:.2f}", row["threshold_best"]), _cell(row["miou"]))
                ),
            )
        )
    level = f"{100 * LEVEL:.0f} %"
    header = (
        "",
        "mIoU",
        f"{level} interval",
        "over the line before",
        "over-activation",
        "under-activation",
        "best threshold",
        "mIoU at the set threshold",
    )
    note = (
        f"In per cent. Intervals are of a bootstrap over images ({DRAWS} draws); the difference to the line before with the same "
        "labels is paired, bold where its interval leaves out 0. Over-activation is the share of background pixels given a class, "
        "under-activation the share of object pixels given background."
    )
    return [
        Plots([interval_plot("mIoU", bars, f"mIoU in per cent, {level} intervals")]),
        Table("Ladder", header, rows, note),
    ]


def short_title(title: str) -> str:
    """A line's name as it fits beside a plot."""
    for word, short in {"segmentation": "segm.", " (learned)": "", " (features)": "", " labels": ""}.items():
        title = title.replace(word, short)
    return title


def curves(figures: dict[str, dict[str, Any]], metrics: dict[str, list[dict[str, float]]]) -> list[Plots]:
    """mIoU over thresholds, and each trained stage's losses over epochs."""
    plots = []
    swept = {title: row["curve"] for title, row in figures.items() if row["curve"] and "predicted" not in title}
    if swept:
        lines = [Series(title, [t for t, _ in curve], [100 * m for _, m in curve]) for title, curve in swept.items()]
        plots.append(
            line_plot("Background threshold", lines, "threshold", "mIoU in per cent", "mIoU in per cent, given labels.")
        )
    for stage, rows in metrics.items():
        names = [name for name in rows[-1] if name not in NOT_LOSSES]
        if len(names) == 2 and "loss" in names:
            names.remove("loss")  # the sum of one
        lines = [
            Series(name, [row["epoch"] for row in rows], [row.get(name, np.nan) for row in rows]) for name in names
        ]
        plots.append(line_plot(f"Loss of stage {stage}", lines, "epoch", "loss", "Mean over the epoch."))
    return [Plots(plots)] if plots else []


def classes(figures: dict[str, dict[str, Any]]) -> list[Table]:
    """IoU by class of every line, and the last line's over- and under-activation; sorts by a click."""
    if not figures:
        return []
    titles = list(figures)
    last = figures[titles[-1]]["per_class"]
    rows = []
    for name in last:
        values = [figures[title]["per_class"][name]["iou"] for title in titles]
        if all(value is None for value in values):
            continue
        best = max(value for value in values if value is not None)
        cells = [_cell(value, shade=value or 0.0, strong=value == best) for value in values]
        rows.append((name, *cells, _cell(last[name]["over_activation"], 2), _cell(last[name]["under_activation"])))
    header = ("class", *titles, "its over-activation", "its under-activation")
    note = f"The last two columns are of '{titles[-1]}'. A click on a heading sorts."
    return [Table("IoU by class", header, rows, note, sortable=True)]


def confusion(matrices: dict[str, list[list[int]]], class_names: Sequence[str]) -> list[Table]:
    """Where the pixels of each class go: the last line's matrix in shares of the truth, and its largest confusions."""
    title = list(matrices)[-1]
    counts = np.array(matrices[title], np.float64)
    names = ("background", *class_names)
    totals = counts.sum(axis=1)
    shares = np.divide(counts, totals[:, None], out=np.zeros_like(counts), where=totals[:, None] > 0)
    tables = []
    present = np.flatnonzero(totals + counts.sum(axis=0))
    rows: list[Row]
    if len(present) <= MATRIX_CLASSES:
        rows = []
        for row in present:
            cells = [
                Cell(
                    f"{100 * shares[row, column]:.0f}" if shares[row, column] >= 0.005 else "",
                    shares[row, column],
                    shares[row, column],
                    row == column,
                    f"{names[row]} taken for {names[column]}: {100 * shares[row, column]:.1f} %",
                )
                for column in present
            ]
            rows.append((names[row], *cells))
        header = ("truth \\ mask", *(names[column] for column in present))
        tables.append(
            Table(
                "Matrix",
                header,
                rows,
                f"'{title}': share of each class's pixels, in per cent; rows are the truth.",
                upright=True,
            )
        )
    wrong = counts - np.diag(np.diag(counts))
    largest = np.argsort(-wrong, axis=None)[:CONFUSIONS]
    pairs = [np.unravel_index(place, wrong.shape) for place in largest]
    rows = [
        (names[row], names[column], _cell(wrong[row, column] / counts.sum(), 2), _cell(shares[row, column]))
        for row, column in pairs
        if wrong[row, column] > 0
    ]
    header = ("truth", "taken for", "of all pixels", "of the class's pixels")
    return [*tables, Table("Largest confusions", header, rows, "In per cent.")]


def gallery(cfg: Config, run: Run, figures: dict[str, Any], images: dict[str, Any]) -> Section:
    """Validation images where they are measured, else some of the seed list."""
    if figures:
        items = validation_items(cfg, run, images["shown"], figures)
        names = {layer.name for item in items for layer in item.layers}
        note = f"List {cfg.data.val_list}. Labels are given, but for the prediction, which is the network's own."
        if len(items) < images["images"]:
            note += (
                f" {len(items)} of {images['images']} images: the worst, the best, and an even sample of the others."
            )
        return Section("Images", [Gallery(items, PREDICTION if PREDICTION in names else SEED, EXTREMES)], note)
    items = training_items(cfg, run)
    note = "Some images of the training list; their truth is not read."
    return Section("Images", [Gallery(items, items[0].layers[-1].name)] if items else [], note)


def stage_tables(stages: Sequence[Stage], cfg: Config, run: Run) -> list[Table]:
    """What each stage took and made."""
    rows: list[Row] = []
    for stage in stages:
        reason, entry = stage.skip(cfg), run.stages.get(stage.name)
        if entry is None or reason is not None:
            state = f"skipped: {reason}" if reason is not None else "has not run"
            rows.append((stage.name, stage.title, "", "", "", state))
            continue
        memory, seconds = entry.get("peak_memory_mb", {}), entry.get("seconds", 0)
        sizes = ", ".join(f"{name} {size / 1024:.1f} GB" for name, size in memory.items())
        finished = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry["finished"]))
        result = ", ".join(f"{name} {_short(value)}" for name, value in entry.get("result", {}).items())
        rows.append((stage.name, stage.title, Cell(duration(seconds), seconds), sizes, finished, result))
    total = sum(entry.get("seconds", 0) for entry in run.stages.values())
    header = ("stage", "what it does", "time", "peak", "finished", "result")
    return [Table("Stages", header, rows, f"{duration(total)} in all.")]


def settings(cfg: Config, about: dict[str, Any]) -> list[Table | Text]:
    """Versions, what is set other than by default, and the whole resolved file."""
    rows = [
        (name, " ".join(map(str, value)) if isinstance(value, list) else str(value)) for name, value in about.items()
    ]
    changed = [
        (key, str(value)) for key, value, default in _changes(to_dict(cfg), to_dict(Config())) if value != default
    ]
    return [
        Table("Run", ("", ""), rows),
        Table("Settings other than the defaults", ("setting", "value"), changed),
        Text([to_yaml(cfg)], folded="All settings, as config.yaml of the run folder has them"),
    ]


def _changes(values: dict[str, Any], defaults: dict[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    rows: list[tuple[str, Any, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict) and not prefix:  # a section; deeper down, a mapping is a value
            rows += _changes(value, defaults[name], f"{prefix}{name}.")
        else:
            rows.append((prefix + name, value, defaults[name]))
    return rows


def _cell(share: float | None, digits: int = 1, **more: Any) -> Cell:
    return Cell("–") if share is None else Cell(_percent(share, digits), share, **more)


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
