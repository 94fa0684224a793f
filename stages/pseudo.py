"""Stage `pseudo`: seeds, as the steps before it have left them -> pseudo masks."""

from typing import Any

from stages.dataset_steps import LastSeeds
from stages.files import PSEUDO
from stages.lists import seed_index
from stages.mask_writer import write_pseudo_masks
from stages.settings import Config
from stages.threshold import choose_threshold
from utils.run import Run


def make_pseudo_masks(seeds: LastSeeds, cfg: Config, run: Run) -> dict[str, Any]:
    """Write `pseudo/ID.png` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    source = run.path(seeds(cfg))
    target = run.fresh_folder(PSEUDO)
    cfg, chosen = choose_threshold(cfg, run, index, source)
    return {"images": len(index), **write_pseudo_masks(cfg, index, source, target), **chosen}
