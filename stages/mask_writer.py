"""Seed files -> mask files, refined by the colours of the images; several stages and the report share it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data.artifacts import count_pixels, read_mask, read_seed, write_mask
from data.dataset import Index, Record
from data.index import class_palette
from models.pseudo import upsample
from stages.lists import other_masks, without_file
from stages.refinement import mask_of
from stages.settings import Config, PseudoSettings
from stages.space import require_image_space
from utils.distributed import total
from utils.reading import read_once

Make = Callable[[Record, Tensor, Tensor], Tensor]  # record, maps (K, H, W), classes (K,) -> mask (H, W) uint8


@dataclass(frozen=True)
class SeedMasks(Dataset):
    """Position in the list -> (name, mask), for loader processes.

    Attributes:
        seeds: their folder.
        make: makes a mask of the maps of a seed, at image size.
    """

    index: Index
    seeds: Path
    make: Make

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[str, Tensor]:
        record = self.index.records[position]
        seed = read_seed(self.seeds / f"{record.name}.npz", self.index.class_names)
        maps = upsample(torch.from_numpy(seed.maps), seed.size)
        return record.name, self.make(record, maps, torch.from_numpy(seed.classes))


def write_masks(
    masks: SeedMasks, target: Path, workers: int, title: str, palette: np.ndarray | None = None
) -> dict[str, Any]:
    """Write the masks `ID.png` of a list; existing files are kept.

    Returns:
        How many were `written`, and the parts of all masks' pixels that are background and ignored.
    """
    index = masks.index
    missing = without_file(index, target, ".png")
    require_image_space(target, index, missing, masks=1)
    counts = count_pixels(read_mask(path, index.class_names) for path in other_masks(index, missing, target))
    for name, mask in read_once(masks, missing, workers, title):
        write_mask(target / f"{name}.png", mask.numpy(), palette, index.class_names)
        counts += count_pixels([mask.numpy()])
    background, ignored, pixels = total(torch.from_numpy(counts)).tolist()
    shares = {"background_share": background / pixels, "ignored_share": ignored / pixels} if pixels else {}
    return {"written": len(missing), **shares}


def write_pseudo_masks(cfg: Config, index: Index, source: Path, target: Path) -> dict[str, Any]:
    """Turn the seed files of `source` into masks of `target`, as `write_masks` does."""
    masks = SeedMasks(index, source, partial(_pseudo_mask, cfg.pseudo))
    return write_masks(masks, target, cfg.workers, "pseudo", class_palette(cfg.data, index.class_names))


def _pseudo_mask(settings: PseudoSettings, record: Record, maps: Tensor, classes: Tensor) -> Tensor:
    return mask_of(maps, classes, settings, lambda: np.array(record.read_image()))
