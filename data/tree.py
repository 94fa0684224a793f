"""What lies under a data folder: images, other files, and what is left out, for the notes that people get to see.

Links to folders are followed. Hidden files and the thumbnails of file servers are never images of the data.
"""

import logging
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.faults import Complain, counted, grouped
from data.images import IMAGE_SUFFIXES

logger = logging.getLogger(__name__)

# What systems and file servers make, besides hidden files and folders: never data.
SYSTEM = {"__macosx", "#recycle", "$recycle.bin", "thumbnails", "thumbs", "_thumbs", "thumbs.db"}
# What infer.py writes into its output folder, which the first one marks: predictions, so neither images nor truth.
DONE, OUTPUT = ".done", ("masks", "overlays", "maps", "videos", "contact_sheet.jpg")
RUN = {"run.json", "config.yaml"}  # what train.py writes into its run folder, among others
NOT_CLASSES = ("masks", "lists", "labels", "annotations")  # folders that may be without images
# Files beside images that are no images, or are read for something else.
DOCUMENTS = frozenset((
    ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini",
    ".py", ".names", ".log",
))  # fmt: skip


@dataclass
class Tree:
    """The content of a folder; all paths are under it, with '/'."""

    root: Path
    images: list[str] = field(default_factory=list)  # files whose suffix is that of an image format, sorted
    files: set[str] = field(default_factory=set)  # all others
    folders: list[str] = field(default_factory=list)  # sorted
    system: list[str] = field(default_factory=list)  # hidden images, thumbnails, what our scripts wrote, and the like
    broken: list[str] = field(default_factory=list)  # links that lead nowhere

    def notes(self, taken: Collection[str], classes_are_folders: bool) -> list[str]:
        """What was found and not taken, one line for each kind."""
        notes = []
        by_suffix = grouped(self.files.difference(taken), lambda path: PurePosixPath(path).suffix.lower())
        for suffix in sorted(by_suffix.keys() - DOCUMENTS):
            what = f"files {f'with the suffix {suffix}' if suffix else 'without suffix'} are not read"
            notes += counted(self.root, what, by_suffix[suffix], "if these are images or masks, convert them to PNG")
        what = "hidden files, thumbnails or files of infer.py and train.py are left out"
        remedy = "there is nothing to do unless these are your images or truth: then rename or move the file or folder"
        notes += counted(self.root, what, self.system, remedy)
        notes += self.broken_notes()
        if classes_are_folders:
            used = {str(parent) for path in (*self.images, *taken) for parent in PurePosixPath(path).parents} | {"."}
            empty = [path for path in map(PurePosixPath, self.folders) if str(path) not in used]
            tops = [str(p) for p in empty if str(p.parent) in used and p.name.casefold() not in NOT_CLASSES]
            remedy = "put images of a known format there, or remove what is empty"
            notes += counted(self.root, "folders without images are left out", tops, remedy)
        return notes

    def broken_notes(self) -> list[str]:
        """The line on links that lead nowhere."""
        remedy = "put the files where the links point, or remove the links"
        return counted(self.root, "links to nothing are left out", self.broken, remedy)


def scan(root: Path, named: Collection[str], complain: Complain) -> Tree:
    """Look through a folder and all below it; `named` are names of folders that are classes."""
    tree = Tree(root)
    waiting = [("", False)]
    while waiting:
        folder, is_system = waiting.pop()
        try:
            entries = list(os.scandir(root / folder))
        except OSError as error:
            complain(f"folder {root / folder} cannot be read ({error.strerror}); check who may read it")
            continue
        inside = {entry.name for entry in entries}
        system = inside if inside >= RUN else OUTPUT if DONE in inside else ()
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_folder = entry.is_dir()
            outside = is_system or entry.name in system
            is_hidden = entry.name.startswith((".", "@") if is_folder else ".")
            outside |= entry.name not in named and (is_hidden or entry.name.casefold() in SYSTEM)
            if not is_folder:
                _add_file(tree, path, entry, outside)
                continue
            if entry.is_symlink():
                target, above = Path(entry.path).resolve(), [root / part for part in PurePosixPath(path).parents]
                if any(one.resolve().is_relative_to(target) for one in above):
                    complain(f"{entry.path} is a link to {target}, which is a folder above it; remove the link")
                    continue
            if not outside:
                tree.folders.append(path)
            waiting.append((path, outside))
    tree.images.sort(key=lambda path: path.split("/"))
    tree.folders.sort()
    return tree


def find_images(folder: str | Path) -> list[Path]:
    """All image files below a folder by suffix, hidden ones left out, sorted by path; what cannot be read is warned of.

    Thumbnails are among them: who asks for masks of a folder may mean these.
    """
    tree = scan(Path(folder), (), logger.warning)
    for note in tree.broken_notes():
        logger.warning("%s", note)
    names = [path for path in (*tree.images, *tree.system) if os.path.splitext(path)[1].lower() in IMAGE_SUFFIXES]
    return sorted(tree.root / path for path in names if not re.search(r"(^|/)\.", path))


def _add_file(tree: Tree, path: str, entry: os.DirEntry[str], outside: bool) -> None:
    is_image = os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES
    if outside:
        if is_image or entry.name.casefold() == "thumbs.db":
            tree.system.append(path)
    elif not entry.is_file():
        tree.broken.append(path)
    elif is_image:
        tree.images.append(path)
    else:
        tree.files.add(path)
