"""Hints: what a person says of some pixels of some images (`data.hints`, docs/hints.md).

    hints = open_hints(cfg.data, index)
    hint = hints.of("2007_000032")      # None where nothing is said of that image
    hint.values                         # (H, W) uint8: 0 background, c + 1 class c, 255 not said
    hint.boxes                          # (class, left, top, right, bottom): nothing of the class outside of all of them

Where two shapes meet, the finer one counts: a point above a line above an area, and of two areas the smaller one.
"""

import logging
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from data.artifacts import read_mask
from data.dataset import Index, Record
from data.faults import Complain, Faults, counted, refuse
from data.hint_shapes import ADVICE, Hint, Shape, ShapesOfImage, draw, is_inside, read_hint_file
from data.image_names import Finder, composed
from data.index import class_palette
from data.mask_values import TruthRule, read_with_facts, truth_rule
from data.settings import DataSettings
from data.tree import scan
from data.truth_check import palette_reason
from utils.errors import UserError, nearest
from utils.file_digests import digest_files
from utils.files import digest
from utils.ignore import IGNORE
from utils.names import shown

logger = logging.getLogger(__name__)


@dataclass
class Said:
    """What files say of one image."""

    size: tuple[int, int]  # (H, W)
    shapes: list[tuple[Shape, int]] = field(default_factory=list)  # with their class; -1 is the background
    mask: Path | None = None  # a PNG of values
    where: list[str] = field(default_factory=list)  # the files and records

    def draw(self) -> tuple[Hint, list[str]]:
        """As of `hint_shapes.draw`, the mask below all shapes."""
        values = read_mask(self.mask) if self.mask is not None else np.full(self.size, IGNORE, np.uint8)
        return draw(values, self.shapes)


@dataclass(frozen=True)
class Hints:
    """The hints of a list of images, by the image's name."""

    images: dict[str, Said] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.images)

    def of(self, name: str) -> Hint | None:
        """What is said of an image; None where nothing is."""
        return said.draw()[0] if (said := self.images.get(name)) is not None else None

    def values_of(self, name: str) -> np.ndarray | None:
        """The values of an image; None where nothing is said of it."""
        return hint.values if (hint := self.of(name)) is not None else None

    def __str__(self) -> str:
        shapes = [each for said in self.images.values() for each in said.shapes]
        kinds = ["area" if shape.kind == "rectangle" and label < 0 else shape.kind for shape, label in shapes]
        fine = {"points": ("point", "points"), "lines": ("line", "linestrip"), "boxes": ("rectangle",)}
        counts = {title: sum(kind in members for kind in kinds) for title, members in fine.items()}
        masks = sum(said.mask is not None for said in self.images.values())
        counts["areas"] = len(kinds) - sum(counts.values()) + masks
        counts = {"images": len(self.images), **counts}
        return ", ".join(f"{title}: {count}" for title, count in counts.items() if count)


NO_HINTS = Hints()


def open_hints(settings: DataSettings, index: Index, complain: Complain = refuse) -> Hints:
    """The hints of `data.hints` for the images of a list; none where the setting is empty.

    If they cannot be read, or say what cannot be, a `UserError` has one message for each kind of mistake.
    """
    if not settings.hints:
        return NO_HINTS
    files = _hint_files(Path(settings.hints))
    colours = truth_rule({}, index.class_names, "", class_palette(settings, index.class_names))
    if complain is not refuse:
        reader = _Reader(settings.root, settings.background, colours, index, Faults(complain))
        return reader.read(files, Path(settings.hints))
    states = tuple((path, (state := path.stat()).st_size, state.st_mtime_ns) for path in files)
    return _cached(states, settings.hints, settings.root, settings.background, colours, index)


def fingerprint_of(settings: DataSettings, cache: Path | None = None) -> str:
    """Changes with the hints; empty where there are none. In a folder, the name of a file says of which image it is."""
    if not settings.hints:
        return ""
    top = Path(settings.hints)
    files = _hint_files(top)
    names = [path.relative_to(top).as_posix() for path in files] if top.is_dir() else []
    return digest([names, digest_files(files, cache)])


