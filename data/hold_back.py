"""A few training images are held back, so that a classifier can be evaluated without any mask."""

import dataclasses

import numpy as np

from data.dataset import Index

NONE = -1  # images without any class, as a class


def hold_back(index: Index, share: float, seed: int) -> tuple[Index, Index]:
    """Split an index into the images to train with and those held back.

    Of each class, and of the images without any, that share is held back, rounded down, so that rare classes keep
    theirs. The rarest come first: an image of several classes counts for each of them.
    """
    by_class: dict[int, list[int]] = {}
    for position, record in enumerate(index.records):
        for label in record.labels or (NONE,):
            by_class.setdefault(label, []).append(position)
    random = np.random.default_rng(seed)
    wanted = {label: int(share * len(positions)) for label, positions in by_class.items()}
    held: set[int] = set()
    for label in sorted(by_class, key=lambda one: (len(by_class[one]), one)):
        for position in random.permutation(by_class[label]).tolist():
            labels = index.records[position].labels or (NONE,)
            if wanted[label] > 0 and position not in held and all(wanted[one] > 0 for one in labels):
                held.add(position)
                wanted.update({one: wanted[one] - 1 for one in labels})
    parts = ([r for n, r in enumerate(index.records) if (n in held) is is_held] for is_held in (False, True))
    kept, rest = (dataclasses.replace(index, records=tuple(records)) for records in parts)
    return kept, rest
