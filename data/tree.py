"""What lies under a data folder: images, other files, and what is left out, for the notes that people get to see.

Links to folders are followed. Hidden files and the thumbnails of file servers are never images of the data.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data.dataset import Complain
from data.images import IMAGE_SUFFIXES

# Folders that systems and file servers make, besides hidden ones: never data.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "#recycle", "$recycle.bin", "thumbnails", "thumbs", "_thumbs"})
NOT_CLASSES = ("masks", "lists", "labels", "annotations")  # folders that may be without images
# Files beside images that are no images, or are read for something else.
DOCUMENTS = frozenset((
    ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini",
    ".py", ".names", ".npy", ".log", ".mat",
))  # fmt: skip


@dataclass
class Tree:
    """The content of a folder; all paths are under it, with '/'.

    Attributes:
        images: files whose suffix is that of an image format, sorted.
        files: all other files.
        folders: all folders.
        unread: suffix -> files that may be data and are not read.
        system: images in hidden folders, in folders of thumbnails, and the like.
        broken: links that lead nowhere.
    """

    root: Path
    images: list[str] = field(default_factory=list)
    files: set[str] = field(default_factory=set)
    folders: list[str] = field(default_factory=list)
    unread: dict[str, list[str]] = field(default_factory=dict)
    system: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def notes(self, taken: Collection[str], classes_are_folders: bool) -> Iterator[str]:
        """What was found and not taken, one line for each kind."""
        for suffix, paths in sorted(self.unread.items()):
            named = f" with the suffix {suffix}" if suffix else " without suffix"
            left = [path for path in paths if path not in taken]
            yield from self._note(
                left, "file", "files", named, "not read", "if these are images, convert them to PNG or JPEG"
            )
        remedy = "there is nothing to do unless these are your images: then rename the file or folder"
        yield from self._note(self.system, "hidden file or thumbnail", "hidden files or thumbnails", remedy=remedy)
        remedy = "put the files where the links point, or remove the links"
        yield from self._note(self.broken, "link", "links", " to nothing", remedy=remedy)
        if classes_are_folders:
            parents = {""}
            for path in (*self.images, *taken):
                folder = path.rpartition("/")[0]
                while folder not in parents:
                    parents.add(folder)
                    folder = folder.rpartition("/")[0]
            tops = [path for path in self.folders if path not in parents and path.rpartition("/")[0] in parents]
            tops = [path for path in tops if path.rpartition("/")[2].casefold() not in NOT_CLASSES]
            remedy = "put images of a known format there, or remove what is empty"
            yield from self._note(tops, "folder", "folders", " without images", remedy=remedy)

    def _note(
        self, paths: Collection[str], one: str, many: str, kind: str = "", done: str = "left out", remedy: str = ""
    ) -> Iterator[str]:
        if len(paths) == 1:
            yield f"{self.root}: 1 {one}{kind} is {done}, {min(paths)}; {remedy}"
        elif paths:
            yield f"{self.root}: {len(paths)} {many}{kind} are {done}, first {min(paths)}; {remedy}"


def scan(root: Path, named: Collection[str], complain: Complain) -> Tree:
    """Look through a folder and all below it.

    Args:
        named: names of folders that are classes.
    """
    tree = Tree(root)
    top = os.path.realpath(root)
    waiting: list[tuple[str, str, tuple[str, ...], bool]] = [("", top, (top,), False)]
    while waiting:
        folder, real, above, is_system = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            complain(f"folder {root / folder} cannot be read ({error.strerror}); check who may read it")
            continue
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir()
            outside = is_system or _is_system(entry.name, is_folder, named)
            if not is_folder:
                _add_file(tree, path, entry, outside)
                continue
            inner = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
            if any(one == inner or one.startswith(inner.rstrip(os.sep) + os.sep) for one in above):
                complain(f"{entry.path} is a link to {inner}, which is a folder above it; remove the link")
                continue
            if not outside:
                tree.folders.append(path)
            waiting.append((path, inner, (*above, inner), outside))
    tree.images.sort(key=lambda path: path.split("/"))
    tree.folders.sort()
    return tree


def _add_file(tree: Tree, path: str, entry: os.DirEntry[str], outside: bool) -> None:
    suffix = os.path.splitext(entry.name)[1].lower()
    if outside:
        if suffix in IMAGE_SUFFIXES or entry.name.casefold() == "thumbs.db":
            tree.system.append(path)
    elif not entry.is_file():
        tree.broken.append(path)
    elif suffix in IMAGE_SUFFIXES:
        tree.images.append(path)
    else:
        tree.files.add(path)
        if suffix not in DOCUMENTS:
            tree.unread.setdefault(suffix, []).append(path)


def _is_system(name: str, is_folder: bool, named: Collection[str]) -> bool:
    if name in named:
        return False
    if is_folder:
        return name.startswith((".", "@")) or name.casefold() in SYSTEM_FOLDERS
    return name.startswith(".") or name.casefold() == "thumbs.db"
