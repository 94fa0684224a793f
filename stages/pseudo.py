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

from data.artifacts import read_seed, write_mask
from data.dataset import Index, Record
from data.hints import NO_HINTS, Hints, open_hints
from data.index import class_palette
from models.hints import ImageHints
from models.pseudo import pseudo_mask, upsample
from models.refinement import dense_crf, par
from stages.files import PSEUDO, seed_index, without_file
from stages.hints import image_hints_of
from stages.learned import pseudo_warnings, tell
from stages.settings import Config, PseudoSettings
from stages.threshold import choose_threshold
from utils.distributed import from_main
from utils.reading import read_once
from utils.run import Run

ReadImage = Callable[[], np.ndarray]  # -> (H, W, 3) uint8; called only where colours are needed
# Record, maps (K, H, W), classes (K,), hints of the image -> mask (H, W) uint8
Make = Callable[[Record, Tensor, Tensor, ImageHints | None], Tensor]
# Name -> (3, H, W) uint8 image, (..., L, H, W) probabilities that sum to 1 over L, settings -> such probabilities.
REFINEMENTS: dict[str, Callable[[Tensor, Tensor, PseudoSettings], Tensor]] = {
    "par": lambda image, scores, settings: par(image, scores, settings.par_iterations, max_side=settings.par_side),
    "crf": lambda image, scores, settings: dense_crf(image, scores, settings.crf_iterations),
}


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
    return {"images": len(index), "written": written, **chosen, **warned}


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


def write_masks(masks: SeedMasks, target: Path, workers: int, title: str, palette: np.ndarray | None = None) -> int:
    """Write the masks `ID.png` of a list that are missing; returns how many."""
    missing = without_file(masks.index, target, ".png")
    for name, mask in read_once(masks, missing, workers, title):
        write_mask(target / f"{name}.png", mask.numpy(), palette, masks.index.class_names)
    return len(missing)


def write_pseudo_masks(cfg: Config, index: Index, source: Path, target: Path, hints: Hints = NO_HINTS) -> int:
    """Turn the seed files of `source` into masks of `target`, as `write_masks` does."""
    masks = SeedMasks(index, source, partial(_mask, cfg.pseudo), hints)
    return write_masks(masks, target, cfg.workers, "pseudo", class_palette(cfg.data, index.class_names))


def _mask(settings: PseudoSettings, record: Record, maps: Tensor, classes: Tensor, hints: ImageHints | None) -> Tensor:
    return mask_of(maps, classes, settings, lambda: np.array(record.read_image()), hints)


def refiner(kind: str, settings: PseudoSettings, image: np.ndarray) -> Callable[[Tensor], Tensor] | None:
    """The refinement of that name for one (H, W, 3) uint8 image, or None where `kind` is none."""
    if kind == "none":
        return None
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    return lambda probabilities: REFINEMENTS[kind](pixels, probabilities, settings)


def mask_of(
    maps: Tensor, classes: Tensor, settings: PseudoSettings, read: ReadImage, hints: ImageHints | None = None
) -> Tensor:
    """The mask (H, W) of maps (K, H, W), which contradicts no hint; `read` gives the image whose colours refine it."""
    is_refined = settings.refine != "none" and len(classes) > 0
    refinement = refiner(settings.refine, settings, read()) if is_refined else None
    if hints is not None:
        maps = hints.hold_to_cut(maps)
        refinement = hints.hold_around(refinement)
    cut = {name: getattr(settings, name) for name in ("background", "threshold", "power", "ignore_band")}
    mask = pseudo_mask(maps, classes, refiner=refinement, **cut)
    return mask if hints is None else hints.hold_mask(mask, maps)
