"""Names of classes that may be mistakes: words for `nothing`, and names that look like one.

A folder `no_crack` would be trained as an object, and `Cat` and `cat` as two classes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from data.faults import grouped
from data.image_names import plain

NOTHING = re.compile(
    r"((no|non|not|without|un)( .*)?|.* (free|negative)|none|nothing|neg(ative)?|normal|good|ok(ay)?|healthy|clean"
    r"|intact|empty|background|bg|false|absent|undamaged|unlabell?ed|defectless)"
)
# Letters of Greek and Cyrillic that look like Latin ones.
LATIN = str.maketrans("авеікмнорстухѕјαβεικνορτυχ", "abeikmhopctyxsjabeikvoptyx")


def notes_on_names(names: Sequence[str], where: object) -> Iterator[str]:
    """Notes on classes that may be none, or one; `where` is what they begin with."""
    words = {name: re.sub(r"[\W_]+", " ", name.casefold()).strip() for name in names}
    nothing = [name for name in names if NOTHING.fullmatch(words[name])]
    if set(names) == {"0", "1"}:
        nothing = ["0"]
    if nothing:
        remedy = f"if images of '{nothing[0]}' show none of the classes, add --set 'data.background={nothing[0]}'"
        more = " and give all of them that name" if len(nothing) > 1 else ""
        yield f"{where}: {', '.join(nothing)} will be trained as an object like others; {remedy}{more}"
    for alike in grouped(names, _look).values():
        if len(alike) > 1:
            latin = any(name.isascii() for name in alike)  # then letters of others look like these, and need escapes
            shown = " and ".join(ascii(name)[1:-1] if latin else name for name in alike)
            what = "differ in nothing but capitals, signs, letters that look alike, or a plural"
            yield f"{where}: classes {shown} {what}; are they one?"


def _look(name: str) -> str:
    letters = plain(unicodedata.normalize("NFKC", name)) or name
    return letters.translate(LATIN).removesuffix("s")
