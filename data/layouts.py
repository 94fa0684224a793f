"""How a folder of images is laid out: which folders are classes, which are lists (train/, val/), and which hold masks.

cat/1.jpg                                                   a folder a class
images/cat/1.jpg, data/train/cat/1.jpg                      the same inside folders without meaning, or that are lists
images/1.jpg, masks/1.png                                   masks beside the images; a table gives the classes
cat/1.png, cat/1_mask.png                                   masks in the same folder
cat/1.jpg, cat/1.png                                        the same, where the latter hold few values
test/broken/1.png, ground_truth/broken/1_mask.png           MVTec AD; `good` is background
"""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from data.faults import Complain, Faults, counted, grouped
from data.image_names import composed, plain, record_names
from data.tree import FEW_VALUES, Tree, are_drawn
from utils.errors import UserError

# Folder -> the list that it is.
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLITS |= {"test": "test", "testing": "test"}
WRAPPERS = frozenset({"images", "image", "imgs", "img", "data", "dataset", "photos", "raw"})
MASKS, GROUND_TRUTH = "masks", "groundtruth"
MASK_FOLDERS = frozenset({MASKS, "mask", GROUND_TRUTH, "segmentationclass", "segmentationobject", "trimaps"})
MAYBE_MASKS = frozenset({"annotations", "annotation", "labels", "label", "gt", "seg", "segmentation", "segmentations"})
RESERVED = "lists"  # the folder of lists; a class of that name has to be in data.classes
NO_TRUTH = frozenset({"trimaps", "segmentationobject", RESERVED})  # folders whose images hold no values of classes
MASK_NAME = re.compile(r"(?i)(.+?)[ _.-]*(masks?|gt|groundtruth|seg|segmentation|label|labelids)([ _.-]?\d+)?")
LOSSY = (".jpg", ".jpeg", ".jfif", ".webp", ".jpe")
LEFT_OUT = {  # masks, and what to do about them
    "JPEG or WebP": "these change the values; save them as PNG",
    "of no image": "give them the path and name of their images, as in masks/cat/1.png for cat/1.jpg",
    "of an image that has one already": "an image has one mask; join them",
}
NUMBERED = re.compile(r"(.*[^\W\d_])[ ._-]*\(?\d+\)?")  # Abyssinian_100, cat.0, benign (1)


@dataclass
class Layout:
    """The images of a folder and what their paths mean; all paths are under the root, with '/'."""

    tree: Tree
    complain: Complain
    images: list[str]  # all but masks
    masks: dict[str, str] = field(default_factory=dict)  # image -> its mask
    class_of: dict[str, str] = field(default_factory=dict)  # image -> the folder that is its class, if there is one
    lists: dict[str, list[str]] = field(default_factory=dict)  # train, val, test -> images, where folders are so named
    background: frozenset[str] = frozenset()  # class folders that mean none of the classes
    notes: list[str] = field(default_factory=list)  # what was not taken, or in a way that a person may want to know

    @property
    def root(self) -> Path:
        """The folder itself."""
        return self.tree.root


def find_layout(tree: Tree, named: Collection[str], complain: Complain, has_table: bool) -> Layout:
    """The layout of a folder; `named` are names of folders that are classes.

    With a table, folders are not the classes, so none is complained of as one that may be a class or hold masks.
    """
    layout = Layout(tree, complain, list(tree.images))
    _split_masks(layout, named, has_table)
    parts = {path: path.split("/") for path in layout.images}
    depth = _find_lists(layout, parts, named, has_table)
    layout.class_of = {path: part[depth] for path, part in parts.items() if len(part) > depth + 1}
    if not has_table and not set(layout.class_of.values()) & set(named):
        _check_inner_sets(layout, parts, depth)
    has_truth = any(plain(part) == GROUND_TRUTH for path in layout.masks.values() for part in path.split("/"))
    if has_truth and "good" in layout.class_of.values() and "good" not in named:
        layout.background = frozenset({"good"})
        layout.notes.append(f"{layout.root}: MVTec's layout; the folders 'good' are images of none of the classes")
    return layout


def classes_in_names(images: Iterable[str]) -> dict[str, str]:
    """Image -> the class that its file name begins with, as in `Abyssinian_100.jpg`; images without one are missing."""
    found = {path: NUMBERED.fullmatch(PurePosixPath(path).stem) for path in images}
    return {path: match[1] for path, match in found.items() if match is not None}


