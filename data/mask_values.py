"""Truth masks of any program: from the values or colours in their files to class values.

A class value is 0 for background, c + 1 for class c, and 255 for what does not count. `data.mask_values` names values
or colours (docs/data.md); without it, a mask holds class values in one channel.
"""

import glob
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from data.image_names import composed
from data.images import DAMAGED_IMAGE, open_image, orientation_of
from data.tiff import upright
from utils.errors import UserError, nearest
from utils.ignore import IGNORE

BACKGROUND_WORD, IGNORE_WORD, LABEL_WORD = "background", "ignore", "label"
LABEL = -1  # stands for the class of the image's one label
LOSSY = frozenset({"JPEG", "MPO", "AVIF", "HEIF", "JPEG2000"})  # a value of 3 may come back as 2
MOST_BORDER = 0.9  # of the border's pixels
SCALED = {"L;2": 85, "L;4": 17}  # grey of 2 or 4 bits: what Pillow multiplies its values by, to fill 0..255
MOST_KEYS = 24  # different values or colours of a mask in a message


class MaskFault(UserError):
    """A mask that cannot be read as class values; `kind` is the same for faults that have one cause in many masks."""

    def __init__(self, message: str, kind: str = ""):
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Decoded:
    """The content of a mask file."""

    codes: np.ndarray  # (H, W) values, or colours as 0xrrggbb
    is_colour: bool = False
    palette: np.ndarray | None = None  # (256,) the colour of each value as 0xrrggbb
    has_own_palette: bool = False  # which the file has, and not its type

    def keys(self, code: int) -> list[str]:
        """What a setting may call a code: `255` or `#rrggbb`; both where the file has both, its own first."""
        if self.is_colour:
            return [colour_key(code), *([str(code & 255)] if code == (code & 255) * 0x010101 else [])]
        return [str(code), *([colour_key(int(self.palette[code]))] if self.palette is not None else [])]


@contextmanager
def opened_mask(path: str | Path) -> Iterator[Image.Image]:
    """An opened mask file; `UserError` where it is missing, too large, damaged, saved with loss, or several."""
    try:
        with open_image(path, "mask") as image:
            kinds = image.format, str(image.info.get("compression")).upper()  # the second: inside a TIFF
            if lossy := [name for name in kinds if name in LOSSY]:
                raise MaskFault(f"mask {path} is saved as {lossy[0]}, which changes values; save masks as PNG", "lossy")
            if (frames := getattr(image, "n_frames", 1)) > 1:
                raise MaskFault(f"mask {path} holds {frames} images, expected one of class values; join them", "frames")
            yield image
    except FileNotFoundError as error:
        others = sorted(other.name for other in Path(path).parent.glob(f"{glob.escape(Path(path).stem)}.*"))
        found = f", but {others[0]}" if others else ""
        raise UserError(f"there is no mask {path}{found}; expected a palette or grey PNG of class values") from error
    except DAMAGED_IMAGE as error:
        raise UserError(f"mask {path} cannot be decoded (truncated or damaged): {error}; write it again") from error


def decode_mask(path: str | Path) -> Decoded:
    """The codes of a mask file; `UserError` where it is missing, damaged, or saved with loss."""
    with opened_mask(path) as image:
        decoded = _decode(image, path)
        if "A" in image.getbands():
            is_clear = np.asarray(image.getchannel("A")) == 0
            if set(used_codes(decoded.codes[is_clear])) & set(used_codes(decoded.codes[~is_clear])):
                what = "has transparent pixels of the same colour as others, so it is not clear what they are"
                raise MaskFault(f"mask {path} {what}; save it without alpha, with a colour for each class", "alpha")
        return replace(decoded, codes=upright(decoded.codes, orientation_of(image)))


