"""What reading images finds out: which cannot be read, which are the same, what their values and their masks are.

A series of 12 bits in files of 16 looks nearly black if no setting says so, and is refused with the line to add.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from data.dataset import Index, Record, check_fit
from data.faults import Faults, counted, grouped
from data.images import frames_of, read_values, turn_of
from data.mask_values import MaskFacts, read_with_facts
from data.near_copies import near_copies, thumbnail_of
from data.pixels import DRAWN, NeedsSetting, UnreadableImage, look_of, range_line, range_remedy, unknown_range
from data.settings import DataConfig
from data.truth_check import judge
from utils.console import progress
from utils.errors import UserError
from utils.reading import load_items

Item = TypeVar("Item")
LEAST = 3  # images of a class, before it is compared with others
MIRRORED_OR_UPSIDE_DOWN = (2, 3, 4)  # EXIF's orientations that leave width and height as they are


@dataclass(frozen=True)
class Depth:
    """The values of an image of more than 8 bits."""

    image: Path
    bits: int  # as the file says, 0 where that gives no range
    dtype: str
    low: float
    high: float
    has_nan: bool


@dataclass(frozen=True)
class Facts:
    """One image."""

    image: Path
    size: tuple[int, int] = (0, 0)  # (H, W), upright; (0, 0) where it cannot be read
    content: str = ""  # fingerprint of its pixels; equal images have equal ones, whatever their format
    thumbnail: bytes = b""  # its small grey copy
    look: str = ""  # `nearly black`, `nearly white`, `flat` or `DRAWN`, as the network sees it; else empty
    depth: Depth | None = None  # its values, where they are not of 8 bits
    frames: int = 1  # images that the file holds
    mask: MaskFacts | None = None  # what its mask holds, where there is one
    fits_turned: bool = False  # whether a mask of the image as it was before EXIF turned it would have its size, too
    problem: str = ""  # why it, or its mask, cannot be read; a missing range is one problem for all images
    kind: str = ""  # of the problem, where all of one kind are one


def inspect(indexes: Iterable[Index], workers: int) -> dict[Path, Facts]:
    """Read every image once, and the mask of those whose record has one, by loader processes; by the image's file."""
    records = records_of(indexes)
    items = load_items(records, min(workers, len(records)), collate_fn=_facts_of)
    return {facts.image: facts for facts in progress(items, len(records), "reading images")}


def records_of(indexes: Iterable[Index]) -> list[Record]:
    """Every image once, with its mask where a list has it."""
    found: dict[Path, Record] = {}
    for index in indexes:
        for record in index.records:
            if record.image not in found or record.mask is not None:
                found[record.image] = record
    return list(found.values())


def same_content(facts: Iterable[Facts]) -> list[list[Path]]:
    """Groups of files that hold the same image."""
    groups = grouped((one for one in facts if one.content), lambda one: one.content).values()
    return [sorted(one.image for one in group) for group in groups if len(group) > 1]


