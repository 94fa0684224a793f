"""Look at a dataset before training on it.

    python -m data.check --preset folder --set data.root=FOLDER
    python -m data.check --preset coco17 --set data.root=/data/coco --output out/coco

Opens the training, seed and validation lists and reads every image once, and the masks of the validation list. Prints, and
writes into --output as report.txt and report.json (everything) and contact_sheet.jpg (images of every class):

* images by class;
* problems, which training or evaluation would stop at: records that are not as they should be, unreadable images, masks of
  another size or with values of no class;
* notes, which are yours to judge: images without label, classes with one image or none, class names that differ in nothing
  but capitals, images that nothing names, the same image twice, the same image in training and validation.

Ends with exit code 2 if there are problems.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data.artifacts import IGNORE
from data.dataset import Index, NoTruth, Record
from data.images import read_image
from data.index import class_palette, open_index
from data.inspection import Facts, inspect, same_content
from data.settings import DataConfig, load_data_config
from utils.errors import UserError, run_script
from utils.files import atomic_path, write_json, write_text
from utils.visualize import Tile, contact_sheet, fit, printable

SHOWN = 10  # problems and notes on the screen; the files have all
COLUMNS, TILE = 6, 180  # of the contact sheet


@dataclass
class Findings:
    """What was found.

    Attributes:
        lists: the lists that could be opened, by name.
        facts: of every image, by its file.
        problems, notes: messages for a person; the module's docstring says what is which.
    """

    lists: dict[str, Index] = field(default_factory=dict)
    facts: dict[Path, Facts] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first list that could be opened; none where no list could."""
        return next((index.class_names for index in self.lists.values()), ())


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m data.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", default="config.yaml", metavar="FILE", help="settings and presets")
    parser.add_argument("--preset", metavar="NAME", help="a named block of the file's presets")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="one setting; may be repeated")
    parser.add_argument(
        "--output", default="out/check", type=Path, metavar="FOLDER", help="where the report goes (default: out/check)"
    )
    return parser.parse_args()


def main() -> None:
    """The command."""
    args = parse_args()
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
    seen: set[str] = set()  # one mistake in a label file comes up for each list

    def complain(message: str) -> None:
        if message not in seen:
            findings.problems.append(message)
        seen.add(message)

    wanted = {cfg.data.train_list: False, cfg.data.seed_list: False, cfg.data.val_list: True}
    for list_name, masks in wanted.items():
        if not list_name and list_name != cfg.data.train_list:
            continue
        try:
            findings.lists[list_name] = open_index(settings, list_name, masks, complain)
        except NoTruth as error:
            findings.notes.append(str(error))
        except UserError as error:
            complain(str(error))
    findings.facts = inspect(findings.lists.values(), cfg.workers)
    findings.problems += [problem for facts in findings.facts.values() for problem in facts.problems]
    findings.problems += strange_values(findings)
    findings.notes += dict.fromkeys(note for index in findings.lists.values() for note in index.notes)
    findings.notes += [*label_notes(findings, cfg), *image_notes(findings, cfg)]
    return findings


def strange_values(findings: Findings) -> Iterator[str]:
    """Masks with values of no class."""
    highest = len(findings.class_names)
    for record in _records(findings):
        values = findings.facts[record.image].mask_values if record.mask is not None else ()
        strange = [value for value in values if value > highest and value != IGNORE]
        if strange:
            yield f"mask {record.mask} has value {strange[0]}; expected 0..{highest} or {IGNORE}"


def label_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    """What is odd about labels and classes."""
    by_spelling = defaultdict(list)
    for name in findings.class_names:
        by_spelling["".join(name.casefold().split())].append(name)
    for alike in by_spelling.values():
        if len(alike) > 1:
            yield f"classes {' and '.join(alike)} differ in nothing but capitals or spaces; are they one?"
    for list_name, index in findings.lists.items():
        without = [record for record in index.records if not record.labels]
        if without:
            yield f"list '{list_name}': {len(without)} images have no label, {_first(r.image for r in without)}"
        if list_name == cfg.data.train_list:
            counts = index.label_counts()
            for count, title in ((0, "no image"), (1, "one image")):
                few = [name for name in counts if counts[name] == count]
                if few:
                    yield f"list '{list_name}': {title} of {', '.join(few)}"
        if list_name == cfg.data.val_list and index.without_truth():
            missing = index.without_truth()
            yield f"list '{list_name}': {len(missing)} of {len(index)} images have no mask, {_first(r.image for r in missing)}"
        beyond = [
            record
            for record in index.records
            if set(findings.facts[record.image].mask_values) - {0, IGNORE} - {label + 1 for label in record.labels}
        ]
        if beyond:
            yield (
                f"list '{list_name}': the masks of {len(beyond)} images hold classes that are not among their labels, "
                f"{_first(record.image for record in beyond)}"
            )


