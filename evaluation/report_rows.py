"""Which files of a run the page shows as images, in order."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluation.ablation import GIVEN, PREDICTED, SHOWN
from evaluation.report import PSEUDO_ROW
from evaluation.rows import method_rows, step_rows
from stages.config import Config
from stages.dataset_steps import used_steps
from stages.files import ABLATION, CHANGED_ABLATION, PREDICTIONS, PSEUDO, PSEUDO_ABLATION, SEEDS


@dataclass(frozen=True)
class ShownRow:
    """Files of one kind, one or more for each image."""

    title: str  # what the page calls them
    folder: str  # of the run folder, with `ID.npz` (maps), `ID.png` (a mask) or `ID.1.webp`, `ID.2.webp`, ... (images)
    as_map: bool = False  # whether maps are shown as maps
    threshold: float | None = None  # where maps are cut into a mask; None shows no mask of them


def validation_rows(cfg: Config, figures: dict[str, Any]) -> list[ShownRow]:
    """What `report.json` has figures of. The first and the last maps are shown as maps, too."""
    seeds = method_rows(cfg, Path(ABLATION)) + [
        step_rows(step, Path(CHANGED_ABLATION))[GIVEN] for step in used_steps(cfg)
    ]
    rows = [(row.title, str(row.folder)) for row in seeds if row.labels == GIVEN]
    rows += [(PSEUDO_ROW, PSEUDO_ABLATION), ("segmentation, predicted labels", f"{PREDICTIONS}/{PREDICTED}")]
    found = [(title, folder, figures[title]["threshold_best"]) for title, folder in rows if title in figures]
    maps = [title for title, _, threshold in found if threshold is not None]
    ends = (*maps[:1], *maps[-1:])
    shown = [ShownRow(title, folder, title in ends, threshold) for title, folder, threshold in found]
    return shown + [ShownRow(f"{step.title}: image", f"{ABLATION}/{SHOWN}/{step.name}") for step in cfg.steps]


def training_rows(cfg: Config) -> list[ShownRow]:
    """What the stages make for the images of the training list."""
    steps = [ShownRow(f"seed + {step.title}", step.folder, as_map=True) for step in used_steps(cfg)]
    return [ShownRow("seed", SEEDS, as_map=True), *steps, ShownRow("pseudo mask", PSEUDO)]
