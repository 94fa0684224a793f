"""What the check reports: problems, which training or evaluation would stop at, and notes, which a person judges."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import Index
from data.faults import counted
from data.inspection import Facts, same_content, series_problem
from data.settings import DataConfig
from data.truth_check import judge


@dataclass
class Findings:
    """What was found.

    Attributes:
        lists: the lists that could be opened, by name.
        facts: of every image, by its file.
        problems, notes: messages for a person.
    """

    lists: dict[str, Index] = field(default_factory=dict)
    facts: dict[Path, Facts] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first list that could be opened; none where no list could."""
        return next((index.class_names for index in self.lists.values()), ())


def reading_problems(facts: Mapping[Path, Facts], value_range: Any) -> Iterator[str]:
    """Images that cannot be read: a missing setting once for all of them, the others each."""
    depths = [(one.image, one.depth) for one in facts.values() if one.depth is not None]
    if value_range == "auto" and (problem := series_problem(depths, "the data")):
        yield problem
    if needs := [one.needs for one in facts.values() if one.needs]:
        yield needs[0] + (f" ({len(needs)} images need it)" if len(needs) > 1 else "")
    for one in facts.values():
        yield from one.problems


def truth_findings(findings: Findings) -> None:
    """Judge the masks of each list together."""
    for list_name, index in findings.lists.items():
        pairs = [(record, findings.facts[record.image].mask) for record in index.records if record.mask is not None]
        rows = [(record, mask) for record, mask in pairs if mask is not None]
        if rows:
            verdict = judge(rows, rows[0][0].truth, index.class_names)
            findings.problems += verdict.problems
            findings.notes += [f"list '{list_name or 'all'}': {note}" for note in verdict.notes]


def label_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    """What is odd about labels and classes."""
    by_spelling = defaultdict(list)
    for name in findings.class_names:
        by_spelling["".join(name.casefold().split())].append(name)
    for alike in by_spelling.values():
        if len(alike) > 1:
            yield f"classes {' and '.join(alike)} differ in nothing but capitals or spaces; are they one?"
    for list_name, index in findings.lists.items():
        where, counts = f"list '{list_name}'", index.label_counts()
        without = [str(record.image) for record in index.records if not record.labels]
        yield from counted(where, "images without a label", without, "they train as none of the classes")
        if list_name == cfg.data.train_list:
            for count, title in ((0, "no image"), (1, "one image")):
                if few := [name for name in counts if counts[name] == count]:
                    yield f"{where}: {title} of {', '.join(few)}"
            if everywhere := [name for name in counts if counts[name] == len(index) > 1]:
                remedy = "add images without it, in a folder 'background' or as rows without a label"
                what = f"every image has {', '.join(everywhere)}, so there is nothing to tell it from"
                yield f"{where}: {what}; {remedy}"
        if list_name == cfg.data.val_list:
            unmasked = [str(record.image) for record in index.without_truth()]
            yield from counted(where, f"images without a mask, of {len(index)}", unmasked, "add their masks")


def image_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    """What is odd about the images themselves."""
    every = findings.facts.values()
    for look in dict.fromkeys(facts.brightness for facts in every if facts.brightness):
        alike = (facts for facts in every if facts.brightness == look)
        yield from _images(f"images that are {look} as the network sees them", alike, "see data.range in docs/data.md")
    holes = (facts for facts in every if facts.depth is not None and facts.depth.has_nan)
    yield from _images("images that hold NaN", holes, "it is shown as the low end of the range")
    several = (facts for facts in every if facts.frames > 1)
    yield from _images("files that hold several images", several, "the first of each is read")
    labels = {record.image: record.labels for index in findings.lists.values() for record in index.records}
    for group in same_content(every):
        differ = " and have different labels" if len({labels[path] for path in group}) > 1 else ""
        yield f"{len(group)} files are the same image{differ}: {', '.join(map(str, group))}"
    train, val = (findings.lists.get(name) for name in (cfg.data.train_list, cfg.data.val_list))
    if train is not None and val is not None and train is not val:
        trained = {findings.facts[record.image].content for record in train.records} - {""}
        both = (findings.facts[r.image] for r in val.records if findings.facts[r.image].content in trained)
        what = f"images of list '{cfg.data.val_list}' that are in list '{cfg.data.train_list}' too"
        yield from _images(f"{what}, of {len(val)}", both, "figures on them say little about new images")


def _images(what: str, found: Iterable[Facts], remedy: str) -> list[str]:
    return counted("images", what, [str(facts.image) for facts in found], remedy)