def image_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    """What is odd about the images themselves."""
    labels = {record.image: record.labels for record in _records(findings)}
    for group in same_content(findings.facts.values()):
        differ = " and have different labels" if len({labels[path] for path in group}) > 1 else ""
        yield f"{len(group)} files are the same image{differ}: {', '.join(map(str, group))}"
    train, val = (findings.lists.get(name) for name in (cfg.data.train_list, cfg.data.val_list))
    if train is not None and val is not None and cfg.data.train_list != cfg.data.val_list:
        trained = {findings.facts[record.image].content for record in train.records} - {""}
        both = [record.image for record in val.records if findings.facts[record.image].content in trained]
        if both:
            yield (
                f"{len(both)} of {len(val)} images of list '{cfg.data.val_list}' are in list '{cfg.data.train_list}' too, "
                f"{_first(both)}; figures on them say little about new images"
            )


def report(findings: Findings, limit: int | None = None) -> str:
    """The findings as text; `limit` shortens the lists of problems and notes."""
    lines = []
    for list_name, index in findings.lists.items():
        sizes = [findings.facts[record.image].size for record in index.records if findings.facts[record.image].content]
        span = f", {_size(min(sizes, key=np.prod))} to {_size(max(sizes, key=np.prod))} pixels" if sizes else ""
        lines.append(f"list '{list_name or 'all'}': {len(index)} images{span}")
    counts = {list_name: index.label_counts() for list_name, index in findings.lists.items()}
    if counts:
        lines += ["", f"{'class':24}" + "".join(f"{name or 'all':>14}" for name in counts)]
        lines += [
            f"{name:24}" + "".join(f"{of_list[name]:14}" for of_list in counts.values())
            for name in findings.class_names
        ]
    lines += _section("problems to mend", findings.problems, limit)
    lines += _section("notes", findings.notes, limit)
    return printable_lines(lines)


def figures(findings: Findings) -> dict[str, Any]:
    """The findings as plain values."""
    return {
        "classes": list(findings.class_names),
        "lists": {
            list_name: {"images": len(index), "by_class": index.label_counts()}
            for list_name, index in findings.lists.items()
        },
        "unreadable": [printable(str(facts.image)) for facts in findings.facts.values() if not facts.content],
        "duplicates": [[printable(str(path)) for path in group] for group in same_content(findings.facts.values())],
        "problems": [printable(problem) for problem in findings.problems],
        "notes": [printable(note) for note in findings.notes],
    }


def draw(findings: Findings, palette: np.ndarray, path: Path) -> None:
    """A row of images for every class, spread evenly over the first list."""
    index = next(iter(findings.lists.values()))
    readable = [record for record in index.records if findings.facts[record.image].content]
    rows = []
    for label, name in enumerate(index.class_names):
        having = [record for record in readable if label in record.labels]
        places = np.linspace(0, len(having) - 1, min(COLUMNS, len(having))).round().astype(int)
        rows.append(
            [_tile(having[place], index, palette, name if column == 0 else "") for column, place in enumerate(places)]
        )
    without = [record for record in readable if not record.labels][:COLUMNS]
    rows.append([_tile(record, index, palette, "no label") for record in without])
    with atomic_path(path) as temporary:
        contact_sheet([row for row in rows if row], tile=TILE, size=12).save(temporary, quality=88)


def printable_lines(lines: Sequence[str]) -> str:
    """Lines of text without what cannot be written in UTF-8; file names may hold any bytes."""
    return "\n".join(printable(line) for line in lines)


def _tile(record: Record, index: Index, palette: np.ndarray, title: str) -> Tile:
    image = fit(np.array(read_image(record.image)), TILE)
    swatches = [(index.class_names[label], tuple(palette[label + 1].tolist())) for label in record.labels]
    return Tile(image, f"{title}: {record.name}" if title else record.name, swatches)


def _records(findings: Findings) -> list[Record]:
    """Every image once, with its mask where a list has it."""
    found: dict[Path, Record] = {}
    for index in findings.lists.values():
        for record in index.records:
            if record.image not in found or record.mask is not None:
                found[record.image] = record
    return list(found.values())


def _section(title: str, messages: Sequence[str], limit: int | None) -> list[str]:
    if not messages:
        return ["", f"no {title}"]
    shown = messages[:limit]
    more = [f"  and {len(messages) - len(shown)} more"] if len(shown) < len(messages) else []
    return ["", f"{title}: {len(messages)}", *(f"  {message}" for message in shown), *more]


def _first(paths: Any) -> str:
    return f"first {next(iter(paths))}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"


if __name__ == "__main__":
    sys.exit(run_script(main))
