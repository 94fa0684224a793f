"""Truth that cannot be right: all masks of a list together, compared with the labels of their images.

Masks that contradict labels are told with their counts, and can be evaluated. Refused is what no figure can come from:
masks without any class of the list, nearly all of other classes than the labels, with values of no class, or whose
palette says that they were read the wrong way.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from data.dataset import Record
from data.faults import grouped
from data.mask_values import BACKGROUND_WORD, IGNORE_WORD, LABEL_WORD, MOST_KEYS, MaskFacts, TruthRule, mapping_line
from utils.ignore import IGNORE

LEAST = 3  # images with a label that is in none of their masks, before its class is named
FEW, NEARLY_ALL = 10, 0.9  # masks of other classes than the labels, at least, and their part of those with a label
IGNORE_COLOUR = "#e0e0c0"  # of VOC's palette
Row = tuple[Record, MaskFacts]


@dataclass
class Verdict:
    """Problems, which evaluation stops at, and notes, which are a person's to judge; both as messages."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def judge(rows: Sequence[Row], rule: TruthRule, class_names: tuple[str, ...]) -> Verdict:
    """What is wrong with the masks of a list; `rows` have each image with a mask, and what that holds.

    `rule` is the one that the masks were read by; it need not know the names.
    """
    rule = replace(rule, class_names=class_names)
    verdict = Verdict()
    unreadable = [row for row in rows if row[1].problem]
    for kind, faulty in grouped(unreadable, lambda row: row[1].kind or row[1].problem).items():
        if kind == "colour":
            verdict.problems.append(_unmapped(faulty, faulty, "holds colours, expected class values", rule))
        else:
            many = f" ({len(faulty)} masks have this fault)" if len(faulty) > 1 else ""
            verdict.problems.append(faulty[0][1].problem + many)
    whole = [row for row in rows if not row[1].problem]
    strange = {value for _, facts in whole for value in facts.values if len(class_names) < value < IGNORE}
    if strange:
        having = [row for row in whole if set(row[1].values) & strange]
        fault = f"has value {min(strange)}; expected 0..{len(class_names)} or {IGNORE}"
        drawn = [row for row in whole if set(row[1].values) - {0, IGNORE}]  # the line has to name their values, too
        verdict.problems.append(_unmapped(having, drawn, fault, rule))
        whole = [row for row in whole if row not in having]
    if nothing := _without_classes(whole, rule):
        verdict.problems.append(nothing)
        return verdict
    verdict.problems += _objects_of_255(whole, rule)
    reason, inverted = palette_reason(whole, rule)
    contradictions, are_many, are_all = _contradictions(whole, rule)
    if reason:  # a problem where labels and palettes both say so
        (verdict.problems if inverted or are_many else verdict.notes).append(reason)
    framed = [row for row in whole if row[1].frame]
    if len(framed) >= LEAST and 2 * len(framed) > len(whole):
        what = f"in {len(framed)} of {len(whole)} masks an object covers the border and background lies inside"
        remedy = "if they have changed places, name both in data.mask_values, such as {0: CLASS, 1: background}"
        verdict.notes.append(f"{what}, first {framed[0][0].mask}; {remedy}")
    verdict.notes += _no_background(whole, rule)
    if contradictions:
        (verdict.problems if are_all else verdict.notes).append(contradictions)
    return verdict


def _unmapped(faulty: Sequence[Row], rows: Sequence[Row], fault: str, rule: TruthRule) -> str:
    keys = {key for _, facts in rows for key in facts.keys}
    start = f"mask {faulty[0][0].mask} {fault} ({len(faulty)} such)"
    if len(keys) > MOST_KEYS:
        return f"{start}; more than {MOST_KEYS} colours: a photograph, or saved with loss; expected one a class"
    guesses = _guess(rows, keys, rule)
    return f"{start}; found {', '.join(guesses)}; name the class of each: {mapping_line(guesses)}"