def _decode(image: Image.Image, path: str | Path) -> Decoded:
    if image.mode in ("1", "L", "LA", "La"):
        step, values = grey_values(image)
        greys = np.arange(256) * (0xFFFFFF if image.mode == "1" else step * 0x010101)
        return Decoded(values, palette=greys)
    if image.mode == "P":
        colours = (image.getpalette("RGB") or [])[:768]
        palette = np.array(colours + [0] * (768 - len(colours))).reshape(256, 3)
        codes = np.array(image)
        if image.format == "GIF" and not np.ptp(palette[used_codes(codes)], axis=1).any():  # greys, numbered anew
            return Decoded(palette[codes, 0].astype(np.uint8), palette=np.arange(256) * 0x010101)
        return Decoded(codes, palette=packed(palette), has_own_palette=True)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image)
        with np.errstate(invalid="ignore"):  # NaN is no whole number, so it is refused below
            codes = values.astype(np.int64)
        if not np.array_equal(codes, values):
            raise MaskFault(f"mask {path} holds fractions, expected class values; save it as PNG", "fractions")
        return Decoded(codes)
    return Decoded(packed(np.asarray(image.convert("RGB"))), is_colour=True)


def grey_values(image: Image.Image) -> tuple[int, np.ndarray]:
    """The values (H, W) uint8 that an opened file of one channel holds, and the grey of value 1."""
    tiles = getattr(image, "tile", None)  # empty once it is decoded
    raw = tiles[0][3] if tiles else ""
    step = SCALED.get(raw[0] if isinstance(raw, tuple) else raw, 1)
    return step, np.atleast_3d(np.array(image).astype(np.uint8))[..., 0] // step


def packed(colours: np.ndarray) -> np.ndarray:
    """(...) int64 0xrrggbb of (..., 3)."""
    return colours.astype(np.int64) @ np.array([0x10000, 0x100, 1])


def colour_key(code: int) -> str:
    """A colour as `#rrggbb`."""
    return f"#{code:06x}"


def used_codes(codes: np.ndarray) -> list[int]:
    """The codes that occur, sorted."""
    if codes.dtype == np.uint8:
        return np.flatnonzero(np.bincount(codes.ravel(), minlength=256)).tolist()
    return np.unique(codes).tolist()


@lru_cache
def voc_palette() -> np.ndarray:
    """(256, 3) uint8: the colours of the VOC devkit, class c's bits spread over the high bits of R, G and B."""
    bits = np.arange(256)[:, None, None] >> np.arange(24).reshape(8, 3) & 1  # (256, 8, 3): the first is the highest
    return (bits << (7 - np.arange(8))[:, None]).sum(axis=1).astype(np.uint8)


@dataclass(frozen=True)
class TruthRule:
    """What truth masks hold; class c has value c + 1."""

    class_names: tuple[str, ...] = ()
    table: tuple[tuple[str, int], ...] = ()  # `255` or `#rrggbb`, class value or `LABEL`; empty: masks of class values
    colours: tuple[str, ...] = ()  # `#rrggbb` of the background and of each class

    def names_of_colours(self) -> dict[str, str]:
        """Colour -> the class that has it, for messages."""
        return dict(zip(self.colours, (BACKGROUND_WORD, *self.class_names), strict=False))


AS_IS = TruthRule()


@dataclass(frozen=True)
class MaskFacts:
    """What one mask holds."""

    keys: tuple[str, ...] = ()  # `255` or `#rrggbb` of what occurs, at most `MOST_KEYS` and one
    values: tuple[int, ...] = ()  # class values that occur; of a mask without rule, whatever is there
    colours: tuple[tuple[int, str], ...] = ()  # of a palette's used values, where masks are read without a table
    frame: int = 0  # the class that covers the border around background, if one does
    problem: str = ""  # why the mask cannot be read, as a message for a person
    kind: str = ""  # is the same for problems of one cause


def truth_rule(given: Mapping[str, str], class_names: Sequence[str], background: str, palette: np.ndarray) -> TruthRule:
    """The rule of `data.mask_values`; `palette` (256, 3) has the classes' colours. `UserError` where wrong."""
    classes = {name: value for value, name in enumerate(class_names, 1)}
    words = {BACKGROUND_WORD: 0, composed(background): 0, IGNORE_WORD: IGNORE, LABEL_WORD: LABEL} | classes
    table = []
    for key, name in given.items():
        if not re.fullmatch(r"\d{1,18}|#[0-9a-fA-F]{6}", key, re.ASCII):
            expected = "a number from 0 on, such as 255, or a colour in quotes, such as '#ff0000'"
            raise UserError(f"data.mask_values: '{key}' is no value of a mask and no colour; expected {expected}")
        name = composed(name)
        if name not in words:
            known = ", ".join(dict.fromkeys([*classes, BACKGROUND_WORD, IGNORE_WORD, LABEL_WORD]))
            what = f"'{key}' stands for unknown class '{name}'{nearest(name, words)}"
            raise UserError(f"data.mask_values: {what}; known: {known}")
        table.append((key.lower() if key.startswith("#") else str(int(key)), words[name]))
    colours = tuple(map(colour_key, packed(palette[: len(class_names) + 1]).tolist()))
    return TruthRule(tuple(class_names), tuple(table), colours)


