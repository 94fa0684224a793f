"""The numbers of metrics.jsonl as TensorBoard events, where the package `tensorboard` is installed.

    tensorboard --logdir runs/NAME/tensorboard          or runs/, to compare

Nothing depends on them: metrics.jsonl is the record, events are for looking.
"""

import importlib.util
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"


def tensorboard_installed() -> bool:
    """Whether events can be written."""
    return importlib.util.find_spec("tensorboard") is not None


class Events:
    """Writers of a run's events, one a stage; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.writers: dict[str, Any] = {}
        self.enabled = tensorboard_installed()

    def add(self, stage: str, values: dict[str, float]) -> None:
        """Add the numbers of an epoch; `step` among them is the horizontal axis."""
        if not self.enabled:
            return
        step = int(values.get("step", 0))
        if stage not in self.writers:
            # Imported here: it takes a second, and most calls of the scripts train nothing.
            from torch.utils.tensorboard import SummaryWriter

            # What a stopped or repeated training has written from this step on is hidden.
            self.writers[stage] = SummaryWriter(str(self.folder / FOLDER / stage), purge_step=step)
        for name, value in values.items():
            if name not in ("step", "time"):
                self.writers[stage].add_scalar(name, value, step)
        self.writers[stage].flush()

    def close(self) -> None:
        """Close the files; a later `add` opens new ones."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
