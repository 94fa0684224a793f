"""A few training images are held back, so that a classifier can be evaluated without any mask."""

import dataclasses

import numpy as np

from data.dataset import Index


def hold_back(index: Index, share: float, seed: int) -> tuple[Index, Index]:
    """Split an index into the images to train with and those held back.

    Of the images with the same labels the same part is held back, rounded down, so that rare classes keep theirs.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for position, record in enumerate(index.records):
        groups.setdefault(record.labels, []).append(position)
    random = np.random.default_rng(seed)
    held: set[int] = set()
    for _, positions in sorted(groups.items()):
        held.update(random.permutation(positions)[: int(share * len(positions))].tolist())
    parts = ([r for n, r in enumerate(index.records) if (n in held) is is_held] for is_held in (False, True))
    kept, rest = (dataclasses.replace(index, records=tuple(records)) for records in parts)
    return kept, rest
