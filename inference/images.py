"""The images of infer.py: --input as one list (files, folders, patterns), their outputs' names, their classes."""

import glob
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data.coco_file import CocoRules
from data.faults import counted, refuse
from data.image_names import Finder, composed, plain
from data.images import IMAGE_SUFFIXES, read_image
from data.label_table import read_label_table
from data.layouts import MASK_FOLDERS, find_layout
from data.pixels import AUTO, PixelRule
from data.tree import DONE, OUTPUT, Tree, images_of, scan
from utils.errors import UserError, nearest
from utils.names import shown

logger = logging.getLogger(__name__)
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})
MOST_NAMES = 30  # class names in a message

# What infer.py writes into its output folder (inference/output_folder.py).
MASKS, OVERLAYS, MAPS, VIDEOS, SHEET = OUTPUT
SUFFIXES = {MASKS: ".png", OVERLAYS: ".jpg", MAPS: ".npz", DONE: ".json"}


@dataclass(frozen=True)
class InputImage:
    """One file of the input: its path, its path under the input folder, its outputs' name, and what its values mean."""

    path: Path
    relative: str
    name: str
    pixels: PixelRule = AUTO

    def read_image(self, least_side: int = 0) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright; raises `UnreadableImage` (see `data.images.read_image`)."""
        return np.array(read_image(self.path, least_side, self.pixels))


def file_of(image: InputImage, folder: str) -> str:
    """The file of an image in `MASKS`, `OVERLAYS`, `MAPS` or `DONE`, as a path under the output folder."""
    return f"{folder}/{image.name}{SUFFIXES[folder]}"


def find_inputs(sources: Sequence[str | Path], output: Path, recursive: bool = True) -> list[InputImage]:
    """The images of the input, each once, without what infer.py itself has written there.

    A source is a file, a folder, or a pattern with `*`, `?`, `[...]` (`**` for any depth).
    """
    found: dict[str, Path] = {}  # absolute path -> the path as it was given
    roots = []
    for source in sources:
        path = Path(source)
        root, paths = (path.parent, [path]) if path.is_file() else _search(source, output, recursive)
        roots.append(root)
        found |= {os.path.abspath(path): path for path in paths}
    base = os.path.commonpath([os.path.abspath(root) for root in roots])
    relative = [Path(os.path.relpath(path, base)).as_posix() for path in found]
    names = output_names(relative)
    return [InputImage(path, below, names[below]) for path, below in zip(found.values(), relative, strict=True)]


def split_videos(sources: Sequence[str | Path]) -> tuple[list[Path], list[str | Path]]:
    """Videos, given by name or by a pattern, and the other sources; folders are searched for images only."""
    videos: list[Path] = []
    others: list[str | Path] = []
    for source in sources:
        matches = _matches(source)
        films = [path for path in matches if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()]
        videos += films
        if not films or len(films) < len(matches):
            others.append(source)
    return list(dict.fromkeys(videos)), others


def output_names(relative: Sequence[str]) -> dict[str, str]:
    """Path -> its name without suffix, or with it where two images would have the same in any case."""
    bare = {path: str(PurePosixPath(path).with_suffix("")) for path in relative}
    counts = Counter([name.casefold() for name in bare.values()] + [path.casefold() for path in relative])
    return {path: name if counts[name.casefold()] == 1 else path for path, name in bare.items()}


def find_class(name: str, class_names: Sequence[str], where: str) -> int:
    """The index of a class by its name, in any case; the `UserError` for an unknown one begins with `where`."""
    for form in (str, str.casefold):  # ImageNet has a Cardigan, a dog, and a cardigan
        wanted, *known = (form(composed(each)) for each in (name.strip(), *class_names))
        if wanted in known:
            return known.index(wanted)
    more = f", ... ({len(class_names)} in all)" if len(class_names) > MOST_NAMES else ""
    near, some = nearest(name.strip(), class_names) or ";", ", ".join(class_names[:MOST_NAMES])
    raise UserError(f"{where}: the network knows no class '{name}'{near} it knows {some}{more}")


def read_labels(path: Path, images: Sequence[InputImage], class_names: Sequence[str]) -> dict[str, list[int]]:
    """What images contain, from a CSV file: the header `image,labels`, or `image,CLASS,...` (`data/label_table.py`).

    Indices in `class_names` by `InputImage.relative`. A row names an image by its path under the input folder or its
    file name, with or without suffix. A row without labels is an image without any class. Rows of other images, and
    images without a row, are counted in a warning.
    """
    table = read_label_table(path, class_names, refuse)
    base = images[0].path.absolute().as_posix().removesuffix(images[0].relative)
    finder = Finder(Path(base or "."), [image.relative for image in images])
    is_background = CocoRules("background").is_background  # as in a table for training
    for name in table.class_names:
        if not is_background(name):
            find_class(name, class_names, f"{path}, header")
    found: dict[str, list[int]] = {}
    unknown: list[str] = []
    for where, name, labels, _ in table.rows:
        chosen = sorted({find_class(label, class_names, where) for label in labels if not is_background(label)})
        match = finder.find(name, where)
        if match is None:
            unknown.append(name)
        elif match in found:
            raise UserError(f"{where}: image '{name}' has a row already; make it one row")
        else:
            found[match] = chosen
    if not found:
        what = f"none of its {len(table.rows)} rows names an image of the input"
        wanted = f"paths from the input folder or file names, such as {images[0].relative}"
        raise UserError(f"{path}: {what}; expected {wanted}")
    without = [image.relative for image in images if image.relative not in found]
    notes = counted(path, "rows that name no image of the input", [*map(shown, unknown)], "correct the names")
    notes += counted(path, "images without a row", without, "the network predicts their classes")
    for note in (*table.notes, *finder.note(path), *notes):
        logger.warning("%s", note)
    return found


def _search(source: str | Path, output: Path, recursive: bool) -> tuple[Path, list[Path]]:
    """The images of a folder or pattern, and the folder that names begin in (of a pattern before its first wildcard).

    Files of other suffixes are counted in a warning; hidden ones, and those of infer.py itself, are not.
    """
    matches = _matches(source)
    images = [match for match in matches if match.is_file() and match.suffix.lower() in IMAGE_SUFFIXES]
    for folder in filter(Path.is_dir, matches):
        tree = scan(folder, (), logger.warning)
        masks = _masks_of(tree)
        found = [image for image in images_of(tree) if recursive or image.parent == folder]
        images += [image for image in found if image not in masks]
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(source).parts[:-1])
    root = Path(source) if Path(source).is_dir() else Path(*fixed)
    written = [*(done.parent.resolve() for done in root.rglob(DONE) if done.is_dir()), output.resolve()]
    ours = [folder / part for folder in written for part in (MASKS, OVERLAYS, VIDEOS, SHEET)]
    images = [image for image in dict.fromkeys(images) if not _is_below(image, ours)]
    left = [
        str(path)
        for path in (root.rglob("*") if recursive else root.glob("*"))
        if path.suffix.lower() not in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and not _is_below(path, written)
    ]
    broken = [str(match) for match in matches if not match.exists()]
    notes = counted(f"--input {source}", "links to nothing are left out", broken, "put the files there")
    what = "files that are no images by their suffix are left out"
    for note in notes + counted(f"--input {source}", what, left, "if these are images, convert them"):
        logger.warning("%s", note)
    if not images:
        depth = "" if recursive else ", and its sub-folders were not searched (--recursive)"
        wanted = "images, such as .jpg, .png, .tif, .webp (docs/data.md lists all)"
        raise UserError(f"--input {source}: no images in this folder or of this pattern{depth}; expected {wanted}")
    return root, images


def _masks_of(tree: Tree) -> set[Path]:
    """What lies in the folders of masks of a data folder (docs/data.md), with a warning that these are left out."""
    left = set(tree.images).difference(find_layout(tree, (), logger.debug, has_table=True).images)
    masks = [path for path in left if any(plain(part) in MASK_FOLDERS for part in path.split("/")[:-1])]
    remedy = "give that folder itself to have masks of them"
    for note in counted(f"--input {tree.root}", "masks of the images are left out", masks, remedy):
        logger.warning("%s", note)
    return {tree.root / path for path in masks}


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path.resolve().is_relative_to(folder) for folder in folders)


def _matches(source: str | Path) -> list[Path]:
    """The path itself, or where there is none what it matches as a pattern, sorted; a name may hold brackets."""
    if Path(source).exists():
        return [Path(source)]
    if not (names := sorted(glob.glob(str(source), recursive=True))):
        what = "there is no such file or folder, and no file of this pattern"
        raise UserError(f"--input {source}: {what}; check the path from {Path.cwd()}")
    return [Path(name) for name in names]