def depth_of(path: Path, bands: tuple[int, ...] = ()) -> Depth | None:
    """What an image holds; None where it has 8 bits or cannot be read, which its reader will say."""
    try:
        values = read_values(path, bands)
    except UnreadableImage:
        return None
    if values is None or values.bits in (1, 8):
        return None
    return Depth(path, values.bits, str(values.array.dtype), *values.extent(), bool(np.isnan(values.colours).any()))


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many of records, positions and the like, spread evenly."""
    positions = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[position] for position in positions.tolist()]


def series_problem(depths: Sequence[Depth], what: str) -> str:
    """What is unclear about the values of images of list `what` without `data.range`; empty where nothing is."""
    for bits in sorted({depth.bits for depth in depths}):
        found = [depth for depth in depths if depth.bits == bits]
        low, high = min(depth.low for depth in found), max(depth.high for depth in found)
        which = f"{what}: images such as {found[0].image}"
        if not bits:
            return f"{which} hold {unknown_range(found[0].dtype, low, high)}"
        if high < 2 ** (bits - 1):
            dark = f"have {bits} bits, and their values end at {high:g}, so they would look nearly black"
            example = f"{range_line(0, high)} (or [0, {2**bits - 1}] if it is right as it is)"
            return f"{which} {dark}; {range_remedy(example)}"
    return ""


def mixed_depths(depths: Sequence[Depth], what: str) -> list[str]:
    """Notes on images that use a small part of the range that others of as many bits fill."""
    notes: list[str] = []
    for bits in sorted({depth.bits for depth in depths} - {0}):
        found = [depth for depth in depths if depth.bits == bits]
        low, most = [str(one.image) for one in found if one.high < 2 ** (bits - 4)], max(one.high for one in found)
        if most >= 2 ** (bits - 1):
            few = f"images of {bits} bits with no value above {2 ** (bits - 4) - 1}, while others reach {most:g}"
            notes += counted(what, few, low, "they look nearly black: if they have fewer bits, scale them alike")
    return notes


def _facts_of(record: Record) -> Facts:
    depth = depth_of(record.image, record.pixels.bands)
    try:
        image = record.read_image()
    except NeedsSetting as error:
        problem = str(error) if error.setting == "data.bands" else ""
        return Facts(record.image, depth=depth, problem=problem, kind="bands")
    except UserError as error:
        return Facts(record.image, problem=str(error))
    size = (image.height, image.width)
    content = hashlib.sha256(f"{size}".encode() + image.tobytes()).hexdigest()
    frames = 1 if record.pixels.bands else frames_of(record.image)
    facts = Facts(record.image, size, content, thumbnail_of(image), look_of(np.asarray(image)), depth, frames)
    if record.mask is None or not record.mask.is_file():
        return facts
    values, mask = read_with_facts(record.mask, record.truth, record.labels)
    try:
        if values is not None:
            check_fit(record, record.mask, values, image)
    except UserError as error:
        return replace(facts, problem=str(error), kind="size")
    turn = turn_of(record.image)
    fits_turned = turn in MIRRORED_OR_UPSIDE_DOWN or (turn > 1 and image.height == image.width)
    return replace(facts, mask=mask, fits_turned=fits_turned)


@dataclass
class Findings:
    """What was found; problems and notes are messages for a person."""

    lists: dict[str, Index] = field(default_factory=dict)  # that could be opened, by name
    facts: dict[Path, Facts] = field(default_factory=dict)  # of every image, by its file
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Those of the first list that could be opened; none where no list could."""
        return next((index.class_names for index in self.lists.values()), ())


def judge_all(findings: Findings, cfg: DataConfig) -> None:
    """Add the problems and notes that the lists and their images give."""
    trained = findings.lists.get(cfg.data.train_list)
    if trained is not None and not findings.problems and not any(record.labels for record in trained.records):
        remedy = "set data.labels to their file, or data.train_list to another list"
        findings.problems.append(f"no image of list '{cfg.data.train_list}' has a label to learn from; {remedy}")
    depths = [one.depth for one in findings.facts.values() if one.depth is not None]
    if cfg.data.range == "auto" and (problem := series_problem(depths, "the data")):
        findings.problems.append(problem)
    faults = Faults(findings.problems.append)
    for one in findings.facts.values():
        if one.problem:
            faults.add(one.kind or one.problem, one.problem)
    faults.report()
    for list_name, index in findings.lists.items():
        facts = [(record, findings.facts[record.image].mask) for record in index.records if record.mask is not None]
        if rows := [(record, mask) for record, mask in facts if mask is not None]:
            verdict = judge(rows, rows[0][0].truth, index.class_names)
            findings.problems += verdict.problems
            findings.notes += [f"list '{list_name or 'all'}': {note}" for note in verdict.notes]
    findings.notes += dict.fromkeys(note for index in findings.lists.values() for note in index.notes)
    findings.notes += [*_label_notes(findings, cfg), *_image_notes(findings, cfg)]


def other_classes(first: str, classes: tuple[str, ...], second: str, others: tuple[str, ...]) -> str:
    """A message where two lists have different classes, or these in another order; empty where they have not."""
    if classes == others:
        return ""
    what = f"list '{first}' has the classes {', '.join(classes)}, list '{second}' has {', '.join(others)}"
    return f"{what}; both need the same in one order: mend the labels, or name the classes in data.classes"


