"""Stage `pseudo`: seeds, walked ones where there is a walk -> pseudo masks."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.artifacts import IGNORE, read_seed, write_mask
from data.dataset import Index
from data.images import read_image
from data.index import class_palette
from models.pseudo import pseudo_mask, upsample
from stages.lists import seed_index
from stages.refinement import refiner
from stages.seeds import FOLDER as SEEDS
from stages.walk import FOLDER as WALKED
from utils.config import Config, PseudoConfig
from utils.engine import progress
from utils.files import is_whole
from utils.run import Run

FOLDER = "pseudo"


def make_pseudo_masks(cfg: Config, run: Run) -> dict[str, Any]:
    """Write `pseudo/ID.png` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    source = run.path(SEEDS if cfg.affinity.kind == "none" else WALKED)
    return {"pictures": len(index), **write_pseudo_masks(cfg, index, source, run.fresh_folder(FOLDER))}


def write_pseudo_masks(cfg: Config, index: Index, source: Path, target: Path) -> dict[str, Any]:
    """Turn the seed files of `source` into masks `ID.png` of `target`; those that are there already are kept.

    Returns:
        How many were `written`, and of their pixels the shares that are background and ignored.
    """
    missing = [number for number, record in enumerate(index.records) if not is_whole(target / f"{record.name}.png")]
    masks = _Masks(index, missing, source, cfg.pseudo)
    loader = DataLoader(masks, batch_size=None, num_workers=min(cfg.workers, len(missing)))
    palette = class_palette(cfg.data, index.class_names)
    background = ignored = pixels = 0
    for name, mask in progress(loader, len(missing), "pseudo"):
        write_mask(target / f"{name}.png", mask.numpy(), palette)
        background += int((mask == 0).sum())
        ignored += int((mask == IGNORE).sum())
        pixels += mask.numel()
    shares = {"background_share": background / pixels, "ignored_share": ignored / pixels} if pixels else {}
    return {"written": len(missing), **shares}


def pseudo_complete(cfg: Config, run: Run) -> bool:
    """Whether every picture of the list has its mask."""
    return all(is_whole(run.path(FOLDER, f"{record.name}.png")) for record in seed_index(cfg).records)


class _Masks(Dataset):
    """Work items `(name, mask)`, so that loader processes share the work; refinement is the costly part."""

    def __init__(self, index: Index, positions: list[int], seeds: Any, settings: PseudoConfig):
        self.index, self.positions, self.seeds, self.settings = index, positions, seeds, settings

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, number: int) -> tuple[str, torch.Tensor]:
        record = self.index.records[self.positions[number]]
        seed = read_seed(self.seeds / f"{record.name}.npz")
        maps = upsample(torch.from_numpy(seed.maps), seed.size)
        refinement = None
        if self.settings.refine != "none" and len(seed.classes):
            refinement = refiner(self.settings.refine, self.settings, np.array(read_image(record.image)))
        return record.name, pseudo_mask(
            maps, torch.from_numpy(seed.classes), background=self.settings.background, threshold=self.settings.threshold,
            power=self.settings.power, ignore_band=self.settings.ignore_band, refiner=refinement,
        )  # fmt: skip
