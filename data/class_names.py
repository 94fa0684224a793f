"""Names of classes that may be mistakes: words for `nothing`, and names that look like one.

A folder `no_crack` would be trained as an object, and `Cat` and `cat`, or patients, as classes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from data.faults import grouped
from data.image_names import plain

NOTHING = re.compile(
    r"((no|non|not|without|un|backgrounds?)( .*)?|.* (free|negative|good)|(.* )?(healthy|normals?)( .*)?|none|nothing"
    r"|neg(ative)?s?|good|ok(ay)?|clean|clutter|intact|empty|bg|false|absent|unlabell?ed|defectless|pass(ed)?|others?"
    r"|rest|misc(ellaneous)?"
    r"|un(damaged|infected|affected|cracked|broken|harmed|changed)"
    r"|no(tumou?r|defect|crack|fire|smoke|damage|disease|finding|anomaly)s?"
    r"|(ohne|keine?|sans|sin|senza|sem|zonder|geen|bez|без|нет)( .*)?|[无無没].*|nein|falsch|faux|falso|i ?o|gut|gesund"
    r"|nichts|rien|aucune?|nada|ningun[oa]|nessun[oa]|niente|niets|ingen|brak|fehlerfrei"
    r"|intakt|bonn?e?|saine?|conforme|normale?|buen[oa]|buon[oa]|san[oa]|goed|dobr[eya]|норма|годен"
    r"|正常|良品|合格|健康|背景|なし|정상|양품|없음)"
)
# Columns that are no labels, images that a program has made from others, and those that nobody has labelled.
NO_OBJECT = re.compile(
    r"(.* )?((count|total|number|width|height|size|age|sex|gender|year|duplicate|overlay|heat ?map|prediction|result"
    r"|output|visuali[sz]ation|augmented|preview)s?|unknown|unsure|unclear|uncertain|(to )?(check|review)(ed)?|todo"
    r"|done|verified|validated|approved|annotated|labell?ed|finished|skipped|ignored?|flagged|excluded|usable)"
    r"|[?.!*_]+|-\d+(\.0)?|images?|imgs?|photos?|pics?|dcim|dsc\w?|screenshots?|thumbnails|data(set)?|originals?"
    r"|resized|cop(y|ies)|kopien?|backups?|te?mp|unsorted|unused|discarded|deleted|(new|untitled|neuer) (folder|ordner)"
)
SEVERAL = re.compile("both|mixed|multiple|several|various|multi( (class|label)(es|s)?)?")
# Words whose numbers are those of classes, and not of patients, days or series.
KINDS = re.compile(r"(class|type|kind|category|grade|stage|level|degree|score|label|species|variant|defect)[\W_]*\d")
# Letters of Greek and Cyrillic that look like Latin ones.
LATIN = str.maketrans("авеікмнорстухѕјαβεικνορτυχ", "abeikmhopctyxsjabeikvoptyx")


def notes_on_names(names: Sequence[str], where: object) -> Iterator[str]:
    """Notes on classes that may be none, or one; `where` is what they begin with."""
    words = {name: _words(name) for name in names}
    nothing = [name for name in names if NOTHING.fullmatch(words[name]) or _denies(name, names)]
    if all(re.fullmatch(r"-?\d+(\.0)?", name) for name in names):
        nothing = [name for name in names if name in ("0", "0.0")]
    if nothing:
        remedy = f"if images of '{nothing[0]}' show none of the classes, add --set 'data.background={nothing[0]}'"
        more = " and give all of them that name" if len(nothing) > 1 else ""
        yield f"{where}: {', '.join(nothing)} will be trained as an object like others; {remedy}{more}"
    if no_object := [name for name in names if NO_OBJECT.fullmatch(words[name]) or re.match("_+[^_]", name)]:
        yield f"{where}: {', '.join(no_object)} will be trained as an object like others; if it is none, remove it"
    if several := [name for name in names if SEVERAL.fullmatch(words[name]) or _joins(name, names)]:
        remedy = "if its images show several classes, give their labels in a table: 1.jpg,cat;dog"
        yield f"{where}: {', '.join(several)} will be trained as a class of its own; {remedy}"
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


def _words(name: str) -> str:
    """A name in small letters, as words, without numbers at its ends; as it is where nothing would be left."""
    apart = re.sub("(?<=[a-z])(?=[A-Z])", " ", name).casefold()
    return re.sub(r"[\W_]+", " ", re.sub(r"^[\d\W_]+|[\d\W_]+$", "", apart)) or name


def _denies(name: str, names: Sequence[str]) -> bool:
    """Whether a name is `no` and the name of another class in one word, as `nonfire` beside `fire`."""
    denied = re.fullmatch("(?:no[nt]?|un|without)(.+?)s?", plain(name))
    return denied is not None and denied[1] in (plain(other).removesuffix("s") for other in names)


def _joins(name: str, names: Sequence[str]) -> bool:
    """Whether a name is made of those of other classes, as `cat+dog` or `cat and dog`."""
    parts = set(re.split(r"[\W_]+(?:and[\W_]+)?", name.casefold()))
    return len(parts) > 1 and parts <= {other.casefold() for other in names}


def _look(name: str) -> str:
    name = re.sub(r"\b0+(?=\d)|(?<=\d)\.0+$", "", name)  # 01 and 1.0 are 1
    letters = plain(unicodedata.normalize("NFKC", name)) or name
    return letters.translate(LATIN).removesuffix("s")