def read_truth(path: str | Path, rule: TruthRule = AS_IS, labels: Sequence[int] = ()) -> np.ndarray:
    """(H, W) uint8 class values of a truth mask; `labels` of its image are for the word `label` in the rule.

    One that is missing, damaged, saved with loss, or holds what the rule does not name is a `UserError`.
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
        keys = tuple(decoded.keys(code)[0] for code in codes[: MOST_KEYS + 1])
        mask = _class_values(decoded, path, rule, labels)
    except UserError as error:
        return None, MaskFacts(keys, problem=str(error), kind=getattr(error, "kind", ""))
    show_colours = decoded.has_own_palette and not rule.table
    colours = tuple((code, decoded.keys(code)[1]) for code in codes) if show_colours else ()
    return mask, MaskFacts(keys, tuple(used_codes(mask)), colours, _frame(mask))


def _frame(mask: np.ndarray) -> int:
    """The class value that covers most of the border of a mask (H, W) with background inside; 0 where none does."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    counts = np.bincount(border, minlength=256)
    value = int(counts[:IGNORE].argmax())
    return value if counts[value] > MOST_BORDER * border.size and not mask.all() else 0


def mapping_line(table: Mapping[str, str]) -> str:
    """The option that names values or colours, as it is typed."""
    pairs = [f'"{key}": {name}' if key.startswith("#") else f"{key}: {name}" for key, name in table.items()]
    return "--set 'data.mask_values={" + ", ".join(pairs) + "}'"


def _class_values(decoded: Decoded, path: str | Path, rule: TruthRule, labels: Sequence[int]) -> np.ndarray:
    if rule.table:
        return _translated(decoded, path, rule, labels)
    used = used_codes(decoded.codes)
    if decoded.is_colour:
        known = {colour_key(int(packed(voc_palette())[IGNORE])): IGNORE_WORD} | rule.names_of_colours()
        line = mapping_line({key: known.get(key, "CLASS") for key in map(colour_key, used[:MOST_KEYS])})
        what = f"holds colours ({len(used)} different), expected one channel of class values"
        raise MaskFault(f"mask {path} {what}; name the class of each colour: {line}", "colour")
    if not 0 <= used[0] <= used[-1] <= IGNORE:
        line = mapping_line({"0": BACKGROUND_WORD, str(used[-1]): "CLASS"})
        what = f"has values {used[0]} to {used[-1]}, expected class values 0..{IGNORE}"
        raise MaskFault(f"mask {path} {what}; name the class of each value: {line}", "values")
    return decoded.codes.astype(np.uint8)


def _translated(decoded: Decoded, path: str | Path, rule: TruthRule, labels: Sequence[int]) -> np.ndarray:
    table = dict(rule.table)
    result = np.zeros(decoded.codes.shape, np.uint8)
    for code in used_codes(decoded.codes):
        here, keys = decoded.codes == code, decoded.keys(code)
        value = next((table[key] for key in keys if key in table), None)
        if value is None:
            alike = next((key for key in keys if key[0] == rule.table[0][0][0] == "#"), keys[0])
            words = {0: BACKGROUND_WORD, IGNORE: IGNORE_WORD, LABEL: LABEL_WORD}
            named = {key: words.get(value) or rule.class_names[value - 1] for key, value in rule.table}
            what = f"holds {alike} ({np.count_nonzero(here)} pixels), which data.mask_values does not name"
            line = mapping_line(named | {alike: IGNORE_WORD if alike == str(IGNORE) else "CLASS"})
            raise MaskFault(f"mask {path} {what}; name its class, or background, or ignore: {line}", "unnamed")
        if value == LABEL and len(labels) != 1:
            what = f"holds {keys[0]}, which data.mask_values gives to the label of the image"
            raise MaskFault(f"mask {path} {what}, and the image has {len(labels)} labels; name a class", "label")
        result[here] = labels[0] + 1 if value == LABEL else value
    return result
