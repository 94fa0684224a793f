"""Which images lie under a folder, what they are called, and which one a person means by a name in a list or table."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePath

from data.images import find_images
from utils.errors import UserError
from utils.names import fault_of, shown

MASKS, LISTS = "masks", "lists"  # folders under the root that hold no images


def images_on_disk(root: Path) -> list[str]:
    """All images but masks, as paths under the root, sorted; a folder in the root may be a link to one elsewhere."""
    linked = [path for path in root.iterdir() if path.is_symlink() and path.is_dir() and not path.name.startswith(".")]
    images = {image for folder in (root, *linked) for image in find_images(folder)}
    paths = (path.relative_to(root).as_posix() for path in sorted(images))
    return [path for path in paths if not _is_reserved(path)]


def record_names(paths: Iterable[str]) -> dict[str, str]:
    """Path -> name: without suffix, except where that would give two images one name."""
    paths = list(paths)
    whole: set[str] = set()
    while True:
        names = {path: path if path in whole else _without_suffix(path) for path in paths}
        counts = Counter(names.values())
        clashing = {path for path, name in names.items() if counts[name] > 1} - whole
        if not clashing:
            return names
        whole |= clashing


class Finder:
    """Finds the image that a person means by a path or a name, with or without suffix."""

    def __init__(self, root: Path, paths: Iterable[str]):
        self.root, self.paths = root, list(paths)
        self.tables: list[dict[str, list[str]]] = []  # from the most exact spelling to the loosest
        for spelling in (str, _without_suffix, os.path.basename, lambda path: _without_suffix(os.path.basename(path))):
            table: dict[str, list[str]] = {}
            for path in self.paths:
                table.setdefault(composed(spelling(path)), []).append(path)
            self.tables.append(table)

    def find(self, name: str, where: str) -> str | None:
        """The path under the root, or None.

        Raises:
            UserError: the name leaves the root, or several images have it; the message begins with `where`.
        """
        path = composed(_relative(self.root, name, where))
        for spelling in (path, path.replace("\\", "/")):
            for table in self.tables:
                matches = table.get(spelling, [])
                if len(matches) > 1:
                    raise UserError(
                        f"{where}: '{name}' may be {matches[0]} or {matches[1]}; give the whole path from {self.root}"
                    )
                if matches:
                    return matches[0]
        return None


def of_other_suffix(root: Path, name: str, where: str) -> str | None:
    """The path of a file that has no usual suffix of images, if that is what the name is."""
    path = _relative(root, name, where)
    return path if (root / path).is_file() and not _is_reserved(path) else None


def composed(text: str) -> str:
    """One spelling for accented letters, which some systems take apart in file names."""
    return unicodedata.normalize("NFC", text)


def _relative(root: Path, name: str, where: str) -> str:
    """A name that a file gave as path under the root, with '/' and without '.'; a `UserError` if it leads elsewhere."""
    if "\0" not in name and Path(name).is_absolute():
        absolute = Path(os.path.normpath(name))
        bases = [base for base in (root.absolute(), root.resolve()) if absolute.is_relative_to(base)]
        name = str(absolute.relative_to(bases[0])) if bases else name
    if (fault := fault_of(name)) is not None:
        raise UserError(f"{where}: the image's name {shown(name)} {fault}; expected a path under {root}")
    return PurePath(name).as_posix()


def _is_reserved(path: str) -> bool:
    return "/" in path and path.partition("/")[0] in (MASKS, LISTS)


def _without_suffix(path: str) -> str:
    return path.removesuffix(PurePath(path).suffix)
