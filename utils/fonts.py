"""Fonts for text inside images: the one of Pillow, and where it lacks letters, one of the system that has them."""

import contextlib
from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Fonts with many letters, by the file names under which systems have them; Pillow searches the system's folders.
FILES = (
    *("NotoSansCJK-Regular.ttc", "NotoSans-Regular.ttf", "wqy-zenhei.ttc", "wqy-microhei.ttc", "SourceHanSans.ttc"),
    *("msyh.ttc", "simhei.ttf", "PingFang.ttc", "Arial Unicode.ttf", "DejaVuSans.ttf", "FreeSans.ttf", "arial.ttf"),
    *("LiberationSans-Regular.ttf", "Helvetica.ttc"),
)


@cache
def font_for(text: str, size: int) -> Font:
    """The font that has most letters of the text; the one of Pillow where it has all."""
    default = ImageFont.load_default(size)
    if not _missing(default, text):
        return default
    return min((default, *_system_fonts(size)), key=lambda font: len(_missing(font, text)))


def drawable(text: str, size: int = 16) -> str:
    """The text with a question mark for each letter that no font here has."""
    missing = _missing(font_for(text, size), text)
    return "".join("?" if letter in missing else letter for letter in text)


def _missing(font: Font, text: str) -> set[str]:
    """The letters that the font draws as it draws what does not exist."""
    nothing = bytes(font.getmask("\U000fffff"))
    return {letter for letter in set(text) if not letter.isspace() and bytes(font.getmask(letter)) == nothing}


@cache
def _system_fonts(size: int) -> list[Font]:
    """Those of `FILES` that this system has."""
    found: list[Font] = []
    for name in FILES:
        with contextlib.suppress(OSError):
            found.append(ImageFont.truetype(name, size))
    return found