def _split_masks(layout: Layout, named: Collection[str], has_table: bool) -> None:
    """Take masks out of the images: by a folder whose names are those of images, or by a name such as 1_mask.png."""
    stems, twins = {_stem(path) for path in layout.images}, _twins(layout, has_table)
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)  # folder of masks, folder of the images -> files
    for path in layout.images:
        parts = path.split("/")[:-1]
        at = _mask_folder(parts, named)
        match = MASK_NAME.fullmatch(PurePosixPath(path).stem)
        if at is not None:
            groups["/".join(parts[: at + 1]), "/".join(parts[:at])].append(path)
        elif path in twins or (match is not None and composed("/".join([*parts, match[1]])) in stems):
            groups["/".join(parts), "/".join(parts)].append(path)
    if not groups:
        return
    inside = {path for paths in groups.values() for path in paths}
    images = [path for path in layout.images if path not in inside]
    by_tail = defaultdict[str, list[str]](list)  # end of a name, from any of its folders on -> the images
    for path, name in record_names(images).items():
        for start in range(name.count("/") + 1):
            by_tail[composed(name.split("/", start)[-1])].append(path)
    faults, left = Faults(layout.complain), defaultdict[str, list[str]](list)
    for (folder, parent), paths in sorted(groups.items(), key=lambda group: (plain(group[0][0]) != MASKS, group[0])):
        matches = {path: _image_of(path, folder, parent, by_tail) for path in paths}
        name = PurePosixPath(folder).name
        is_unclear = folder != parent and (not any(matches.values()) or _is_class(layout.root, name, paths, images))
        if is_unclear and (_is_maybe_masks(plain(name)) or (has_table and all(map(_is_lossy, paths)))):
            images += paths
        elif is_unclear and not has_table:
            what = f"holds {len(paths)} images, first {min(paths)}, which are no masks by their names or their format"
            example = f"the paths and names of their images, as in {MASKS}/cat/1.png for cat/1.jpg"
            remedy = f"save masks as PNG with {example}; if it is a class, name all in data.classes"
            faults.add("folder", f"folder {layout.root / folder} {what}: {remedy}")
        else:
            _take_masks(layout, folder, matches, left)
    faults.report()
    for what, remedy in LEFT_OUT.items():
        layout.notes += counted(layout.root, f"masks {what} are not used", left[what], remedy)
    layout.images = sorted(images, key=lambda path: path.split("/"))


def _twins(layout: Layout, has_table: bool) -> set[str]:
    """Of files that differ in their suffix alone, those of a suffix that hold few values, as masks do."""
    twins = [path for paths in grouped(layout.images, _stem).values() if len(paths) > 1 for path in paths]
    by_suffix = grouped(twins, lambda path: path.rpartition(".")[2].lower())
    drawn = [suffix for suffix, paths in by_suffix.items() if are_drawn(layout.root, paths)]
    found = {path for suffix in drawn for path in by_suffix[suffix]} if len(drawn) < len(by_suffix) else set()
    what = f"files with the name of an image beside them, and with at most {FEW_VALUES} values"
    layout.notes += counted(layout.root, what, found, "they are taken for its masks, and never trained with")
    if not found and not has_table:
        remedy = "all are read as images: if some are masks, save them as PNG in the folder 'masks'"
        layout.notes += counted(layout.root, "files that differ from others in their suffix alone", twins, remedy)
    return found


def _stem(path: str) -> str:
    return composed(path.rpartition(".")[0])


def _mask_folder(parts: list[str], named: Collection[str]) -> int | None:
    """Index of the folder of a path that holds masks: the first with a certain name, else with a possible one."""
    for is_one in (lambda name: name in MASK_FOLDERS, _is_maybe_masks):
        for index, part in enumerate(parts):
            if part not in named and is_one(plain(part)):
                return index
    return 0 if parts[:1] == [RESERVED] and RESERVED not in named else None


def _is_maybe_masks(name: str) -> bool:
    is_known = name in MAYBE_MASKS or name.startswith(("segmentation", "annot"))
    return name not in MASK_FOLDERS and (is_known or "mask" in name or GROUND_TRUTH in name)


def _is_class(root: Path, name: str, paths: list[str], images: list[str]) -> bool:
    """Whether a folder that is called like masks is one of classes: `mask` beside `no_mask`, or photographs in it."""
    tops = {path.split("/")[-2] for path in images if "/" in path}
    beside = any(plain(name).rstrip("s") in plain(top) for top in tops)
    are_photographs = all(map(_is_lossy, paths)) and not {top.casefold() for top in tops} <= WRAPPERS
    return beside or (are_photographs and not are_drawn(root, paths))


def _is_lossy(path: str) -> bool:
    return path.lower().endswith(LOSSY)


def _take_masks(layout: Layout, folder: str, matches: dict[str, str | None], left: dict[str, list[str]]) -> None:
    """Give the images their masks; others go into `left`, by a key of `LEFT_OUT`."""
    if plain(PurePosixPath(folder).name) in NO_TRUTH:
        what = f"files in the folder {folder}, which holds no masks of classes"
        layout.notes += counted(layout.root, what, matches, "they are left out")
        return
    lossy, strangers, more = (left[what] for what in LEFT_OUT)
    for path, image in matches.items():
        if image is None:
            strangers.append(path)
        elif _is_lossy(path):
            lossy.append(path)
        elif layout.masks.setdefault(image, path) != path:
            more.append(path)