def _label_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    for list_name, index in findings.lists.items():
        where, counts = f"list '{list_name}'", index.label_counts()
        without = [str(record.image) for record in index.records if not record.labels]
        yield from counted(where, "images without a label", without, "they are read as none of the classes")
        if list_name == cfg.data.train_list:
            for count, title in ((0, "no image"), (1, "one image")):
                if few := [name for name in counts if counts[name] == count]:
                    yield f"{where}: {title} of {', '.join(few)}"
            if everywhere := [name for name in counts if counts[name] == len(index) > 1]:
                remedy = "add images without it, in a folder 'background' or as rows without a label"
                what = f"every image has {', '.join(everywhere)}, so there is nothing to tell it from"
                yield f"{where}: {what}; {remedy}"
            yield from _alike(where, index)
        if list_name == cfg.data.val_list:
            unmasked = [str(record.image) for record in index.without_truth()]
            yield from counted(where, f"images without a mask, of {len(index)}", unmasked, "add their masks")


def _alike(where: str, index: Index) -> Iterator[str]:
    """Notes on classes that labels alone cannot tell apart, and on one that sums up the others."""
    having = [frozenset(r.name for r in index.records if label in r.labels) for label in range(len(index.class_names))]
    named = zip(index.class_names, having, strict=True)
    often = {name: images for name, images in named if LEAST <= len(images) < len(index)}
    for alike in grouped(often, often.__getitem__).values():
        if len(alike) > 1:
            what = f"{', '.join(alike)} are in the same images"
            yield f"{where}: {what}, so nothing tells them apart; join them, or add images of one without the others"
        elif len(often) > 2 and often[alike[0]] == frozenset().union(*often.values()):
            yield f"{where}: every image with a label has {alike[0]}; if it sums up the others, remove it"


def _image_notes(findings: Findings, cfg: DataConfig) -> Iterator[str]:
    every = findings.facts.values()
    if cfg.data.range == "auto":
        yield from mixed_depths([facts.depth for facts in every if facts.depth is not None], "images")
    for look in dict.fromkeys(facts.look for facts in every if facts.look):
        alike = (facts for facts in every if facts.look == look)
        remedy = "if these are masks, move them to masks/" if look == DRAWN else "see data.range in docs/data.md"
        yield from _images(f"images that are {look} as the network sees them", alike, remedy)
    holes = (facts for facts in every if facts.depth is not None and facts.depth.has_nan)
    yield from _images("images that hold NaN", holes, "it is shown as the low end of the range")
    several = (facts for facts in every if facts.frames > 1)
    yield from _images("files that hold several images", several, "the first of each is read")
    turned = (facts for facts in every if facts.fits_turned)
    remedy = "masks are for the upright image: see in contact_sheet.jpg whether they lie on the objects"
    yield from _images("images that EXIF turns or mirrors, and whose mask fits either way", turned, remedy)
    labels = {record.image: record.labels for index in findings.lists.values() for record in index.records}
    for group in same_content(every):
        differ = " and have different labels" if len({labels[path] for path in group}) > 1 else ""
        yield f"{len(group)} files are the same image{differ}: {', '.join(map(str, group))}"
    train, val = (findings.lists.get(name) for name in (cfg.data.train_list, cfg.data.val_list))
    if train is not None and val is not None and train is not val:
        trained, new = ([findings.facts[record.image] for record in index.records] for index in (train, val))
        known, remedy = {facts.content for facts in trained} - {""}, "figures on them say little about new images"
        what = f"images of list '{cfg.data.val_list}' that {{}} list '{cfg.data.train_list}'{{}}, of {len(val)}"
        yield from _images(what.format("are in", " too"), (one for one in new if one.content in known), remedy)
        others = [facts for facts in new if facts.content not in known]
        nearly = what.format("are nearly the same as one of", "")
        pairs = ([(one.image, one.thumbnail) for one in facts if one.thumbnail] for facts in (others, trained))
        yield from counted("images", nearly, list(near_copies(*pairs)), remedy)


def _images(what: str, found: Iterable[Facts], remedy: str) -> list[str]:
    return counted("images", what, [str(facts.image) for facts in found], remedy)
