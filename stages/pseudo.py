"""Stage `pseudo`: seeds, as the steps before it have left them -> pseudo masks."""

from typing import Any

from data.hints import open_hints
from stages.dataset_steps import LastSeeds
from stages.files import PSEUDO
from stages.hints import sentence
from stages.learned import pseudo_warnings, tell
from stages.lists import seed_index
from stages.mask_writer import write_pseudo_masks
from stages.settings import Config
from stages.threshold import choose_threshold
from utils.distributed import from_main
from utils.run import Run


def make_pseudo_masks(seeds: LastSeeds, cfg: Config, run: Run) -> dict[str, Any]:
    """Write `pseudo/ID.png` for the seed list; files that are there already are kept."""
    index = seed_index(cfg)
    source = run.path(seeds(cfg))
    target = run.fresh_folder(PSEUDO)
    cfg, chosen = choose_threshold(cfg, run, index, source)
    hints = open_hints(cfg.data, index)
    used = sentence(cfg, hints)
    notes = {"chosen": [*chosen.pop("chosen", []), *used.pop("chosen", [])]} if chosen or used else {}
    written = write_pseudo_masks(cfg, index, source, target, hints)
    warned = tell(run, "pseudo", from_main(lambda: pseudo_warnings(index, target)))
    return {"images": len(index), **written, **chosen, **used, **notes, **warned}
