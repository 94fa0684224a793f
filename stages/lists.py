"""Which list a stage works on, which of its files are missing, and the fingerprint of a list."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.artifacts import Seed, read_seed
from data.dataset import Index
from data.index import open_index
from stages.settings import Config
from utils.distributed import from_main, is_main
from utils.files import is_whole
from utils.run import CONTENTS, Run


def seed_list(cfg: Config) -> str:
    """`data.seed_list`, or the training list where it is empty."""
    return cfg.data.seed_list or cfg.data.train_list


def seed_index(cfg: Config) -> Index:
    """The images that get seeds and pseudo masks; no masks among them."""
    return open_index(cfg.data, seed_list(cfg))


def without_file(index: Index, folder: Path, suffix: str) -> list[int]:
    """Positions of the images that have no whole file ID`suffix` in the folder; the same in all processes."""
    names = [f"{record.name}{suffix}" for record in index.records]
    return from_main(lambda: [position for position, name in enumerate(names) if not is_whole(folder / name)])


def list_complete(folder: str, suffix: str, cfg: Config, run: Run) -> bool:
    """Whether every image of the seed list has a whole file ID`suffix` in that folder of the run."""
    return all(is_whole(run.path(folder) / f"{record.name}{suffix}") for record in seed_index(cfg).records)


def evenly(index: Index, most: int) -> list[int]:
    """Positions of at most `most` images, evenly over the list."""
    return spread(range(len(index)), most)


def spread(positions: Sequence[int], most: int) -> list[int]:
    """At most `most` of some positions, evenly over them."""
    chosen = np.unique(np.linspace(0, len(positions) - 1, min(most, len(positions))).round().astype(int))
    return [positions[index] for index in chosen.tolist()]


def some_seeds(index: Index, folder: Path, most: int) -> Iterator[Seed]:
    """At most `most` seeds of a list, evenly over it, without those of images without classes."""
    for position in evenly(index, most):
        seed = read_seed(folder / f"{index.records[position].name}.npz")
        if len(seed.classes):
            yield seed


def list_fingerprint(cfg: Config, list_name: str, masks: bool = False) -> str:
    """Changes with the images or labels of the list; with `masks` (evaluation only) also with its truth."""
    return open_index(cfg.data, list_name, masks).fingerprint(Path(cfg.run) / CONTENTS)


def other_masks(index: Index, missing: Sequence[int], folder: Path) -> list[Path]:
    """The masks that an earlier call has written, in the main process; none in the others.

    Figures are of all masks, also if a stage was stopped.
    """
    left_out = set(missing if is_main() else range(len(index)))
    return [folder / f"{record.name}.png" for n, record in enumerate(index.records) if n not in left_out]
