"""Truth masks of other programs: from the values in their files to class values.

A class value is 0 for background, c + 1 for class c, and 255 for what does not count.

    --set 'data.mask_values={0: background, 255: crack}'              by value: grey, palette, 1 bit, 16 bits
    --set 'data.mask_values={"#000000": background, "#ff0000": cat}'  by colour: RGB, RGBA, palette, grey
    --set 'data.mask_values={0: background, 255: label}'              one object, of the image's label

Without the setting, a mask holds class values in one channel. `judge` (data/truth_check.py) compares all masks of a
list together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.artifacts import voc_palette
from data.mask_files import Decoded, MaskFault, decode_mask, packed, used_codes
from utils.choices import nearest
from utils.errors import UserError
from utils.ignore import IGNORE

BACKGROUND_WORD, IGNORE_WORD, LABEL_WORD = "background", "ignore", "label"
LABEL = -1  # stands for the class of the image's one label
MOST_KEYS = 24  # different values or colours of a mask in a message
UNNAMED = -2
KEY = r"\d{1,18}|#[0-9a-fA-F]{6}"  # a value, or a colour


@dataclass(frozen=True)
class TruthRule:
    """What truth masks hold.

    Attributes:
        class_names: class c has value c + 1.
        table: (`255` or `#rrggbb`, class value or `LABEL`) pairs; empty where masks hold class values.
        colours: `#rrggbb` of the background and of each class.
    """

    class_names: tuple[str, ...] = ()
    table: tuple[tuple[str, int], ...] = ()
    colours: tuple[str, ...] = ()


AS_IS = TruthRule()


@dataclass(frozen=True)
class MaskFacts:
    """What one mask holds.

    Attributes:
        keys: `255` or `#rrggbb` of what occurs, at most `MOST_KEYS`.
        values: class values that occur, once the rule has been applied; of a mask without rule, whatever is there.
        colours: (value, `#rrggbb`) of a palette's used values, where masks are read without a table.
        problem: why the mask cannot be read, as a message for a person; `kind` is the same for faults of one cause.
    """

    keys: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    colours: tuple[tuple[int, str], ...] = ()
    problem: str = ""
    kind: str = ""


def truth_rule(
    mapping: Mapping[str, str], class_names: Sequence[str], background: str, palette: np.ndarray
) -> TruthRule:
    """The rule of `data.mask_values`; `palette` (256, 3) has the colours of the classes.

    Raises:
        UserError: a key is no value and no colour, or a class is unknown.
    """
    classes = {name: value for value, name in enumerate(class_names, 1)}
    words = {BACKGROUND_WORD: 0, background: 0, IGNORE_WORD: IGNORE, LABEL_WORD: LABEL} | classes
    for key, name in mapping.items():
        if not re.fullmatch(KEY, key, re.ASCII):
            raise UserError(
                f"data.mask_values: '{key}' is no value of a mask and no colour; expected a number from 0 on, such as "
                "255, or a colour in quotes, such as '#ff0000'"
            )
        if name not in words:
            raise UserError(
                f"data.mask_values: '{key}' stands for unknown class '{name}'{nearest(name, words)}; known: "
                f"{', '.join(dict.fromkeys([*classes, BACKGROUND_WORD, IGNORE_WORD, LABEL_WORD]))}"
            )
    table = tuple((key.lower(), words[name]) for key, name in mapping.items())
    colours = tuple(spelled(code, True) for code in packed(palette[: len(class_names) + 1]).tolist())
    return TruthRule(tuple(class_names), table, colours)


def read_truth(path: str | Path, rule: TruthRule = AS_IS, labels: Sequence[int] = ()) -> np.ndarray:
    """(H, W) uint8 class values of a truth mask; `labels` of its image are for the word `label` in the rule.

    Raises:
        UserError: missing, damaged, saved with loss, or it holds what the rule does not name.
    """
    return _class_values(decode_mask(path), path, rule, labels)


def read_with_facts(
    path: str | Path, rule: TruthRule = AS_IS, labels: Sequence[int] = ()
) -> tuple[np.ndarray | None, MaskFacts]:
    """As `read_truth`, and what the file holds; None where it cannot be read: the facts have the reason."""
    keys: tuple[str, ...] = ()
    try:
        decoded = decode_mask(path)
        codes = used_codes(decoded.codes)
        keys = tuple(spelled(code, decoded.is_colour) for code in codes[:MOST_KEYS])
        mask = _class_values(decoded, path, rule, labels)
    except UserError as error:
        return None, MaskFacts(keys, problem=str(error), kind=getattr(error, "kind", ""))
    colours: tuple[tuple[int, str], ...] = ()
    if decoded.has_own_palette and decoded.palette is not None and not rule.table:
        colours = tuple((code, spelled(int(decoded.palette[code]), True)) for code in codes)
    return mask, MaskFacts(keys, tuple(used_codes(mask)), colours)


def mapping_line(table: Mapping[str, str]) -> str:
    """The option that names values or colours, as it is typed."""
    pairs = [f'"{key}": {name}' if key.startswith("#") else f"{key}: {name}" for key, name in table.items()]
    return "--set 'data.mask_values={" + ", ".join(pairs) + "}'"


def spelled(code: int, is_colour: bool) -> str:
    """A value or a colour, as a key of the setting."""
    return f"#{code:06x}" if is_colour else str(code)


def names_of_colours(rule: TruthRule) -> dict[str, str]:
    """Colour -> the class that has it, for messages."""
    return dict(zip(rule.colours, (BACKGROUND_WORD, *rule.class_names), strict=False))


def _class_values(decoded: Decoded, path: str | Path, rule: TruthRule, labels: Sequence[int]) -> np.ndarray:
    """(H, W) uint8."""
    codes = decoded.codes
    if rule.table:
        return _translated(decoded, path, rule, labels)
    if decoded.is_colour:
        found = used_codes(codes)
        ignored = spelled(int(packed(voc_palette())[IGNORE]), True)
        known = {ignored: IGNORE_WORD} | names_of_colours(rule)
        example = {key: known.get(key, "CLASS") for key in (spelled(code, True) for code in found[:MOST_KEYS])}
        raise MaskFault(
            f"mask {path} holds colours ({len(found)} different), expected one channel of class values; name the class "
            f"of each colour: {mapping_line(example)}",
            "colour",
        )
    low, high = int(codes.min()), int(codes.max())
    if low < 0 or high > IGNORE:
        raise MaskFault(
            f"mask {path} has values {low} to {high}, expected class values 0..{IGNORE}; name the class of each value: "
            f"{mapping_line({'0': BACKGROUND_WORD, str(high): 'CLASS'})}",
            "values",
        )
    return codes.astype(np.uint8)


def _translated(decoded: Decoded, path: str | Path, rule: TruthRule, labels: Sequence[int]) -> np.ndarray:
    by_value = {int(key): value for key, value in rule.table if not key.startswith("#")}
    by_colour = {int(key[1:], 16): value for key, value in rule.table if key.startswith("#")}
    codes, is_colour = decoded.codes, decoded.is_colour
    if is_colour and not by_colour and np.array_equal(codes, (codes & 255) * 0x010101):  # grey, saved as RGB
        codes, is_colour = codes & 255, False
    palette = None if is_colour else decoded.palette
    table = dict(by_colour if is_colour else by_value)
    if palette is not None:
        colours = {code: int(palette[code]) for code in used_codes(codes)}
        table = {code: by_colour[colour] for code, colour in colours.items() if colour in by_colour} | table
    result = np.full(codes.shape, UNNAMED, np.int16)
    for code, value in table.items():
        here = codes == code
        if value == LABEL and here.any():
            if len(labels) != 1:
                raise MaskFault(
                    f"mask {path} holds {spelled(code, is_colour)}, which data.mask_values gives to the label of the "
                    f"image, and the image has {len(labels)} labels; name a class for it, or use masks with a value "
                    "for each class",
                    "label",
                )
            value = labels[0] + 1
        result[here] = value
    left = result == UNNAMED
    if left.any():
        code = int(codes[left].flat[0])
        key = spelled(code, is_colour)
        if palette is not None and not by_value:
            key = spelled(int(palette[code]), True)
        words = {0: BACKGROUND_WORD, IGNORE: IGNORE_WORD, LABEL: LABEL_WORD}
        known = {name: words.get(value) or rule.class_names[value - 1] for name, value in rule.table}
        raise MaskFault(
            f"mask {path} holds {key} ({np.count_nonzero(codes == code)} pixels), which data.mask_values does not "
            f"name; add it, for example {mapping_line(known | {key: IGNORE_WORD})}",
            "unnamed",
        )
    return result.astype(np.uint8)
