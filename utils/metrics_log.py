"""metrics.jsonl of a run: one line of JSON an epoch, appended as training goes (docs/run_folder.md).

A stage that is trained again appends from epoch 1 on, so of two lines of one stage and epoch the later one counts.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from utils.errors import UserError
from utils.files import writing

EVENTS = "tensorboard"  # folder of the events, and the package that writes them


def append_metrics(path: Path, stage: str, values: dict[str, float]) -> None:
    """Add a line; it replaces a last line that was cut off."""
    line = json.dumps({"stage": stage, **values}) + "\n"
    with writing(path), path.open("ab+") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(line.encode())


def read_metrics(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The lines of each stage's last training, by stage, epochs ascending; nothing where there is no file.

    A last line that was cut off is left out; an earlier one that is no JSON is a `UserError`.
    """
    if not path.is_file():
        return {}
    found: dict[str, list[dict[str, Any]]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            stage, epoch = row["stage"], row["epoch"]
            if not isinstance(stage, str) or not isinstance(epoch, int):
                raise ValueError("a stage is a text, an epoch a whole number")
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            if number == len(lines):
                break
            what = f"expected JSON with stage and epoch, found '{line[:60]}' ({error})"
            raise UserError(f"{path}, line {number}: {what}; mend or delete the line") from error
        earlier = found.setdefault(stage, [])
        while earlier and earlier[-1]["epoch"] >= epoch:
            earlier.pop()
        earlier.append(row)
    return found


class Events:
    """Writers of a run's TensorBoard events, one a stage; does nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path):
        self.folder = folder / EVENTS
        self.writers: dict[str, Any] = {}
        self.enabled = importlib.util.find_spec(EVENTS) is not None

    def add(self, stage: str, values: dict[str, float]) -> None:
        """Add the numbers of an epoch; `step` among them is the horizontal axis."""
        if not self.enabled:
            return
        step = int(values.get("step", 0))
        if stage not in self.writers:
            # Imported here: it takes a second, and most calls of the scripts train nothing.
            from torch.utils.tensorboard import SummaryWriter

            # What a stopped or repeated training has written from this step on is hidden.
            self.writers[stage] = SummaryWriter(str(self.folder / stage), purge_step=step)
        for name, value in values.items():
            if name != "step":
                self.writers[stage].add_scalar(name, value, step)
        self.writers[stage].flush()

    def close(self) -> None:
        """Close the files; a later `add` opens new ones."""
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
