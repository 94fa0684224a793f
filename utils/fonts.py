"""Fonts for text inside images: the one of Pillow, and where it lacks letters, one of the system that has them."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
SUFFIXES = (".ttf", ".ttc", ".otf", ".otc")
LIKELY = (
    "notosanscjk",
    "notosans-",
    "wqy",
    "sourcehan",
    "msyh",
    "simhei",
    "pingfang",
    "unicode",
    "dejavusans.",
    "arial.",
)
MOST_FONTS = 2000  # files that are looked at


@cache
def font_for(text: str, size: int) -> Font:
    """The font that has most letters of the text; the one of Pillow where it has all."""
    default = ImageFont.load_default(size)
    missing = len(_missing(default, text))
    path = _system_font("".join(sorted(set(text))), size, missing) if missing else None
    return default if path is None else ImageFont.truetype(path, size)


def drawable(text: str, size: int = 16) -> str:
    """The text with a question mark for each letter that no font here has."""
    missing = _missing(font_for(text, size), text)
    return "".join("?" if letter in missing else letter for letter in text) if missing else text


@cache
def _system_font(letters: str, size: int, most: int) -> str | None:
    """The font file that lacks the fewest letters, fewer than `most`."""
    best = None
    for path in _files():
        try:
            missing = len(_missing(ImageFont.truetype(path, size), letters))
        except OSError:  # a file of another kind
            continue
        if missing < most:
            best, most = path, missing
        if not missing:
            break
    return best


def _missing(font: Font, text: str) -> set[str]:
    """The letters that the font draws as it draws what does not exist."""
    if not isinstance(font, ImageFont.FreeTypeFont):
        return {letter for letter in text if ord(letter) > 126}
    nothing = bytes(font.getmask("\U000fffff"))
    return {letter for letter in set(text) if not letter.isspace() and bytes(font.getmask(letter)) == nothing}


@cache
def _files() -> tuple[str, ...]:
    """The system's font files, those first that are likely to have many letters."""
    found = [path for folder in font_folders() for path in _fonts_in(folder)][:MOST_FONTS]

    def order(path: str) -> tuple[int, str]:
        name = Path(path).name.lower()
        return next((number for number, part in enumerate(LIKELY) if part in name), len(LIKELY)), path

    return tuple(sorted(found, key=order))


def font_folders() -> list[Path]:
    """Where systems keep fonts."""
    home = Path.home()
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows"), "Fonts")]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]


def _fonts_in(folder: Path) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES):
                yield os.path.join(root, name)