def _hint_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"data.hints: there is no {path}; expected {ADVICE}")
    tree = scan(path, (), refuse)
    found = sorted(path / name for name in (*tree.images, *tree.files) if name.lower().endswith((".png", ".json")))
    if not found:
        raise UserError(f"data.hints: folder {path} is empty, it has no PNG and no JSON; expected {ADVICE}")
    others = [name for name in tree.files if not name.lower().endswith(".json")]
    for note in counted(path, "files that are no JSON and no PNG are left out", others, f"expected {ADVICE}"):
        logger.warning("data.hints: %s", note)  # once in a process (utils/console.py)
    return found


@lru_cache(maxsize=2)  # every stage asks, and the answer takes seconds where there are many images
def _cached(
    states: tuple[tuple[Path, int, int], ...], top: str, root: str, background: str, rule: TruthRule, index: Index
) -> Hints:
    return _Reader(root, background, rule, index, Faults(refuse)).read([path for path, *_ in states], Path(top))


class _Reader:
    def __init__(self, top: str, background: str, rule: TruthRule, index: Index, faults: Faults):
        self.rule, self.index, self.faults, root = rule, index, faults, Path(top)
        self.found: dict[str, Said] = {}
        self.changed: list[str] = []  # images that were others when their hints were given
        images = [(record.image, record) for record in index.records]
        inside = [(path.relative_to(root) if path.is_relative_to(root) else path, record) for path, record in images]
        self.records = {path.as_posix(): record for path, record in inside}
        self.stems = {PurePosixPath(record.name).name for record in index.records}
        self.finder = Finder(root, self.records)
        self.folders = {part for path in self.records for part in path.split("/")[:-1]}
        self.labels = {composed(name): number for number, name in enumerate(index.class_names)}
        self.labels = {"background": -1, composed(background): -1} | self.labels

    def read(self, files: list[Path], top: Path) -> Hints:
        """Read, check and gather the hints of all files; `top` is `data.hints`."""
        for path in files:
            inside = PurePosixPath(path.relative_to(top if path != top else top.parent).as_posix())
            if path.suffix.lower() == ".png":
                self.add_mask(path, str(inside))
                continue
            found = read_hint_file(path, self.faults)
            for record in found:
                self.add_shapes(record, inside if len(found) == 1 else PurePosixPath())
        for name, said in self.found.items():  # hints of an image may contradict each other, in whatever files they are
            where = " and ".join(said.where)
            try:
                for text in said.draw()[1] if said.shapes else ():
                    self.faults.add("contradiction", f"{where}: hints of image '{name}' {text}")
            except UserError as error:
                self.faults.add("shape", f"{where}: {error}")
        if not self.found and not self.faults.found:
            source = files[0] if len(files) == 1 else files[0].parent
            self.faults.add("empty", f"data.hints: {source} is empty: it says nothing of any pixel; expected {ADVICE}")
        self.faults.report(is_empty=not self.found)
        remedy = "look whether their hints still fit (python report.py RUN --hints, Go on with a file)"
        what = "images that have changed since their hints were given"
        for note in self.finder.note(top) + counted(top, what, self.changed, remedy):
            logger.warning("data.hints: %s", note)
        return Hints(self.found)

    def add_mask(self, path: Path, inside: str) -> None:
        """A PNG of values, named as its image; `inside` is its path in the folder of hints, with folders or without."""
        name = inside.removesuffix(path.suffix)
        is_there = self.finder.find(name, f"data.hints: {path}") is not None
        if not is_there and path.parent.name not in self.folders:  # a folder of the hints alone, and of no image
            name = path.stem
        record = self._record(name, str(path))
        if record is None:
            return
        values = read_mask(path, self.index.class_names)
        size = self._fits(record, values.shape, str(path))
        if size is None:
            return
        known, most = values[values != IGNORE], len(self.index.class_names)
        row = replace(record, mask=path), read_with_facts(path)[1]
        moved, _ = palette_reason([row], self.rule, "save it with the values of the classes")
        if not known.size:
            self.faults.add("empty", f"data.hints: {path} is empty: all of its pixels are 255, which says nothing")
        elif not known.any() and record.labels and 2 * known.size > values.size:
            what = "holds 0 and 255 alone, background in most places and else nothing"
            value = f"{record.labels[0] + 1} for {self.index.class_names[record.labels[0]]}"
            self.faults.add("binary", f"data.hints: {path} {what}; write class values, {value}")
        elif moved:
            self.faults.add("palette", f"data.hints: {moved}")
        elif known.max() > most:
            self.faults.add("class", f"data.hints: {path} has the value {known.max()}; known: 0..{most}, and 255")
        else:
            for label in np.unique(known[known > 0]).tolist():
                self._is_shown(record, label - 1, str(path))
            said = self.found.setdefault(record.name, Said(size))
            said.where.append(str(path))
            if said.mask is not None:
                what = f"{said.mask} and {path} are both of image '{record.name}'; join them, or remove one"
                self.faults.add("twice", f"data.hints: {what}")
            said.mask = path

    def add_shapes(self, found: ShapesOfImage, inside: PurePosixPath) -> None:
        """The shapes of one image; `inside` is the path of a file of this image alone, in the folder of hints."""
        beside = f"{inside.parent}/{found.image}"  # LabelMe's names are relative to its file
        name = beside if beside in self.records else found.image
        record = self._record(name, found.where) if found.shapes else None
        size = self._fits(record, found.size, found.where) if record is not None else None
        if record is None or size is None:
            return
        if found.content and found.content != digest_files([record.image])[0]:
            self.changed.append(str(record.image))
        is_other = inside.stem != PurePosixPath(record.name).name and inside.stem in self.stems
        folder, is_bare = inside.parent.name, "/" not in found.image
        if is_other or (is_bare and folder in self.folders and folder not in record.image.parts):
            what = f"the file is called as image '{inside.with_suffix('')}', and names image '{record.name}'"
            self.faults.add("stem", f"{found.where}: {what}; correct the name in it, or rename the file")
        shapes = [(shape, self._label(shape, record, found.where)) for shape in found.shapes]
        known = [(shape, label) for shape, label in shapes if label is not None and is_inside(shape, size)]
        if len(known) < sum(label is not None for _, label in shapes):
            what = f"a hint of image '{record.name}' lies outside of its {size[1]} x {size[0]} pixels"
            self.faults.add("outside", f"{found.where}: {what}; give x, y from the upper left of the upright image")
        if known:
            said = self.found.setdefault(record.name, Said(size))
            said.where.append(found.where)
            said.shapes += known

    def _record(self, name: str, where: str) -> Record | None:
        path = self.finder.find(name, f"data.hints: {where}")
        if path is not None and path in self.records:
            return self.records[path]
        what = f"image {shown(name)} is not in the list that gets pseudo masks (data.seed_list, else data.train_list)"
        self.faults.add("image", f"data.hints: {where}: {what}; name images of this list{self.finder.near(name)}")
        return None

    def _fits(self, record: Record, size: tuple[int, ...] | None, where: str) -> tuple[int, int] | None:
        width, height = record.read_image().size
        own = height, width
        if size is None or tuple(size) == own:
            return own
        what = f"image {record.image} has {width} x {height}, seen the right way up; make it for that size"
        self.faults.add("size", f"data.hints: {where} is for {size[1]} x {size[0]} pixels, {what}")
        return None

    def _label(self, shape: Shape, record: Record, where: str) -> int | None:
        if (label := self.labels.get(composed(shape.label))) is not None:
            return label if self._is_shown(record, label, where) else None
        known = ", ".join(self.labels) + nearest(shape.label, self.labels)
        self.faults.add("class", f"{where}: there is no class {shown(shape.label)}; known: {known}")
        return None

    def _is_shown(self, record: Record, label: int, where: str) -> bool:
        if label < 0 or label in record.labels:
            return True
        own = ", ".join(self.index.class_names[each] for each in record.labels) or "none of the classes"
        what = f"a hint says that image '{record.name}' shows {self.index.class_names[label]}"
        self.faults.add("label", f"{where}: {what}, and its labels say {own}; correct one of them")
        return False
