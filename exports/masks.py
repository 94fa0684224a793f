"""Masks in the formats of other programs.

    python -m exports.masks runs/NAME/pseudo --export coco,yolo --output exported     a run's masks
    python -m exports.masks out --export coco-polygons --output out                   what infer.py wrote
    python -m exports.masks MASKS --classes cat,dog --images IMAGES --export yolo --output exported

    coco            coco.json             one annotation an image and class, as run lengths: the very pixels
    coco-polygons   coco_polygons.json    the same as polygons, which labelling tools can edit
    yolo            yolo/labels/NAME.txt, yolo/data.yaml: one line a polygon, for YOLO's segmentation
    voc             voc_server.tgz        as the VOC server takes it

A mask has classes and no single objects, so all pixels of a class in an image are one annotation of COCO, and each
connected part is a line for YOLO. COCO's category id is the mask value, YOLO's class is that less one. Pixels of 255
have no class and are left out; the VOC server gets them as background. Polygons: see data/polygons.py.
"""

if __name__ == "__main__":  # before imports that take seconds
    from utils.startup import prepare

    prepare()

import json
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pycocotools.mask
import yaml

from data.artifacts import read_mask, write_mask
from data.polygons import region_polygons
from data.voc import VOC_CLASSES
from exports.mask_sets import MaskSet, open_mask_set
from utils.console import progress
from utils.errors import UserError, run_script, script_parser
from utils.files import atomic_path, write_text
from utils.ignore import IGNORE

VOC_FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"  # comp6: trained on more than VOC's own data, as ImageNet is
EXPORTED = ("coco.json", "coco_polygons.json", "yolo", "voc_server.tgz")
DECIMALS = 6  # of a coordinate in 0..1: a hundredth of a pixel in 10,000
Read = Iterator[tuple[str, np.ndarray]]  # image file name and (H, W) uint8 mask of each


def export_masks(masks: MaskSet, formats: Sequence[str], output: Path) -> str:
    """Write the masks into `output` in some of `FORMATS`; a line for each says what was written.

    A damaged mask, or a value of no class, is a `UserError`.
    """
    check_formats(masks, formats, output)
    lines, counter = [], Counter[str]()
    for name in formats:
        path, annotations = FORMATS[name](masks, _read_all(masks, counter, f"export {name}"), output)
        line = f"{name}: {len(masks.masks)} images, {annotations} annotations, {path}"
        if counter["ignored"]:
            line += f"; {100 * counter['ignored'] / counter['pixels']:.1f} % of the pixels are 255 and have no class"
        lines.append(line)
    return "\n".join(lines)


def check_formats(masks: MaskSet, formats: Sequence[str], output: Path) -> None:
    """Raise a `UserError` where masks of these images and classes cannot be written so; none of them is opened."""
    for name in formats:
        if name in CHECKS:
            CHECKS[name](masks, output)


def parse_formats(text: str, known: Sequence[str]) -> list[str]:
    """Names separated by commas, each once, in their order; each one of `known`."""
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise UserError(f"--export: there is no format '{','.join(strange)}'; expected some of {', '.join(known)}")
    return names


def export_coco(masks: MaskSet, read: Read, output: Path, *, polygons: bool = False) -> tuple[Path, int]:
    """A COCO annotation file, `iscrowd` 0, `area` in the mask's pixels, `segmentation` run lengths or polygons."""
    images: list[dict[str, Any]] = []
    written = 0
    info = {"description": "segmentation masks by IBBNet; one annotation an image and class", "version": "1.0"}
    classes = [{"id": value, "name": name, "supercategory": ""} for value, name in sorted(masks.class_names.items())]
    head = json.dumps({"info": info, "licenses": [], "categories": classes}, ensure_ascii=False)
    path = output / ("coco_polygons.json" if polygons else "coco.json")
    # Annotation by annotation, on one line: those of COCO's 82,081 images would take gigabytes in memory.
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(head[:-1] + ', "annotations": [')
        for number, (image, mask) in enumerate(read, start=1):
            images.append({"id": number, "file_name": image, "width": mask.shape[1], "height": mask.shape[0]})
            for value, region in _regions(mask):
                annotation = {"id": written + 1, "image_id": number, **_annotation(value, region, polygons)}
                file.write((", " if written else "") + json.dumps(annotation))
                written += 1
        file.write(f'], "images": {json.dumps(images, ensure_ascii=False)}}}')
    return path, written


def _annotation(value: int, region: np.ndarray, polygons: bool) -> dict[str, Any]:
    packed = pycocotools.mask.encode(np.asfortranarray(region.astype(np.uint8)))
    outlines = [outline.ravel().tolist() for outline in region_polygons(region)] if polygons else []
    return {
        "category_id": value,
        "segmentation": outlines or {"size": list(region.shape), "counts": packed["counts"].decode("ascii")},
        "area": int(region.sum()),
        "bbox": pycocotools.mask.toBbox(packed).tolist(),
        "iscrowd": 0,
    }


