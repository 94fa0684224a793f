"""What lies under a data folder: images, other files, and what is left out; and which files look like masks.

Links to folders are followed. Hidden files and the thumbnails of file servers are never images of the data. Masks hold
few values, where photographs have many.
"""

import logging
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

from data.faults import Complain, counted, grouped
from data.images import IMAGE_SUFFIXES, read_image
from data.inspection import spread
from data.mask_values import MaskFault, decode_mask, packed, used_codes
from utils.errors import UserError

logger = logging.getLogger(__name__)

# What systems and file servers make, besides hidden files and folders: never data.
SYSTEM = {"__macosx", "#recycle", "$recycle.bin", "thumbnails", "thumbs", "_thumbs", "thumbs.db"}
# What infer.py writes into its output folder, which the first one marks: predictions, so neither images nor truth.
DONE, OUTPUT = ".done", ("masks", "overlays", "maps", "videos", "contact_sheet.jpg")
RUN = {"run.json", "config.yaml"}  # what train.py writes into its run folder, among others
CHECK = ("report.txt", "report.json", "contact_sheet.jpg")  # what data.check writes
MADE_BY, EVALUATED = ".made_by.json", ("predicted", "given", "shown")  # evaluate.py --output; the first notes of what
MARKS = ((DONE,), OUTPUT), ((MADE_BY,), EVALUATED), (CHECK, CHECK)  # files that tell a folder -> what is ours in it
NOT_CLASSES = ("masks", "lists", "labels", "annotations")  # folders that may be without images
# Files beside images that are no images, or are read for something else.
DOCUMENTS = frozenset((
    ".txt", ".md", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml", ".html", ".pdf", ".db", ".ini",
    ".py", ".names", ".log",
))  # fmt: skip
SAMPLE, FEW_VALUES = 12, 16  # files that are looked at, and how many values masks among them hold
NEAR, MOST_NEAR = 12, 0.95  # of a colour of masks, and how many of the pixels are


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
        what = "hidden files, thumbnails or what this project has written are left out"
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
        system = inside if inside >= RUN else {name for mark, ours in MARKS if inside.issuperset(mark) for name in ours}
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
    """`images_of` all that is below a folder."""
    return images_of(scan(Path(folder), (), logger.warning))


def images_of(tree: Tree) -> list[Path]:
    """All image files by suffix, hidden ones left out, sorted by path; links that lead nowhere are warned of.

    Thumbnails are among them: who asks for masks of a folder may mean these.
    """
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


def are_drawn(root: Path, paths: list[str], sample: int = SAMPLE) -> bool:
    """Whether most of a sample of the files hold few values, and not all of them one."""
    few = (1 < count_values(root / path) <= FEW_VALUES for path in spread(paths, sample))
    return not hold_many(root, paths, sample) and any(few)


def hold_many(root: Path, paths: Sequence[str], sample: int = SAMPLE) -> bool:
    """Whether more than half of a sample of the files hold more values than masks mostly do."""
    some = spread(paths, sample)
    return 2 * sum(count_values(root / path) > FEW_VALUES for path in some) > len(some)


@cache
def count_values(path: Path) -> int:
    """How many values or colours an image holds; none where it can be no mask, and many where it cannot be read."""
    try:
        return len(used_codes(decode_mask(path).codes))
    except MaskFault as fault:
        return _plain_colours(path) if fault.kind == "lossy" else 0
    except UserError:
        return FEW_VALUES + 1


def _plain_colours(path: Path) -> int:
    """How many colours a mask had before it was saved with loss; more than masks have where it looks like no mask.

    Those of masks are mostly multiples of 64 (VOC's, and black and white), and loss moves few pixels far from them.
    """
    pixels = np.asarray(read_image(path), np.int64)
    nearest = (pixels + 32) // 64
    are_near = (np.abs(pixels - 64 * nearest) <= NEAR).all(axis=2)
    return len(used_codes(packed(nearest[are_near]))) if are_near.mean() > MOST_NEAR else FEW_VALUES + 1
