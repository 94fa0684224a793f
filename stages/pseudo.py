"""Stage `pseudo`: seeds, as the steps before it have left them -> pseudo masks."""

from typing import Any

from stages.config import Config
from stages.dataset_steps import LastSeeds
from stages.files import PSEUDO
from stages.lists import list_complete, seed_index
from stages.mask_writer import write_pseudo_masks
from utils.run import Run


def make_pseudo_masks(seeds: LastSeeds, cfg: Config, run: Run) -> dict[str, Any]:
    """Write `pseudo/ID.png` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    source = run.path(seeds(cfg))
    return {"images": len(index), **write_pseudo_masks(cfg, index, source, run.fresh_folder(PSEUDO))}


def pseudo_complete(cfg: Config, run: Run) -> bool:
    """Whether every image of the list has its mask."""
    return list_complete(cfg, run.path(PSEUDO), ".png")
