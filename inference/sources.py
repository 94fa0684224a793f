"""--input of infer.py as one list of images: files, folders or patterns."""

import glob
import itertools
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from data.images import IMAGE_SUFFIXES, find_images
from inference.images import InputImage, output_names
from inference.output_folder import DONE, MASKS, OVERLAYS, SHEET, VIDEOS
from utils.errors import UserError

logger = logging.getLogger(__name__)
VIDEO_SUFFIXES = frozenset({".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"})


def find_inputs(sources: Sequence[str | Path], output: Path, recursive: bool = True) -> list[InputImage]:
    """The images of the input, each once, without what infer.py itself has written there.

    Args:
        sources: each a file, a folder, or a pattern with `*`, `?`, `[...]` (`**` for any depth).

    Raises:
        UserError: there is nothing of that name, or no image in it.
    """
    found: dict[str, Path] = {}  # absolute path -> the path as it was given
    roots = []
    for source in sources:
        root, paths = _expand(source, recursive)
        if paths != [root]:
            paths = _without_own_output(paths, root, output)
        if not paths:
            depth = "" if recursive else ", and its sub-folders were not searched (--recursive)"
            raise UserError(
                f"--input {source}: no images in this folder or of this pattern{depth}; expected images, such as .jpg, "
                ".png, .tif, .webp (docs/data.md lists all)"
            )
        if root.is_dir() and (left := _left_out(root, output, recursive)):
            text = "--input %s: %d files are no images by their suffix and are left out, first %s"
            logger.warning(text, source, len(left), left[0])
        roots.append(root.parent if paths == [root] else root)
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


def _own_folders(root: Path, output: Path) -> list[Path]:
    """The folders below `root` that infer.py has written, and `output`."""
    return [*(done.parent.resolve() for done in root.rglob(DONE) if done.is_dir()), output.resolve()]


def _without_own_output(paths: Sequence[Path], root: Path, output: Path) -> list[Path]:
    """The paths without those that infer.py wrote below `root` or into `output`."""
    ours = [path / part for path in _own_folders(root, output) for part in (MASKS, OVERLAYS, VIDEOS, SHEET)]
    return [path for path in paths if not any(path.resolve().is_relative_to(part) for part in ours)]


def _expand(source: str | Path, recursive: bool) -> tuple[Path, list[Path]]:
    """The folder that names begin in (of a pattern that before its first wildcard), and the images; a file is both."""
    path = Path(source)
    if path.is_file():
        return path, [path]
    if path.is_dir():
        return path, _in_folder(path, recursive)
    matches = _matches(source)
    if not matches:
        raise UserError(
            f"--input {source}: there is no such file or folder, and no file of this pattern; check the path from "
            f"{Path.cwd()}"
        )
    images = [match for match in matches if match.is_file() and match.suffix.lower() in IMAGE_SUFFIXES]
    images += [image for match in matches if match.is_dir() for image in _in_folder(match, recursive)]
    fixed = itertools.takewhile(lambda part: not glob.has_magic(part), Path(source).parts[:-1])
    return Path(*fixed), list(dict.fromkeys(images))


def _left_out(folder: Path, output: Path, recursive: bool) -> list[Path]:
    """Files of other suffixes, hidden ones and those of infer.py itself apart."""
    written = _own_folders(folder, output)
    return sorted(
        path
        for path in (folder.rglob("*") if recursive else folder.glob("*"))
        if path.suffix.lower() not in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not any(path.resolve().is_relative_to(ours) for ours in written)
    )


def _in_folder(folder: Path, recursive: bool) -> list[Path]:
    return [path for path in find_images(folder) if recursive or path.parent == folder]


def _matches(source: str | Path) -> list[Path]:
    """The path itself, or where there is none what it matches as a pattern, sorted; a name may hold brackets."""
    if Path(source).exists():
        return [Path(source)]
    return [Path(name) for name in sorted(glob.glob(str(source), recursive=True))]
