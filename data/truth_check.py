"""Truth that cannot be right: all masks of a list together, compared with the labels of their images.

A single image whose mask and labels disagree is the noise of annotation. A list where a class never occurs in any mask,
or where more than half of the images disagree, was read the wrong way, and every figure measured on it would be wrong.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from data.dataset import Record
from data.mask_values import (
    BACKGROUND_WORD,
    IGNORE_WORD,
    LABEL_WORD,
    MOST_KEYS,
    MaskFacts,
    TruthRule,
    mapping_line,
    names_of_colours,
)  # fmt: skip
from utils.ignore import IGNORE

LEAST = 3  # images that must disagree before a list is refused
Row = tuple[Record, MaskFacts]


@dataclass
class Verdict:
    """Problems, which evaluation stops at, and notes, which are a person's to judge; both as messages."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(rows: Sequence[Row], rule: TruthRule, class_names: tuple[str, ...]) -> Verdict:
    """What is wrong with the masks of a list.

    Args:
        rows: each image that has a mask, and what its mask holds.
        rule: the one that the masks were read by; it need not know the names.
        class_names: class c has value c + 1.
    """
    rule = replace(rule, class_names=class_names)
    verdict = Verdict()
    faults: dict[str, list[Row]] = {}
    for row in rows:
        if row[1].problem:
            faults.setdefault(row[1].kind or row[1].problem, []).append(row)
    for kind, faulty in faults.items():
        many = f" ({len(faulty)} masks have this fault)" if len(faulty) > 1 else ""
        verdict.problems.append(_about_colours(faulty, rule) if kind == "colour" else faulty[0][1].problem + many)
    whole = [row for row in rows if not row[1].problem]
    highest = len(rule.class_names)
    strange = sorted({value for _, facts in whole for value in facts.values if highest < value < IGNORE})
    if strange:
        verdict.problems.append(_about_strange(whole, strange, rule))
        whole = [row for row in whole if not set(row[1].values) & set(strange)]
    if not _judge_ignore(whole, rule, verdict):
        reason, inverted = _palette_reason(whole, rule)
        _judge_labels(whole, rule, verdict, reason)
        if reason and not verdict.problems:
            (verdict.problems if inverted else verdict.notes).append(reason)
    return verdict


def _about_colours(rows: Sequence[Row], rule: TruthRule) -> str:
    keys = {key for _, facts in rows for key in facts.keys}
    what = f"{_masks(len(rows))} {'holds' if len(rows) == 1 else 'hold'}"
    first = f"first {rows[0][0].mask}"
    if len(keys) > MOST_KEYS:
        return (
            f"{what} more than {MOST_KEYS} colours, {first}: it is a photograph, or was saved with loss or with "
            "smoothed outlines; expected a colour or a value for each class"
        )
    return (
        f"{what} colours and not class values, {first}; found {_listed(keys)}; name the class of each colour: "
        f"{mapping_line(_guess(rows, keys, rule))}"
    )


def _about_strange(rows: Sequence[Row], strange: Sequence[int], rule: TruthRule) -> str:
    having = [record for record, facts in rows if set(facts.values) & set(strange)]
    keys = {key for _, facts in rows for key in facts.keys}
    return (
        f"mask {having[0].mask} has value {strange[0]}; expected 0..{len(rule.class_names)} or {IGNORE}; "
        f"{_masks(len(having))} have such values ({_listed(map(str, strange))}); name the class of each value: "
        f"{mapping_line(_guess(rows, keys, rule))}"
    )


def _judge_ignore(rows: Sequence[Row], rule: TruthRule, verdict: Verdict) -> bool:
    """Whether masks hold background and ignore alone, where labels name a class; if so, a problem is added."""
    values = {value for _, facts in rows for value in facts.values}
    labels = {label for record, _ in rows for label in record.labels}
    if IGNORE not in values or values - {0, IGNORE} or not labels or rule.table:
        return False
    name = rule.class_names[min(labels)] if len(labels) == 1 else LABEL_WORD
    first = next(record for record, facts in rows if IGNORE in facts.values)
    verdict.problems.append(
        f"the masks of all {len(rows)} images hold only {' and '.join(map(str, sorted(values)))}, first {first.mask}, "
        f"although labels name classes; {IGNORE} means 'ignore' here, so there is no object to evaluate; name the "
        f"class of {IGNORE}: {mapping_line({'0': BACKGROUND_WORD, str(IGNORE): name})}"
    )
    return True


