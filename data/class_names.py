"""Names of classes that may be mistakes: words for `nothing`, and names that look like one.

A folder `no_crack` would be trained as an object, and `Cat` and `cat`, or patients, as classes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from data.faults import grouped
from data.image_names import plain

NOTHING = re.compile(
    r"((no|non|not|without|un)( .*)?|.* (free|negative)|none|nothing|neg(ative)?|normal|good|ok(ay)?|healthy|clean"
    r"|intact|empty|background|bg|false|absent|undamaged|unlabell?ed|defectless|pass(ed)?"
    r"|(ohne|keine?|sans|sin|senza|sem|zonder|geen|bez|без|нет) .*|[无無没].*|nein|falsch|faux|falso|i ?o|gut|gesund"
    r"|fehlerfrei|intakt|bonn?e?|saine?|conforme|normale?|buen[oa]|buon[oa]|san[oa]|goed|dobr[eya]|норма|годен"
    r"|正常|良品|合格|健康|背景|なし|정상|양품|없음)"
)
# Columns that are no labels, images that a program has made from others, and those that nobody has labelled.
NO_OBJECT = re.compile(
    r"(.* )?((count|total|number|width|height|size|age|sex|gender|year|duplicate|overlay|heat ?map|prediction|result"
    r"|output|visuali[sz]ation|augmented|preview)s?|unknown|unsure|unclear|uncertain|(to )?(check|review)(ed)?|todo"
    r"|done|verified|validated|approved|annotated|labell?ed|finished|skipped|ignored?|flagged|excluded|usable|\?+)"
)
# Words whose numbers are those of classes, and not of patients, days or series.
KINDS = re.compile(r"(class|type|kind|category|grade|stage|level|degree|score|label|species|variant|defect)[\W_]*\d")
# Letters of Greek and Cyrillic that look like Latin ones.
LATIN = str.maketrans("авеікмнорстухѕјαβεικνορτυχ", "abeikmhopctyxsjabeikvoptyx")


def notes_on_names(names: Sequence[str], where: object) -> Iterator[str]:
    """Notes on classes that may be none, or one; `where` is what they begin with."""
    words = {name: re.sub(r"[\W_]+", " ", name.casefold()).strip() or name for name in names}
    nothing = [name for name in names if NOTHING.fullmatch(words[name])]
    if "0" in names and all(map(str.isdecimal, names)):
        nothing = ["0"]
    if nothing:
        remedy = f"if images of '{nothing[0]}' show none of the classes, add --set 'data.background={nothing[0]}'"
        more = " and give all of them that name" if len(nothing) > 1 else ""
        yield f"{where}: {', '.join(nothing)} will be trained as an object like others; {remedy}{more}"
    if no_object := [name for name in names if NO_OBJECT.fullmatch(words[name])]:
        yield f"{where}: {', '.join(no_object)} will be trained as an object like others; if it is none, remove it"
    letters = [re.sub(r"\d+", "", name) for name in names]
    numbered = [name for name, rest in zip(names, letters, strict=True) if letters.count(rest) > 1]
    if 2 * len(numbered) > len(names) and not all(map(KINDS.search, map(str.casefold, numbered))):
        shown = ", ".join(numbered if len(numbered) <= 4 else [*numbered[:3], "...", numbered[-1]])
        order = "if they are classes, mask values 1, 2, 3, ... have this order, and data.classes sets another"
        yield f"{where}: classes {shown} differ in numbers alone, as patients, days and series do; {order}"
    for alike in grouped(names, _look).values():
        if len(alike) > 1:
            latin = any(name.isascii() for name in alike)  # then letters of others look like these, and need escapes
            shown = " and ".join(ascii(name)[1:-1] if latin else name for name in alike)
            what = "differ in nothing but capitals, signs, letters that look alike, or a plural"
            yield f"{where}: classes {shown} {what}; are they one?"


def _look(name: str) -> str:
    letters = plain(unicodedata.normalize("NFKC", name)) or name
    return letters.translate(LATIN).removesuffix("s")
