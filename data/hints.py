"""Hints: what a person says of some pixels of some images (`data.hints`, docs/hints.md).

    hints = open_hints(cfg.data, index)
    hint = hints.of("2007_000032")      # None where nothing is said of that image
    hint.values                         # (H, W) uint8: 0 background, c + 1 class c, 255 not said
    hint.boxes                          # (class, left, top, right, bottom): nothing of the class outside of all of them

Points and lines are drawn a hundredth of the long side wide. Where two shapes meet, the finer one counts: a point above
a line above an area, and of two areas the smaller one (data/hint_drawing.py).
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data.artifacts import read_mask
from data.dataset import Complain, Index, Record, refuse
from data.faults import Faults
from data.hint_drawing import Hint, draw, is_inside
from data.hint_files import ADVICE, Shape, ShapesOfImage, read_hint_file
from data.image_names import Finder, composed
from data.settings import DataSettings
from utils.choices import nearest
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest
from utils.ignore import IGNORE
from utils.names import shown


@dataclass(frozen=True)
class Hints:
    """The hints of a list of images.

    Attributes:
        shapes: image's name -> its shapes, as (shape, class; -1 is the background).
        masks: image's name -> a PNG of values.
        sizes: image's name -> (H, W).
        fingerprint: changes with the files; empty where there are no hints.
    """

    shapes: dict[str, tuple[tuple[Shape, int], ...]] = field(default_factory=dict)
    masks: dict[str, Path] = field(default_factory=dict)
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    fingerprint: str = ""

    def __bool__(self) -> bool:
        return bool(self.sizes)

    @property
    def names(self) -> set[str]:
        """The images of which something is said."""
        return set(self.sizes)

    def of(self, name: str) -> Hint | None:
        """What is said of an image; None where nothing is."""
        if name not in self.sizes:
            return None
        size = self.sizes[name]
        values = read_mask(self.masks[name]) if name in self.masks else np.full(size, IGNORE, np.uint8)
        return draw(values, self.shapes.get(name, ()))[0]

    def values_of(self, name: str) -> np.ndarray | None:
        """The values of an image; None where nothing is said of it."""
        hint = self.of(name)
        return None if hint is None else hint.values

    def counts(self) -> dict[str, int]:
        """How many images, points, lines, boxes and areas there are."""
        kinds = [shape.kind for shapes in self.shapes.values() for shape, label in shapes]
        fine = {"points": ("point", "points"), "lines": ("line", "linestrip"), "boxes": ("rectangle",)}
        found = {title: sum(kind in members for kind in kinds) for title, members in fine.items()}
        areas = len(kinds) - sum(found.values()) + len(self.masks)
        return {"images": len(self.sizes), **found, "areas": areas}

    def __str__(self) -> str:
        images, *others = self.counts().items()
        return f"{images[1]} images with " + ", ".join(f"{count} {name}" for name, count in others if count)


NO_HINTS = Hints()


def open_hints(settings: DataSettings, index: Index) -> Hints:
    """The hints of `data.hints` for the images of a list; none where the setting is empty.

    Raises:
        UserError: they cannot be read, or say what cannot be; one message for each kind of mistake.
    """
    if not settings.hints:
        return NO_HINTS
    files = hint_files(Path(settings.hints))
    states = tuple((str(path), (state := path.stat()).st_size, state.st_mtime_ns) for path in files)
    return _remember(states, settings.root, settings.background, index)


def fingerprint_of(settings: DataSettings, cache: Path | None = None) -> str:
    """Changes with the content of the hints; empty where there are none."""
    return digest(digest_files(hint_files(Path(settings.hints)), cache)) if settings.hints else ""


def hint_files(path: Path) -> list[Path]:
    """The files that `data.hints` names: one JSON, or every PNG and JSON of a folder.

    Raises:
        UserError: there is no such file, or none in the folder.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"data.hints: there is no {path}; expected {ADVICE}")
    found = sorted(file for file in path.rglob("*") if file.suffix.lower() in (".png", ".json"))
    if not found:
        raise UserError(f"data.hints: folder {path} is empty, it has no PNG and no JSON; expected {ADVICE}")
    return found


@lru_cache(maxsize=2)  # every stage asks, and the answer takes seconds where there are many images
def _remember(states: tuple[tuple[str, int, int], ...], root: str, background: str, index: Index) -> Hints:
    return read_hints([Path(name) for name, *_ in states], Path(root), background, index)


def check_hints(settings: DataSettings, index: Index, complain: Complain) -> None:
    """Complain of every kind of mistake in `data.hints`."""
    read_hints(hint_files(Path(settings.hints)), Path(settings.root), settings.background, index, complain)


def read_hints(files: list[Path], root: Path, background: str, index: Index, complain: Complain = refuse) -> Hints:
    """Read, check and gather the hints of all files."""
    reader = _Reader(root, background, index, Faults(complain))
    for path in files:
        if path.suffix.lower() == ".png":
            reader.add_mask(path, "" if len(files) == 1 else _inside(path, files))
        else:
            for record in read_hint_file(path, reader.faults):
                reader.add_shapes(record)
    found = reader.found
    if not found.sizes and not reader.faults.found:
        where = files[0] if len(files) == 1 else files[0].parent
        reader.faults.add("empty", f"data.hints: {where} is empty: it says nothing of any pixel; expected {ADVICE}")
    reader.faults.report(is_empty=not found.sizes)
    return replace(found, fingerprint=digest(digest_files(files)))