def _without_classes(rows: Sequence[Row], rule: TruthRule) -> str:
    values = {value for _, facts in rows for value in facts.values}
    labels = {label for record, _ in rows for label in record.labels}
    if not rows or values - {0, IGNORE} or (0 in values and not labels):
        return ""
    remedy = "correct the masks or the labels"
    if IGNORE in values and not rule.table:
        name = rule.class_names[min(labels)] if len(labels) == 1 else LABEL_WORD
        line = mapping_line({"0": BACKGROUND_WORD, str(IGNORE): name})
        remedy = f"{IGNORE} means 'ignore' here; name the class of {IGNORE}: {line}"
    what = f"hold only {' and '.join(map(str, sorted(values)))}, first {rows[0][0].mask}"
    although = ", although labels name classes" if labels else ""
    return f"the masks of all {len(rows)} images {what}{although}, so there is no object to evaluate; {remedy}"


def _objects_of_255(rows: Sequence[Row], rule: TruthRule) -> Iterator[str]:
    """A message where the masks of some classes hold 255 in place of the class, as those of another program."""
    odd = {}
    for label, name in enumerate(rule.class_names):
        of_class = [row for row in rows if label in row[0].labels]
        if len(of_class) >= LEAST and all({IGNORE} <= set(facts.values) <= {0, IGNORE} for _, facts in of_class):
            odd[name] = of_class[0][0].mask
    if odd and not rule.table:
        values = {value for _, facts in rows for value in facts.values} - {0, IGNORE}
        words = {"0": BACKGROUND_WORD} | {str(value): rule.class_names[value - 1] for value in sorted(values)}
        line = mapping_line(words | {str(IGNORE): next(iter(odd)) if len(odd) == 1 else LABEL_WORD})
        what = f"the masks of {', '.join(odd)} hold only 0 and {IGNORE}, first {next(iter(odd.values()))}"
        yield f"{what}, and {IGNORE} means 'ignore' here; name the class of {IGNORE}: {line}"


def _no_background(rows: Sequence[Row], rule: TruthRule) -> Iterator[str]:
    """A note where no mask has background, and 255 or one class takes its place."""
    drawn = [row for row in rows if set(row[1].values) - {0, IGNORE}]
    are_plain = all(IGNORE in facts.values or len(facts.values) == 1 for _, facts in drawn)
    if len(drawn) < LEAST or not are_plain or any(0 in facts.values for _, facts in drawn):
        return
    names = {str(value): name for value, name in enumerate(rule.class_names, 1)}
    line = mapping_line(names | {str(IGNORE): BACKGROUND_WORD})
    is_one = not rule.table and any(IGNORE in facts.values for _, facts in drawn)
    remedy = f"if {IGNORE} is background: {line}" if is_one else "correct them, if these are objects"
    what = f"no mask with an object has background (0), first {drawn[0][0].mask}"
    yield f"{what}, so an object that is drawn too large loses nothing; {remedy}"


def _contradictions(rows: Sequence[Row], rule: TruthRule) -> tuple[str, bool, bool]:
    """A message about masks and labels that contradict each other, and whether these are most of the list.

    Also whether nearly all masks lack a class of their label and hold another, so that no figure can come from them.
    """
    shown = {record.name: set(facts.values) - {0, IGNORE} for record, facts in rows}
    wanted = {record.name: {label + 1 for label in record.labels} for record, _ in rows}
    missing = [record for record, _ in rows if wanted[record.name] - shown[record.name]]
    beyond = [record for record, _ in rows if shown[record.name] - wanted[record.name]]
    wrong = {record.name: record for record in (*missing, *beyond)}
    labelled = [name for name, values in wanted.items() if values]
    nowhere = []
    for value, name in enumerate(rule.class_names, 1):
        having = [shown[image] for image in labelled if value in wanted[image]]
        if len(having) >= LEAST and not any(value in values for values in having):
            nowhere.append(f"{name} ({len(having)} images)")
    if not wrong:
        return "", False, False
    swapped = {record.name for record in missing} & {record.name for record in beyond}
    are_all = len(swapped) >= max(FEW, NEARLY_ALL * len(labelled))
    are_many = bool(nowhere) or (len(wrong) >= LEAST and 2 * len(wrong) > len(rows))
    message = (
        f"the masks of {len(wrong)} of {len(rows)} images contradict their labels ({len(missing)} lack a class of the "
        f"label, {len(beyond)} hold a class that is no label), first {next(iter(wrong.values())).image}"
    )
    if nowhere:
        message += f"; no mask holds {', '.join(nowhere)} for an image with that label"
    if are_many:
        message += "; correct masks or labels, or give the classes in the order of the mask values (data.classes)"
    return message, are_many, are_all


