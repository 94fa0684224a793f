"""Stage `pseudo`: seed files -> mask files, refined by colours; other stages and the report share its parts."""

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
from data.hints import NO_HINTS, Hints, open_hints
from data.index import class_palette
from models.hints import ImageHints
from models.pseudo import upsample
from stages.files import PSEUDO
from stages.hints import image_hints_of
from stages.learned import pseudo_warnings, tell
from stages.lists import seed_index, without_file
from stages.refinement import mask_of
from stages.settings import Config, PseudoSettings
from stages.threshold import choose_threshold
from utils.distributed import from_main, is_main, total
from utils.reading import read_once
from utils.run import Run

# Record, maps (K, H, W), classes (K,), hints of the image -> mask (H, W) uint8
Make = Callable[[Record, Tensor, Tensor, ImageHints | None], Tensor]


def make_pseudo_masks(seeds: Callable[[Config], str], cfg: Config, run: Run) -> dict[str, Any]:
    """Write `pseudo/ID.png` of the seeds in the folder `seeds(cfg)`; files that are there already are kept."""
    index = seed_index(cfg)
    source, target = run.path(seeds(cfg)), run.fresh_folder(PSEUDO)
    hints = open_hints(cfg.data, index)
    cfg, chosen, sentences = choose_threshold(cfg, run, index, source, hints)
    if hints:
        chosen["hinted_images"] = len(hints.images)
        sentences.append(f"hints of {cfg.data.hints} were used: {hints}")
    if sentences:
        chosen["chosen"] = sentences
    written = write_pseudo_masks(cfg, index, source, target, hints)
    warned = tell(run, "pseudo", from_main(lambda: pseudo_warnings(index, target)))
    return {"images": len(index), **written, **chosen, **warned}


@dataclass(frozen=True)
class SeedMasks(Dataset):
    """Position in the list -> (name, mask), for loader processes."""

    index: Index
    seeds: Path  # their folder
    make: Make  # makes a mask of the maps of a seed, at image size
    hints: Hints = NO_HINTS

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> tuple[str, Tensor]:
        record = self.index.records[position]
        seed = read_seed(self.seeds / f"{record.name}.npz", self.index.class_names)
        maps = upsample(torch.from_numpy(seed.maps), seed.size)
        hints = image_hints_of(self.hints, record.name, seed)
        return record.name, self.make(record, maps, torch.from_numpy(seed.classes), hints)


def write_masks(
    masks: SeedMasks, target: Path, workers: int, title: str, palette: np.ndarray | None = None
) -> dict[str, Any]:
    """Write the masks `ID.png` of a list that are missing; how many, and shares of background and ignored pixels."""
    index = masks.index
    missing = without_file(index, target, ".png")
    # The main process counts those that an earlier call has written.
    earlier = sorted(set(range(len(index))) - set(missing)) if is_main() else []
    paths = (target / f"{index.records[position].name}.png" for position in earlier)
    counts = count_pixels(read_mask(path, index.class_names) for path in paths)
    for name, mask in read_once(masks, missing, workers, title):
        write_mask(target / f"{name}.png", mask.numpy(), palette, index.class_names)
        counts += count_pixels([mask.numpy()])
    background, ignored, pixels = total(torch.from_numpy(counts)).tolist()
    shares = {"background_share": background / pixels, "ignored_share": ignored / pixels} if pixels else {}
    return {"written": len(missing), **shares}


def write_pseudo_masks(
    cfg: Config, index: Index, source: Path, target: Path, hints: Hints = NO_HINTS
) -> dict[str, Any]:
    """Turn the seed files of `source` into masks of `target`, as `write_masks` does."""
    masks = SeedMasks(index, source, partial(_mask, cfg.pseudo), hints)
    return write_masks(masks, target, cfg.workers, "pseudo", class_palette(cfg.data, index.class_names))


def _mask(settings: PseudoSettings, record: Record, maps: Tensor, classes: Tensor, hints: ImageHints | None) -> Tensor:
    return mask_of(maps, classes, settings, lambda: np.array(record.read_image()), hints)