def _inside(path: Path, files: list[Path]) -> str:
    """The path of a file below the folder that all of them are in."""
    depth = min(len(file.parts) for file in files) - 1
    return "/".join(path.parts[depth:])


class _Reader:
    """Gathers hints, and what is wrong with them, by kind."""

    def __init__(self, root: Path, background: str, index: Index, faults: Faults):
        self.root, self.index, self.faults, self.found = root, index, faults, Hints()
        self.sizes: dict[str, tuple[int, int]] = {}
        self.records = {_path_of(record, root): record for record in index.records}
        self.finder = Finder(root, self.records)
        self.labels = {composed(name): number for number, name in enumerate(index.class_names)}
        self.labels = {"background": -1, composed(background): -1} | self.labels

    def add_mask(self, path: Path, inside: str) -> None:
        """A PNG of values, named as its image."""
        record = self._record((inside or path.name).removesuffix(path.suffix), str(path))
        if record is None:
            return
        values = read_mask(path)
        if not self._fits(record, values.shape, str(path)):
            return
        known = values[values != IGNORE]
        if not known.size:
            self.faults.add("empty", f"data.hints: {path} is empty: all of its pixels are 255, which says nothing")
        elif known.max() > len(self.index.class_names):
            most = len(self.index.class_names)
            self.faults.add("class", f"data.hints: {path} has the value {known.max()}; known: 0..{most}, and 255")
        else:
            for label in np.unique(known[known > 0]).tolist():
                self._is_shown(record, label - 1, str(path))
            self.found.masks[record.name] = path
            self.found.sizes[record.name] = self.sizes[record.name]

    def add_shapes(self, found: ShapesOfImage) -> None:
        """The shapes of one image."""
        record = self._record(found.image, found.where) if found.shapes else None
        size = self._fits(record, found.size, found.where) if record is not None else None
        if record is None or size is None:
            return
        shapes = [(shape, self._label(shape, record, found.where)) for shape in found.shapes]
        known = [(shape, label) for shape, label in shapes if label is not None and is_inside(shape, size)]
        if len(known) < sum(label is not None for _, label in shapes):
            self.faults.add(
                "outside",
                f"{found.where}: a hint of image '{record.name}' lies outside of its {size[1]} x {size[0]} pixels; "
                "give x, y of the upright image, from its upper left corner",
            )
        try:
            lost = draw(np.full(size, IGNORE, np.uint8), known)[1]
        except UserError as error:
            self.faults.add("shape", str(error))
            return
        for text in lost:
            self.faults.add("contradiction", f"{found.where}: hints of image '{record.name}' contradict: {text}")
        if known:
            self.found.shapes[record.name] = (*self.found.shapes.get(record.name, ()), *known)
            self.found.sizes[record.name] = size

    def _record(self, name: str, where: str) -> Record | None:
        path = self.finder.find(name, f"data.hints: {where}")
        if path is None or path not in self.records:
            near = nearest(name, self.records)
            self.faults.add(
                "image",
                f"data.hints: {where}: image {shown(name)} is not in the list that gets pseudo masks (data.seed_list, "
                f"else data.train_list); name images of this list{near}",
            )
            return None
        return self.records[path]

    def _fits(self, record: Record, size: tuple[int, ...] | None, where: str) -> tuple[int, int] | None:
        """The size (H, W) of the image, if the hint is of this size."""
        name = record.name
        if name not in self.sizes:
            width, height = record.read_image().size
            self.sizes[name] = (height, width)
        own = self.sizes[name]
        if size is not None and tuple(size) != own:
            self.faults.add(
                "size",
                f"data.hints: {where} is for {size[1]} x {size[0]} pixels, image {record.image} has {own[1]} x "
                f"{own[0]}, seen the right way up; make it for that size",
            )
            return None
        return own

    def _label(self, shape: Shape, record: Record, where: str) -> int | None:
        label = self.labels.get(composed(shape.label))
        if label is None:
            names = ", ".join(self.labels)
            near = nearest(shape.label, self.labels)
            self.faults.add("class", f"{where}: there is no class {shown(shape.label)}; known: {names}{near}")
            return None
        return label if self._is_shown(record, label, where) else None

    def _is_shown(self, record: Record, label: int, where: str) -> bool:
        if label < 0 or label in record.labels:
            return True
        own = ", ".join(self.index.class_names[each] for each in record.labels) or "none of the classes"
        self.faults.add(
            "label",
            f"{where}: a hint says that image '{record.name}' shows {self.index.class_names[label]}, and its labels "
            f"say {own}; correct one of them",
        )
        return False


def _path_of(record: Record, root: Path) -> str:
    image = record.image
    return image.relative_to(root).as_posix() if image.is_relative_to(root) else image.as_posix()
