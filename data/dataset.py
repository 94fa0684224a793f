"""What every dataset is: an `Index` of records, and the torch datasets that read them.

A format's module (`voc`, `coco`, `folder`, `shapes`) only makes an index; reading images is the same for all. Masks
are evaluation truth: an index has their paths only if it was opened with `masks=True`, and no training path does that.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset, Sampler

from data.artifacts import read_mask
from data.faults import counted
from data.images import read_image
from data.mask_values import AS_IS, TruthRule, read_truth
from data.pixels import AUTO, PixelRule
from data.transforms import RandomCrop
from utils.errors import UserError
from utils.file_digests import digest_files
from utils.files import digest
from utils.ignore import IGNORE
from utils.names import fault_of, shown

logger = logging.getLogger(__name__)

MAX_CLASSES = 254  # mask values: 0 is the background, 255 is ignore


class NoTruth(UserError):
    """There is no truth to evaluate with, which is no mistake where only training was asked for."""


@dataclass(frozen=True)
class Record:
    """One image."""

    name: str  # unique in the index, usable as a relative path without suffix
    image: Path
    labels: tuple[int, ...]  # indices into `Index.class_names`, sorted; background has none
    mask: Path | None = None  # the truth, only where it was asked for
    pixels: PixelRule = AUTO  # what the values of the image mean; one rule for a data set
    truth: TruthRule = AS_IS  # and those of the mask

    def read_image(self) -> Image.Image:
        """The image as 8-bit RGB, upright; `UnreadableImage` where it cannot be read."""
        return read_image(self.image, rule=self.pixels)

    def read_truth(self) -> np.ndarray:
        """(H, W) uint8 class values of the mask; `UserError` where there is none, or it cannot be read."""
        if self.mask is None:
            raise UserError(f"image '{self.name}' has no truth; evaluation needs a mask for each image of the list")
        return read_truth(self.mask, self.truth, self.labels)


@dataclass(frozen=True)
class Index:
    """The images of one list, and the names of the C foreground classes; class c has value c + 1 in masks."""

    class_names: tuple[str, ...]
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()  # what was found in the data folder and not taken, for people

    def __len__(self) -> int:
        return len(self.records)

    def fingerprint(self, cache: Path | None = None) -> str:
        """Changes with the classes, names, labels and contents of images; where the index has masks, with theirs.

        `cache` is a file that keeps the digests of contents (utils/file_digests.py). A missing image is a `UserError`.
        """
        images = digest_files([record.image for record in self.records], cache)
        if "" in images:
            missing = self.records[images.index("")].image
            raise UserError(f"image {missing} does not exist, though it is listed; check data.root and the list")
        first: dict[str, Record] = {}
        both = zip(images, self.records, strict=True)
        other = [str(one.image) for content, one in both if first.setdefault(content, one).labels != one.labels]
        remedy = "keep one; an image of several classes needs a table of labels, with rows such as 1.jpg,cat;dog"
        for note in counted("images", "files with the bytes of another, and other labels", other, remedy):
            logger.warning("%s", note)
        names, labels = [record.name for record in self.records], [record.labels for record in self.records]
        masks = {record.name: record.mask for record in self.records if record.mask is not None}
        truth = dict(zip(masks, digest_files([*masks.values()], cache), strict=True))
        rules = {repr(record.pixels) for record in self.records if record.pixels != AUTO}
        if masks:
            rules |= {repr(record.truth) for record in self.records if record.truth != AS_IS}
        return digest([self.class_names, names, labels, images, truth, *sorted(rules)])

    def without_truth(self) -> list[Record]:
        """The images whose mask is not there; all, where the index was opened without masks."""
        return [record for record in self.records if record.mask is None or not record.mask.is_file()]

    def label_counts(self) -> dict[str, int]:
        """Images by class name."""
        labels = np.array([label for record in self.records for label in record.labels], np.int64)
        counts = np.bincount(labels, minlength=len(self.class_names))
        return dict(zip(self.class_names, counts.tolist(), strict=True))


def check_index(index: Index, what: str) -> Index:
    """The index, if its classes fit into masks and its images have unique, safe names; a `UserError` names `what`."""
    if len(index.class_names) > MAX_CLASSES:
        most = f"masks of 8 bits hold at most {MAX_CLASSES}; name fewer in data.classes"
        raise UserError(f"{what} has {len(index.class_names)} classes; {most}")
    if twice := [name for name in index.class_names if index.class_names.count(name) > 1]:
        raise UserError(f"{what} has two classes called '{twice[0]}'; give each a name of its own")
    if not index.records:
        raise UserError(f"{what} has no images; give a list with at least one name")
    for record in index.records:
        if (fault := fault_of(record.name)) is not None:  # the last guard: readers name file and line
            raise UserError(f"{what} has an image {shown(record.name)}, whose name {fault}; rename it")
    name, count = Counter(record.name for record in index.records).most_common(1)[0]
    if count > 1:
        raise UserError(f"{what} names '{name}' twice; each image may be listed once")
    return index


def hold_back(index: Index, share: float, seed: int) -> tuple[Index, Index]:
    """Split an index into the images to train with and those held back to evaluate a classifier without any mask.

    Of each class, and of the images without any, that share is held back, rounded down. The rarest come first.
    """
    groups = [record.labels or (-1,) for record in index.records]  # -1: images without any class, as a class
    by_class: dict[int, list[int]] = {}
    for position, labels in enumerate(groups):
        for label in labels:
            by_class.setdefault(label, []).append(position)
    random = np.random.default_rng(seed)
    wanted = {label: int(share * len(positions)) for label, positions in by_class.items()}
    held: set[int] = set()
    for label in sorted(by_class, key=lambda one: (len(by_class[one]), one)):
        for position in random.permutation(by_class[label]).tolist():
            if wanted[label] > 0 and position not in held and all(wanted[one] > 0 for one in groups[position]):
                held.add(position)
                wanted.update({one: wanted[one] - 1 for one in groups[position]})
    kept = tuple(record for position, record in enumerate(index.records) if position not in held)
    return replace(index, records=kept), replace(index, records=tuple(index.records[n] for n in sorted(held)))


@dataclass(frozen=True)
class TrainingImages(Dataset):
    """Augmented crops with image-level labels; with `mask_folder`, also the *pseudo* masks that an earlier stage wrote.

    Indexed by a draw `(position, seed)` from `TrainingSampler`, so that augmentation depends on no worker and no rank.
    Items: `pixels` (S, S, 3) uint8 and `covered` (4,) int64, which the transform's `unpack` makes an image of, `labels`
    (C,) float, `name`; `mask` (S, S) uint8 where there is a mask folder, and `hints`, the same of what a person has
    said, where `values_of` is given: image's name -> (H, W) uint8, or None (data/hints.py).
    """

    index: Index
    transform: RandomCrop
    mask_folder: Path | None = None
    values_of: Callable[[str], np.ndarray | None] | None = None

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, draw: tuple[int, int]) -> dict[str, Any]:
        position, seed = draw
        record = self.index.records[position]
        image = record.read_image()
        mask = None
        if self.mask_folder is not None:
            path = self.mask_folder / f"{record.name}.png"
            values = check_fit(record, path, read_mask(path, self.index.class_names), image)
            mask = Image.fromarray(values)
            if self.values_of is not None:
                said = self.values_of(record.name)
                if said is None:
                    said = np.full_like(values, IGNORE)
                mask = Image.merge("LA", [mask, Image.fromarray(said)])
        item = self.transform(image, mask, np.random.default_rng(seed))
        return {**item, "labels": label_vector(record.labels, len(self.index.class_names)), "name": record.name}


@dataclass(frozen=True)
class WholeImages(Dataset):
    """Whole images as uint8 for stages that walk a list once.

    Items: `image` (3, H, W) uint8, `labels` (C,) float, `name`, and `mask` (H, W) int64 if the index has masks.
    """

    index: Index

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[position] for position in range(len(self)))

    def __getitem__(self, position: int) -> dict[str, Any]:
        record = self.index.records[position]
        image = record.read_image()
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        labels = label_vector(record.labels, len(self.index.class_names))
        item = {"image": pixels, "labels": labels, "name": record.name}
        if record.mask is not None:
            truth = check_fit(record, record.mask, record.read_truth(), image)
            item["mask"] = torch.from_numpy(truth.astype(np.int64))
        return item


class TrainingSampler(Sampler[tuple[int, int]]):
    """Draws `(position, seed)`: a new order each epoch, both from one seed, starting anywhere.

    Every epoch goes through the images `passes` times, in `passes * length // batch_size` whole batches; where the data
    has fewer images than a batch, batches are as large as the data.
    """

    def __init__(self, length: int, batch_size: int, seed: int, passes: int = 1):
        self.length, self.seed, self.passes = length, seed, passes
        self.batch_size = min(batch_size, length)  # of all processes together
        self.steps_per_epoch = passes * length // self.batch_size
        self.epoch, self.first_step = 0, 0
        self.split(0, 1)

    def split(self, rank: int, processes: int) -> None:
        """Give only what process `rank` takes of each batch: draws `rank`, `rank + processes`, ..."""
        self.rank, self.processes = rank, processes
        self.share = len(range(rank, self.batch_size, processes))  # of each batch

    def start(self, epoch: int, step: int = 0) -> None:
        """The next iteration is that epoch's, without its first `step` batches."""
        self.epoch, self.first_step = epoch, step

    def __len__(self) -> int:
        return (self.steps_per_epoch - self.first_step) * self.share

    def __iter__(self) -> Iterator[tuple[int, int]]:
        random = np.random.default_rng([self.seed, self.epoch])
        order = np.concatenate([random.permutation(self.length) for _ in range(self.passes)])
        seeds = random.integers(2**63, size=len(order))
        for step in range(self.first_step, self.steps_per_epoch):
            first = step * self.batch_size
            for position in range(first + self.rank, first + self.batch_size, self.processes):
                yield int(order[position]), int(seeds[position])


def label_vector(labels: tuple[int, ...], num_classes: int) -> torch.Tensor:
    """(C,) float, 1 for each class that the image has."""
    vector = torch.zeros(num_classes)
    vector[list(labels)] = 1.0
    return vector


def check_fit(record: Record, path: Path, mask: np.ndarray, image: Image.Image) -> np.ndarray:
    """The mask (H, W) itself, if it has the size of the record's image; else a `UserError` that names `path`."""
    if mask.shape != image.size[::-1]:
        sizes = f"{mask.shape[1]} x {mask.shape[0]} pixels, its image {record.image} has {image.width} x {image.height}"
        remedy = "make it again, or correct the size in the file of annotations that it is drawn from"
        raise UserError(f"mask {path} has {sizes}; a mask must fit its image, seen the right way up: {remedy}")
    return mask
