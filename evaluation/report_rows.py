"""Which files of a run the page shows as images, in order."""

from dataclasses import dataclass
from typing import Any

from evaluation.predictions import BLURRED, GIVEN, PREDICTED, RUNGS
from evaluation.report import BLUR_TRAINING, walk_title
from stages.files import (
    FUSED,
    FUSED_LADDER,
    LADDER,
    PARTED,
    PREDICTIONS,
    PSEUDO,
    PSEUDO_LADDER,
    SEEDS,
    WALKED,
    WALKED_LADDER,
)
from utils.config import Config


@dataclass(frozen=True)
class ShownRow:
    """Files of one kind, one or more for each image."""

    title: str  # what the page calls them
    folder: str  # of the run folder, with `ID.npz` (maps), `ID.png` (a mask) or `ID.1.webp`, `ID.2.webp`, ... (images)
    as_map: bool = False  # whether maps are shown as maps
    threshold: float | None = None  # where maps are cut into a mask; None shows no mask of them


def validation_rows(cfg: Config, figures: dict[str, Any]) -> list[ShownRow]:
    """What `report.json` has figures of. The first and the last maps are shown as maps, too."""
    rows = [(title, f"{LADDER}/{key}") for key, title in RUNGS.items()]
    rows += [(f"+ {BLUR_TRAINING}", f"{FUSED_LADDER}/{GIVEN}"), (f"+ {walk_title(cfg)}", f"{WALKED_LADDER}/{GIVEN}")]
    rows += [("pseudo masks", PSEUDO_LADDER), ("segmentation, predicted labels", f"{PREDICTIONS}/{PREDICTED}")]
    found = [(title, folder, figures[title]["threshold_best"]) for title, folder in rows if title in figures]
    maps = [title for title, _, threshold in found if threshold is not None]
    ends = (*maps[:1], *maps[-1:])
    shown = [ShownRow(title, folder, title in ends, threshold) for title, folder, threshold in found]
    return [*shown, ShownRow("blurred image, round", f"{LADDER}/{BLURRED}")]


def training_rows() -> list[ShownRow]:
    """What the stages make for the images of the training list."""
    return [
        ShownRow("seed", SEEDS, as_map=True),
        ShownRow("seed without context", PARTED, as_map=True),
        ShownRow("seed after training on blurred images", FUSED, as_map=True),
        ShownRow("seed after the walk", WALKED, as_map=True),
        ShownRow("pseudo mask", PSEUDO),
    ]
