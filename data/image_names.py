"""What the images under a folder are called, and which one a person means by a name in a list or table."""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cached_property
from pathlib import Path, PurePath

from data.faults import Faults, counted, grouped
from utils.errors import UserError
from utils.names import fault_of, shown

# What Label Studio puts before the names of files; a date is part of the name.
UPLOAD = re.compile(r"(?!(19|20)\d{6})[0-9a-f]{8}-(?=.)")


def record_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> name: without suffix, except where that would give two images one name."""
    paths, whole = list(paths), set[str]()
    while True:
        names = {path: path if path in whole else _without_suffix(path) for path in paths}
        counts = Counter(names.values())
        clashing = {path for path, name in names.items() if counts[name] > 1} - whole
        if not clashing:
            return names
        whole |= clashing


class Finder:
    """Finds the image that a person means by a path or a name, with or without suffix.

    `others` are files that are images only where they are named, because their suffix is not that of one.
    """

    def __init__(self, root: Path, paths: Iterable[str], others: Collection[str] = ()):
        self.root, self.paths, self.others = root, list(paths), others
        self.moved: list[str] = []  # names that lead elsewhere, whose image was found by the end of the name
        self.uploaded: list[str] = []  # names whose image was found without the prefix of an upload
        self.exact = set(self.paths)

    @cached_property
    def tables(self) -> list[dict[str, list[str]]]:
        """Spelling -> the paths that have it; from the most exact spelling to the loosest."""
        return [grouped(self.paths, spelling) for spelling in SPELLINGS]

    def find(self, name: str, where: str) -> str | None:
        """The path under the root, or None; `UserError` where the name leaves the root, or several images have it."""
        if name in self.exact:
            return name
        path = relative(self.root, name)
        fault = fault_of(path)
        slashed = path.replace("\\", "/")
        is_there = fault is not None and os.path.exists(self.root / slashed)
        if fault is None and (match := self._match((path, slashed), name, where, self.tables)) is not None:
            return match
        if not is_there:  # the end of the path that is found here, the longest first
            parts = slashed.split("/")
            ends = ["/".join(parts[start:]) for start in range(1, len(parts))]
            ends = [end for end in ends if fault_of(end) is None]
            tables = self.tables if fault is not None else self.tables[:2]
            if (match := self._match(ends, name, where, tables)) is not None:
                self.moved.append(name)
                return match
        bare = [UPLOAD.sub("", base)] if UPLOAD.match(base := os.path.basename(slashed)) else []
        if (match := self._match(bare, name, where, self.tables[2:])) is not None:
            self.uploaded.append(name)
            return match
        if fault is not None:
            remedy = "copy the file into it" if is_there else "there is none that ends so: mend the name"
            expected = f"expected an image under {self.root}; {remedy}"
            raise UserError(f"{where}: the image's name {shown(name)} {fault}; {expected}")
        return path if path in self.others else None

    def near(self, name: str) -> str:
        """The end of a message: the image of the nearest name that has the same numbers, suffixes apart; or empty."""
        wanted = _without_suffix(name)
        parts = -1 - wanted.count("/")
        ends = {"/".join(_without_suffix(path).split("/")[parts:]): path for path in self.paths}
        close = difflib.get_close_matches(wanted, [end for end in ends if _numbers(end) == _numbers(wanted)], n=1)
        return f"; did you mean '{ends[close[0]]}'?" if close else ""

    def find_rows(
        self, rows: Iterable[tuple[str, str]], faults: Faults, what: str, again: str = "remove one of them"
    ) -> Iterator[tuple[int, str]]:
        """Index and image of every row (where, name) that names one; others are faults, `again` advises on doubles."""
        found: dict[str, str] = {}
        for index, (where, name) in enumerate(rows):
            try:
                image = self.find(name, where)
            except UserError as error:
                faults.add("name", str(error))
                continue
            if image is None:
                near = "" if "image" in faults.found else self.near(name)  # of one kind the first is shown
                remedy = f"mend the name or remove the line{near}"
                faults.add("image", f"{where}: there is no image '{name}' {what}; {remedy}")
            elif image in found:
                faults.add("twice", f"{where}: image '{name}' has a line already ({found[image]}); {again}")
            elif (fault := fault_of(image)) is not None:
                faults.add("file", f"image {self.root}/{shown(image)}: its name {fault}; rename it")
            else:
                found[image] = where
                yield index, image

    def _match(self, spellings: Iterable[str], name: str, where: str, tables: list[dict[str, list[str]]]) -> str | None:
        for spelling in spellings:
            for table in tables:
                matches = table.get(composed(spelling), [])
                if len(matches) > 1:
                    both = f"{matches[0]} or {matches[1]}"
                    raise UserError(f"{where}: '{name}' may be {both}; give the whole path from {self.root}")
                if matches:
                    return matches[0]
        return None

    def note(self, source: Path) -> list[str]:
        """Notes about names that lead elsewhere, or begin with an upload's prefix; empty where there are none."""
        remedy = "they were found by the end of the path: if these are other images, write paths from that folder"
        notes = counted(source, f"paths of images that are not under {self.root}", [*map(shown, self.moved)], remedy)
        what = "names of images that begin with 8 digits of Label Studio's uploads"
        remedy = "they were found without these: if they are other images, rename the files as they are called there"
        return notes + counted(source, what, [*map(shown, self.uploaded)], remedy)


def composed(text: str) -> str:
    """One spelling for accented letters, which some systems take apart in file names."""
    return unicodedata.normalize("NFC", text)


def plain(name: str) -> str:
    """A name of a column or folder without capitals, spaces and signs."""
    return re.sub(r"[\W_]", "", name.casefold())


def relative(root: Path, name: str) -> str:
    """A name that a file gave as path under the root where it lies there, with '/' and without '.'; else as it is."""
    if "\0" not in name and Path(name).is_absolute():
        absolute = Path(os.path.normpath(name))
        bases = [base for base in (root.absolute(), root.resolve()) if absolute.is_relative_to(base)]
        return absolute.relative_to(bases[0]).as_posix() if bases else name
    return PurePath(name).as_posix() if fault_of(name) is None else name


def _without_suffix(path: str) -> str:
    return path.removesuffix(PurePath(path).suffix)


def _numbers(path: str) -> list[str]:
    return [number.lstrip("0") for number in re.findall(r"\d+", path)]


# From the most exact spelling of a path to the loosest.
SPELLINGS: tuple[Callable[[str], str], ...] = (
    composed,
    lambda path: composed(_without_suffix(path)),
    lambda path: composed(os.path.basename(path)),
    lambda path: composed(_without_suffix(os.path.basename(path))),
)
