"""Look at a dataset before training on it.

    python -m data.check --preset folder --set data.root=FOLDER
    python -m data.check --preset coco17 --set data.root=/data/coco --output out/coco

Opens the training, seed and validation lists and reads every image once, and the masks of the validation list. Prints,
and writes into --output as report.txt and report.json (everything) and contact_sheet.jpg (images of every class):

* images by class;
* problems, which training or evaluation would stop at;
* notes, which are yours to judge: classes and images that may be mistakes, and what was found and not taken.

Ends with exit code 2 if there are problems.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset import NoTruth, Record
from data.hints import open_hints
from data.index import class_palette, open_index
from data.inspection import Findings, inspect, judge_all, other_classes, records_of, same_content, spread
from data.recipe import READ_AT, fitting_preset
from data.settings import DataConfig, load_data_config
from utils.config_file import add_setting_options
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path, write_json, write_text
from utils.visualize import Tile, contact_sheet, drawable, fit, overlay, printable

SHOWN = 10  # problems and notes on the screen; the files have all
COLUMNS, TILE = 6, 180  # of the contact sheet


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add_setting_options(parser)
    where = "where the report goes (default: out/check)"
    parser.add_argument("--output", default="out/check", type=Path, metavar="FOLDER", help=where)
    args = parser.parse_args()
    cfg = load_data_config(args.config, args.preset, args.set)
    findings = check(cfg)
    print(report(findings, SHOWN))
    write_text(args.output / "report.txt", report(findings) + "\n")
    write_json(args.output / "report.json", figures(findings))
    written = ["report.txt", "report.json"]
    if findings.lists:
        draw(findings, class_palette(cfg.data, findings.class_names), args.output / "contact_sheet.jpg")
        written.append("contact_sheet.jpg")
    print(f"\nsee {', '.join(str(args.output / name) for name in written)}")
    if findings.problems:
        raise UserError(f"problems to mend: {len(findings.problems)}, listed in {args.output / 'report.txt'}")


def check(cfg: DataConfig) -> Findings:
    """Open the configured lists, read everything in them, and judge it."""
    settings = replace(cfg.data, download=False)  # what is there is looked at
    findings = Findings()

    def complain(message: str) -> None:
        if message not in findings.problems:  # one mistake in a label file comes up for each list
            findings.problems.append(message)

    wanted = {cfg.data.train_list: False, cfg.data.seed_list: False, cfg.data.val_list: True}
    if not cfg.data.val_list and cfg.data.kind == "folder":
        wanted["val"] = True  # masks that are there are checked, whoever asked for them
    for list_name, masks in wanted.items():
        if not list_name and list_name != cfg.data.train_list:
            continue
        try:
            findings.lists[list_name] = open_index(settings, list_name, masks, complain)
        except NoTruth as error:
            if cfg.data.val_list:
                findings.notes.append(str(error))
        except UserError as error:
            complain(str(error))
    for name, index in findings.lists.items():
        if problem := other_classes(next(iter(findings.lists)), findings.class_names, name, index.class_names):
            complain(problem)
    if cfg.data.hints and (hinted := findings.lists.get(cfg.data.seed_list or cfg.data.train_list)) is not None:
        try:
            open_hints(settings, hinted, complain)
        except UserError as error:
            complain(str(error))
    findings.facts = inspect(findings.lists.values(), cfg.workers)
    judge_all(findings, cfg)
    if cfg.data.recipe == "auto" and cfg.data.train_list in findings.lists:
        fit = fitting_preset(findings.lists[cfg.data.train_list])
        asks = "training asks the features of the network, too, and tells if these choose otherwise"
        sides = READ_AT[fit.preset]
        findings.notes.append(f"{fit.message(sides, fit.factor(cfg.data.enlarge, sides))}; {asks}")
    if numbered := [name for name in findings.class_names if not _can_be_drawn(name)]:
        why = f"because no font here has the letters of {', '.join(numbered)}"
        remedy = "install one, for example: apt-get install fonts-noto-cjk"
        findings.notes.append(f"contact_sheet.jpg numbers {len(numbered)} classes, {why}; {remedy}")
    return findings


def report(findings: Findings, limit: int | None = None) -> str:
    """The findings as text; `limit` shortens the lists of problems and notes."""
    lines = []
    for list_name, index in findings.lists.items():
        sizes = [findings.facts[record.image].size for record in index.records if findings.facts[record.image].content]
        ends = [min(sizes, key=np.prod), max(sizes, key=np.prod)] if sizes else []
        span = ", " + " to ".join(f"{width} x {height}" for height, width in ends) + " pixels" if ends else ""
        lines.append(f"list '{list_name or 'all'}': {len(index)} images{span}")
    counts = {list_name: index.label_counts() for list_name, index in findings.lists.items()}
    if counts:
        lines += ["", f"{'class':24}" + "".join(f"{name or 'all':>14}" for name in counts)]
        for name in findings.class_names:
            lines.append(f"{name:24}" + "".join(f"{of_list[name]:14}" for of_list in counts.values()))
    lines += _section("problems to mend", findings.problems, limit)
    lines += _section("notes", findings.notes, limit)
    return "\n".join(printable(line) for line in lines)  # file names may hold bytes that are no text


def figures(findings: Findings) -> dict[str, Any]:
    """The findings as plain values."""
    lists = {name: {"images": len(index), "by_class": index.label_counts()} for name, index in findings.lists.items()}
    return {
        "classes": list(findings.class_names),
        "lists": lists,
        "unreadable": [printable(str(facts.image)) for facts in findings.facts.values() if not facts.content],
        "duplicates": [[printable(str(path)) for path in group] for group in same_content(findings.facts.values())],
        "problems": [printable(problem) for problem in findings.problems],
        "notes": [printable(note) for note in findings.notes],
    }


def draw(findings: Findings, palette: np.ndarray, path: Path) -> None:
    """Images as the network sees them: a row for every class of the first list, and a row with truth masks."""
    index = next(iter(findings.lists.values()))
    readable = [record for record in index.records if findings.facts[record.image].content]
    shown = [name if _can_be_drawn(name) else f"class {number}" for number, name in enumerate(findings.class_names, 1)]
    rows = []
    for label, name in enumerate(shown):
        having = spread([record for record in readable if label in record.labels], COLUMNS)
        rows.append([_tile(record, shown, palette, "" if column else name) for column, record in enumerate(having)])
    without = [record for record in readable if not record.labels][:COLUMNS]
    rows.append([_tile(record, shown, palette, "no label") for record in without])
    facts = {record: findings.facts[record.image] for record in records_of(findings.lists.values())}
    masked = [r for r, one in facts.items() if one.content and one.mask is not None and not one.mask.problem]
    rows.append([_tile(record, shown, palette, "truth", masked=True) for record in spread(masked, COLUMNS)])
    with atomic_path(path) as temporary:
        contact_sheet([row for row in rows if row], tile=TILE, size=12).save(temporary, quality=88)


def _tile(record: Record, names: Sequence[str], palette: np.ndarray, title: str, masked: bool = False) -> Tile:
    image = np.array(record.read_image())
    if masked:
        image = overlay(image, record.read_truth(), palette)
    swatches = [(names[label], tuple(palette[label + 1].tolist())) for label in record.labels]
    return Tile(fit(image, TILE), f"{title}: {record.name}" if title else record.name, swatches)


def _can_be_drawn(name: str) -> bool:
    return drawable(printable(name)) == printable(name)


def _section(title: str, messages: Sequence[str], limit: int | None) -> list[str]:
    shown = [f"  {message}" for message in messages[:limit]]
    more = [f"  and {len(messages) - len(shown)} more"] if len(shown) < len(messages) else []
    return ["", f"{title}: {len(messages)}" if messages else f"no {title}", *shown, *more]


if __name__ == "__main__":
    sys.exit(run_script(main))