def export_yolo(masks: MaskSet, read: Read, output: Path) -> tuple[Path, int]:
    """`yolo/labels/NAME.txt`, a line `CLASS x1 y1 x2 y2 ...` (0..1) for each polygon, and `data.yaml`.

    YOLO finds a label file by its image's name under `images/`, without suffix.
    """
    folder, written = output / "yolo", 0
    for name, (_, mask) in zip(_yolo_names(masks), read, strict=True):
        height, width = mask.shape
        lines = []
        for value, region in _regions(mask):
            for outline in region_polygons(region):
                points = (outline / (width, height)).ravel()
                lines.append(f"{value - 1} " + " ".join(f"{point:.{DECIMALS}f}" for point in points) + "\n")
        write_text(folder / f"labels/{name}.txt", "".join(lines))
        written += len(lines)
    write_text(folder / "data.yaml", _yolo_table(masks))
    return folder, written


def _yolo_names(masks: MaskSet) -> list[str]:
    return [str(PurePosixPath(mask.image).with_suffix("")) for mask in masks.masks]


def _yolo_table(masks: MaskSet) -> str:
    classes = {value - 1: name for value, name in sorted(masks.class_names.items())}
    about = {"path": ".", "train": "images", "val": "images", "names": classes}
    return yaml.safe_dump(about, allow_unicode=True, sort_keys=False)


def _check_yolo(masks: MaskSet, output: Path) -> None:
    names, folder = _yolo_names(masks), output / "yolo"
    name, count = Counter(names).most_common(1)[0] if names else ("", 0)
    if count > 1:
        what = f"two images are named {name} but for their suffix"
        raise UserError(f"--export yolo: {what}, and YOLO would look for one label file for both; rename one")
    table, labels = folder / "data.yaml", folder / "labels"
    if table.is_file() and table.read_text(encoding="utf-8") != _yolo_table(masks):
        there = {path.relative_to(labels).with_suffix("").as_posix() for path in labels.rglob("*.txt")}
        if others := sorted(there - {*names}):
            what = f"{labels} holds {len(others)} files of other images and other classes, first {others[0]}.txt"
            raise UserError(f"--export yolo: {what}; remove {folder}, or choose another --output")


def export_voc(masks: MaskSet, read: Read, output: Path) -> tuple[Path, int]:
    """`voc_server.tgz`: palette PNG of VOC's 20 classes, 255 made background."""
    path = output / "voc_server.tgz"
    with atomic_path(path) as temporary, tarfile.open(temporary, "w:gz") as archive:
        for entry, (_, mask) in zip(masks.masks, read, strict=True):
            scratch = path.with_name(f".{entry.name}.png")
            write_mask(scratch, np.where(mask == IGNORE, 0, mask))
            member = tarfile.TarInfo(f"{VOC_FOLDER}/{entry.name}.png")  # without owner and time
            member.size = scratch.stat().st_size
            with scratch.open("rb") as file:
                archive.addfile(member, file)
            scratch.unlink()
    return path, len(masks.masks)


def _check_voc(masks: MaskSet, _: Path) -> None:
    if tuple(masks.class_names.values()) != VOC_CLASSES:
        found = f"these have {', '.join(list(masks.class_names.values())[:5])}, ...; export them as coco or yolo"
        own = f"masks of its own {len(VOC_CLASSES)} classes in its own order"
        raise UserError(f"--export voc: the VOC server takes {own}; {found}")
    if below := [entry.path for entry in masks.masks if "/" in entry.name]:
        raise UserError(f"--export voc: {below[0]} lies in a sub-folder; expected names such as 2008_000001")


# Name -> a function that raises where masks cannot be written so.
CHECKS: dict[str, Callable[[MaskSet, Path], None]] = {"yolo": _check_yolo, "voc": _check_voc}
# Name -> a function that writes masks and returns the file or folder, and the number of annotations.
FORMATS: dict[str, Callable[[MaskSet, Read, Path], tuple[Path, int]]] = {
    "coco": export_coco,
    "coco-polygons": partial(export_coco, polygons=True),
    "yolo": export_yolo,
    "voc": export_voc,
}


def _read_all(masks: MaskSet, counter: Counter[str], title: str) -> Read:
    for entry in progress(masks.masks, len(masks.masks), title):
        mask = read_mask(entry.path)
        if strange := sorted(set(np.unique(mask).tolist()) - {0, IGNORE, *masks.class_names}):
            known = f"the values {min(masks.class_names)}..{max(masks.class_names)}" if masks.class_names else "none"
            remedy = "name the classes in the order of the mask values with --classes"
            raise UserError(f"mask {entry.path} has value {strange[0]}, which no class has ({known}); {remedy}")
        counter.update(ignored=int((mask == IGNORE).sum()), pixels=mask.size)
        yield entry.image, mask


def _regions(mask: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for value in np.unique(mask).tolist():
        if 0 < value < IGNORE:
            yield value, mask == value


def main() -> None:
    """The command."""
    parser = script_parser(__doc__)
    add = parser.add_argument
    add("masks", type=Path, metavar="MASKS", help="a folder of masks ID.png, or one that infer.py wrote")
    add("--export", required=True, metavar="A,B", help=f"formats: {', '.join(FORMATS)}")
    add("--output", required=True, type=Path, metavar="FOLDER", help="where the files go")
    add("--classes", default="", metavar="A,B", help="names in the order of the values from 1 (default: the run's)")
    add("--images", type=Path, metavar="FOLDER", help="images, for their file names (default: NAME.jpg)")
    args = parser.parse_args()
    formats = parse_formats(args.export, tuple(FORMATS))
    classes = [name.strip() for name in args.classes.split(",") if name.strip()]
    masks = open_mask_set(args.masks, classes, args.images)
    print(export_masks(masks, formats, args.output))


if __name__ == "__main__":
    sys.exit(run_script(main))
