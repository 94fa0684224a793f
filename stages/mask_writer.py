"""Seed files -> mask files, refined by the colours of the images; several stages and the report share it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from data.artifacts import count_pixels, read_mask, read_seed, write_mask
from data.dataset import Index
from data.index import class_palette
from models.pseudo import upsample
from stages.config import Config
from stages.lists import other_masks, without_file
from stages.refinement import mask_of
from stages.settings import PseudoSettings
from stages.space import require_image_space
from utils.distributed import total
from utils.reading import read_once


def write_masks(
    masks: Dataset, index: Index, target: Path, workers: int, title: str, palette: np.ndarray | None = None
) -> dict[str, Any]:
    """Write the masks `ID.png` of a list; existing files are kept.

    Args:
        masks: position in the list -> (name, mask), so that loader processes share the work.
        title: of the progress bar.

    Returns:
        How many were `written`, and the parts of all masks' pixels that are background and ignored.
    """
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
    masks, palette = _Masks(index, source, cfg.pseudo), class_palette(cfg.data, index.class_names)
    return write_masks(masks, index, target, cfg.workers, "pseudo", palette)


class _Masks(Dataset):
    """Work items `(name, mask)`; the refinement is the slow part."""

    def __init__(self, index: Index, seeds: Path, settings: PseudoSettings):
        self.index, self.seeds, self.settings = index, seeds, settings

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[str, torch.Tensor]:
        record = self.index.records[position]
        seed = read_seed(self.seeds / f"{record.name}.npz", self.index.class_names)
        maps, classes = upsample(torch.from_numpy(seed.maps), seed.size), torch.from_numpy(seed.classes)
        return record.name, mask_of(maps, classes, self.settings, lambda: np.array(record.read_image()))
