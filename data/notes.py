"""What the check reports: problems, which training or evaluation would stop at, and notes, which a person judges."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data.dataset import Index
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
    problem = series_problem(depths, "the data") if value_range == "auto" else ""
    if problem:
        yield problem
    needs = [one.needs for one in facts.values() if one.needs]
    if needs:
        yield needs[0] + (f" ({len(needs)} images need it)" if len(needs) > 1 else "")
    for one in facts.values():
        yield from one.problems


def truth_findings(findings: Findings) -> None:
    """Judge the masks of each list together."""
    for list_name, index in findings.lists.items():
        rows = [
            (record, mask)
            for record in index.records
            if record.mask is not None and (mask := findings.facts[record.image].mask) is not None
        ]
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
        without = [record for record in index.records if not record.labels]
        if without:
            yield f"list '{list_name}': {len(without)} images have no label, {first_of(r.image for r in without)}"
        if list_name == cfg.data.train_list:
            yield from _count_notes(list_name, index)
        if list_name == cfg.data.val_list and (missing := index.without_truth()):
            first = first_of(record.image for record in missing)
            yield f"list '{list_name}': {len(missing)} of {len(index)} images have no mask, {first}"


def _count_notes(list_name: str, index: Index) -> Iterator[str]:
    counts = index.label_counts()
    for count, title in ((0, "no image"), (1, "one image")):
        few = [name for name in counts if counts[name] == count]
        if few:
            yield f"list '{list_name}': {title} of {', '.join(few)}"
    everywhere = [name for name in counts if counts[name] == len(index) > 1]
    if everywhere:
        yield (
            f"list '{list_name}': every image has {', '.join(everywhere)}, so there is nothing to tell it from; add "
            "images without it, in a folder 'background' or as rows without a label"
        )


def image_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    """What is odd about the images themselves."""
    labels = {record.image: record.labels for index in findings.lists.values() for record in index.records}
    every = findings.facts.values()
    for look in dict.fromkeys(facts.brightness for facts in every if facts.brightness):
        alike = [facts.image for facts in every if facts.brightness == look]
        first = first_of(alike)
        yield f"{len(alike)} images are {look} as the network sees them, {first}; see data.range in docs/data.md"
    if holes := [facts.image for facts in every if facts.depth is not None and facts.depth.has_nan]:
        yield f"{len(holes)} images hold NaN, which is shown as the low end of the range, {first_of(holes)}"
    if several := [facts.image for facts in every if facts.frames > 1]:
        yield f"{len(several)} files hold several images, of which the first is read, {first_of(several)}"
    for group in same_content(findings.facts.values()):
        differ = " and have different labels" if len({labels[path] for path in group}) > 1 else ""
        yield f"{len(group)} files are the same image{differ}: {', '.join(map(str, group))}"
    train, val = (findings.lists.get(name) for name in (cfg.data.train_list, cfg.data.val_list))
    if train is not None and val is not None and cfg.data.train_list != cfg.data.val_list:
        trained = {findings.facts[record.image].content for record in train.records} - {""}
        both = [record.image for record in val.records if findings.facts[record.image].content in trained]
        if both:
            yield (
                f"{len(both)} of {len(val)} images of list '{cfg.data.val_list}' are in list '{cfg.data.train_list}' "
                f"too, {first_of(both)}; figures on them say little about new images"
            )


def first_of(paths: Any) -> str:
    """The first, for a message."""
    return f"first {next(iter(paths))}"