def _judge_labels(rows: Sequence[Row], rule: TruthRule, verdict: Verdict, reason: str) -> None:
    """Compare labels and masks, image by image and class by class."""
    remedy = reason or (
        "if the masks hold other values than class indices, name their classes in data.mask_values, else correct the "
        "labels, or set data.classes to the classes in the order of the mask values"
    )
    shown = {record.name: set(facts.values) - {0, IGNORE} for record, facts in rows}
    wanted = {record.name: {label + 1 for label in record.labels} for record, _ in rows}
    missing = [record for record, _ in rows if wanted[record.name] - shown[record.name]]
    beyond = [record for record, _ in rows if shown[record.name] - wanted[record.name]]
    wrong = {record.name for record in (*missing, *beyond)}
    labelled = {name for name, values in wanted.items() if values}
    many = 2 * len(wrong) > len(rows) or 2 * len(wrong & labelled) > len(labelled)
    nowhere = []
    for value, name in enumerate(rule.class_names, 1):
        having = [shown[image] for image, values in wanted.items() if value in values]
        if len(having) >= LEAST and not any(value in values for values in having):
            nowhere.append(f"{name} ({len(having)} images)")
    if nowhere:
        verdict.problems.append(
            f"no mask of the list holds {', '.join(nowhere)} for an image with that label, first {missing[0].mask}; "
            f"{remedy}"
        )
    elif labelled and many and len(wrong) >= LEAST:
        verdict.problems.append(
            f"the masks of {len(wrong)} of {len(rows)} images contradict the labels of their images ({len(missing)} "
            f"lack a class of the label, {len(beyond)} hold a class that is not a label), first "
            f"{(missing or beyond)[0].mask}; {remedy}"
        )
    else:
        for records, what in (
            (missing, "lack a class that is among their labels"),
            (beyond, "hold classes that are not among their labels"),
        ):
            if records:
                verdict.notes.append(f"the masks of {len(records)} images {what}, first {records[0].image}")


def _palette_reason(rows: Sequence[Row], rule: TruthRule) -> tuple[str, bool]:
    """A message where the masks' own palettes have the classes' colours at other values, else nothing.

    Also whether background and object have changed places, which no palette does by chance.
    """
    names = names_of_colours(rule)
    index_of = {colour: value for value, colour in enumerate(rule.colours)}
    every = {pair for _, facts in rows for pair in facts.colours}
    if any(value != IGNORE and colour not in index_of for value, colour in every) or not all(
        any(value != IGNORE for value, _ in facts.colours) for _, facts in rows
    ):
        return "", False  # a palette with colours of its own
    moved: dict[str, str] = {}
    used: dict[str, str] = {}
    first = None
    for record, facts in rows:
        for value, colour in facts.colours:
            if value != IGNORE:
                used[colour] = names[colour]
                if index_of[colour] != value:
                    moved[colour] = f"value {value} has {colour}, the colour of {names[colour]}"
                    first = first or record
    if first is None:
        return "", False
    message = (
        f"the palettes of the masks have the classes' colours at other values ({'; '.join([*moved.values()][:3])}), "
        f"first {first.mask}; to read masks by colour: {mapping_line(used)}"
    )
    black = rule.colours[0]
    return message, (0, black) not in every and any(colour == black for _, colour in every)


def _guess(rows: Sequence[Row], keys: Iterable[str], rule: TruthRule) -> dict[str, str]:
    """What each key may mean: a class whose colour it is, or that is a label of exactly the images with that key."""
    colours = names_of_colours(rule)
    known = {"0": BACKGROUND_WORD, "#000000": BACKGROUND_WORD, str(IGNORE): IGNORE_WORD, "#e0e0c0": IGNORE_WORD}
    labelled = [{record.name for record, _ in rows if label in record.labels} for label in range(len(rule.class_names))]
    guesses = {}
    for key in _sorted(keys):
        having = {record.name for record, facts in rows if key in facts.keys}
        fitting = [name for name, images in zip(rule.class_names, labelled, strict=True) if images == having]
        guesses[key] = known.get(key) or (fitting[0] if len(fitting) == 1 else colours.get(key, "CLASS"))
    return guesses


def _masks(count: int) -> str:
    return "1 mask" if count == 1 else f"{count} masks"


def _sorted(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: (len(key), key))


def _listed(keys: Iterable[str]) -> str:
    shown = _sorted(keys)
    return ", ".join(shown[:8]) + (", ..." if len(shown) > 8 else "")