def _image_of(mask: str, folder: str, parent: str, by_tail: dict[str, list[str]]) -> str | None:
    """The image whose path ends like the mask's inside its folder; None where none does, or several below `parent`."""
    inner = mask.removeprefix(f"{folder}/").rpartition(".")[0]
    match = MASK_NAME.fullmatch(inner)
    below = f"{parent}/" if parent else ""
    for name in (inner, *((match[1],) if match is not None else ())):
        found = by_tail.get(composed(name), [])
        whole = [path for path in found if _stem(path) == composed(below + name)]
        for candidates in (whole, [path for path in found if path.startswith(below)], found):
            if len(candidates) == 1:
                return candidates[0]
    return None


def _find_lists(layout: Layout, parts: dict[str, list[str]], named: Collection[str], has_table: bool) -> int:
    depth = 0
    while True:
        heads = {part[depth] for part in parts.values() if len(part) > depth + 1}
        if not heads or heads & set(named):
            return depth
        lists = sorted(head for head in heads if head.casefold() in SPLITS)
        others = sorted(heads - set(lists))
        if len(lists) > 1 and others and not has_table:
            what = f"{', '.join(lists)} look like lists, and {', '.join(others[:5])} beside them like classes"
            raise UserError(f"{layout.root}: the folders {what}: move some, or name all classes in data.classes")
        if not layout.lists and not others:
            for path, part in parts.items():
                if len(part) > depth + 1:
                    layout.lists.setdefault(SPLITS[part[depth].casefold()], []).append(path)
        elif len(heads) > 1 or not ({head.casefold() for head in heads} & WRAPPERS or _leads_to_lists(parts, depth)):
            return depth
        depth += 1


def is_like_a_list(name: str) -> bool:
    """Whether a folder is called like a list: `train`, `test1`, `valid_images`."""
    words = re.split(r"[\W\d_]+", name.casefold())
    return not {*SPLITS, "dev", "eval", "evaluation", "split", "splits"}.isdisjoint(words)


def _leads_to_lists(parts: dict[str, list[str]], depth: int) -> bool:
    """Whether single folders in each other end at folders that are lists of classes, as in ILSVRC/Data/train/cat."""
    deeper = [part for part in parts.values() if len(part) > depth + 1]
    heads = {part[depth].casefold() for part in deeper}
    if heads and heads <= SPLITS.keys():
        return any(len(part) > depth + 2 for part in deeper)
    return len(heads) == 1 and _leads_to_lists(parts, depth + 1)


def _check_inner_sets(layout: Layout, parts: dict[str, list[str]], depth: int) -> None:
    """Refuse folders that are data sets and not classes; class folders may have lists inside (cat/train/1.jpg)."""
    parts = {  # without folders such as `images`, which say nothing
        path: [*part[: depth + 1], *(p for p in part[depth + 1 : -1] if p.casefold() not in WRAPPERS), part[-1]]
        for path, part in parts.items()
    }
    inner = {path: parts[path][depth + 1] for path in layout.class_of if len(parts[path]) > depth + 2}
    if not inner:
        return
    heads, names = sorted(set(layout.class_of.values())), sorted(set(inner.values()))
    base = layout.root.joinpath(*parts[next(iter(inner))][:depth])
    if len(heads) > 1 and all(map(is_like_a_list, heads)):
        what = f"the folders {', '.join(heads[:5])} look like lists of the classes {', '.join(names[:5])}"
        raise UserError(f"{base}: {what}: call them train, val and test, or name all classes in data.classes")
    folders = {"/".join(parts[path][depth : depth + 2]): name for path, name in inner.items()}
    counts = Counter([*folders.values(), *heads])
    known = {name for name in names if name.casefold() in SPLITS}
    again = [folder for folder, name in folders.items() if counts[name] > 1 and name not in known]
    what = "folders in those of classes that have one name in several of them, or that of a class"
    remedy = "the upper folder is the class: if the lower one is, put it at the top"
    layout.notes += counted(base, what, again, remedy)
    if len(inner) < len(layout.class_of):
        return
    words = {folder for folder, name in folders.items() if re.search(r"[^\W\d_]", name) and name not in known}
    if len(heads) > 1 and not again:
        layout.notes += counted(base, "folders in those of classes, in which all images are", words, remedy)
    if not {name.casefold() for name in names} <= SPLITS.keys():
        if len(heads) == 1 and len(names) > 1:
            what = f"has one folder, {heads[0]}, with the folders {', '.join(names[:5])} in it"
            remedy = f"set data.root={base / heads[0]}; if {heads[0]} is the only class, data.classes=[{heads[0]}]"
            raise UserError(f"{base} {what}: {remedy}")
        return
    if any(len(parts[path]) > depth + 3 for path in inner):
        what = f"{', '.join(heads[:5])} hold lists ({', '.join(names)}) with classes and look like data sets"
        raise UserError(f"{base}: {what}: set data.root to one of them, such as data.root={base / heads[0]}")
    for path, name in inner.items():
        layout.lists.setdefault(SPLITS[name.casefold()], []).append(path)