def palette_reason(rows: Sequence[Row], rule: TruthRule, remedy: str = "") -> tuple[str, bool]:
    """A message where the masks' own palettes have the classes' colours at other values, else nothing.

    Also whether background and object have changed places, which no palette does by chance. The default `remedy` is to
    read them by colour.
    """
    names = {IGNORE_COLOUR: IGNORE_WORD} | rule.names_of_colours()
    index_of = {IGNORE_COLOUR: IGNORE} | {colour: value for value, colour in enumerate(rule.colours)}
    pairs = [(record, [pair for pair in facts.colours if pair[0] != IGNORE]) for record, facts in rows]
    every = {pair for _, of_mask in pairs for pair in of_mask}
    moved = sorted((value, colour) for value, colour in every if index_of.get(colour) != value)
    mixed = [value for value, of_value in grouped(every, lambda pair: pair[0]).items() if len(of_value) > 1]
    if not moved or not all(of_mask for _, of_mask in pairs):
        return "", False
    if any(colour not in index_of for _, colour in every):  # a palette with colours of its own
        if not mixed:  # where it is, programs number colours anew in each mask
            return "", False
        by_colour = [(r, replace(facts, keys=tuple(colour for _, colour in facts.colours))) for r, facts in rows]
        line = mapping_line(_guess(by_colour, {key for _, facts in by_colour for key in facts.keys}, rule))
        what = f"value {min(mixed)} has different colours in the palettes of the masks, first {rows[0][0].mask}"
        return f"{what}; {remedy or f'to read masks by colour: {line}'}", False
    first = next(record for record, of_mask in pairs if set(of_mask) & set(moved))
    what = "; ".join(f"value {value} has {colour}, the colour of {names[colour]}" for value, colour in moved[:3])
    used = {colour: names[colour] for _, of_mask in pairs for _, colour in of_mask}
    black = rule.colours[0]
    return (
        f"the palettes of the masks have the classes' colours at other values ({what}), first {first.mask}; "
        + (remedy or f"to read masks by colour: {mapping_line(used)}"),
        (0, black) not in every and any(colour == black for _, colour in every),
    )


def _guess(rows: Sequence[Row], keys: Iterable[str], rule: TruthRule) -> dict[str, str]:
    """What each key may mean: a class whose colour it is, or that is a label of exactly the images with that key."""
    known = {"0": BACKGROUND_WORD, "#000000": BACKGROUND_WORD, str(IGNORE): IGNORE_WORD, IGNORE_COLOUR: IGNORE_WORD}
    labelled = {}
    for label, name in enumerate(rule.class_names):
        labelled[name] = {record.name for record, _ in rows if label in record.labels}
    guesses = {}
    for key in sorted(keys, key=lambda key: (len(key), key)):
        having = {record.name for record, facts in rows if key in facts.keys}
        fitting = [name for name, images in labelled.items() if images == having]
        only = fitting[0] if len(fitting) == 1 else rule.names_of_colours().get(key, "CLASS")
        guesses[key] = known.get(key, only)
    words = list(guesses.values())
    if BACKGROUND_WORD not in words:  # one of those that go with the same label is the background
        return {key: "CLASS" if words.count(word) > 1 else word for key, word in guesses.items()}
    return guesses
