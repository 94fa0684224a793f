"""A run folder (docs/run_folder.md): its log, the record of its stages (utils/pipeline.py runs them), its metrics.

metrics.jsonl has one line of JSON an epoch, appended as training goes. A stage that is trained again appends from epoch
1 on, so of two lines of one stage and epoch the later one counts.
"""

import contextlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from utils.console import NORMAL, say
from utils.distributed import barrier, from_main, is_main, world_size
from utils.errors import UserError
from utils.files import write_json, write_text, writing
from utils.settings import RunSettings

CONTENTS = "contents.json"  # digests of the files of the data (utils/file_digests.py)
RUN_SETTINGS, RUN_RECORD = "config.yaml", "stages.json"  # both lie in every run folder
EVENTS = "tensorboard"  # folder of the events, and the package that writes them
MARKER = ".fingerprint"  # in a folder of files: what these depend on
PACKAGES = ("torchvision", "timm", "numpy", "pillow", "opencv-python-headless", "opencv-python", "pydensecrf2")
PARENTS = 3  # a run folder's masks and seeds lie at most this deep in it
LATEST = 1e11  # seconds since 1970 that a time can be, in the year 5138


class Run:
    """One run folder: its files, its log, and what is known of its stages."""

    def __init__(self, cfg: RunSettings, command: Sequence[str] = ()):
        """Make or reopen the folder `cfg.run`; `UserError` if it cannot be written, or not all processes share it."""
        self.folder = Path(cfg.run)
        self.made_with: dict[str, Any] = {}  # what a stage's output owes to this machine; of the main process
        if is_main():
            _refuse_other_folders(self.folder)
            self.made_with = _describe()
            call = {"command": command, "started": datetime.now().isoformat(timespec="seconds"), "seed": cfg.seed}
            write_json(self.path("run.json"), call | self.made_with)
            write_text(self.folder / RUN_SETTINGS, cfg.to_yaml())
        record = self.path("run.json")
        written = from_main(record.read_text)
        if not record.is_file() or record.read_text() != written:
            what = "is not the same for all processes: run.json differs from that of the main one"
            remedy = "on several machines give a folder that they share with --run"
            raise UserError(f"the run folder {self.folder} {what}; {remedy}")
        self._open()

    @classmethod
    def reopen(cls, folder: str | Path) -> "Run":
        """A run as it is; nothing is written."""
        run = cls.__new__(cls)
        run.folder, run.made_with = Path(folder), {}
        run._open()
        return run

    def _open(self) -> None:
        self.stages = _read_stages(self.path(RUN_RECORD))
        self.begin("", "")  # no stage is running yet
        self.after_epoch: Callable[[], None] = lambda: None  # called when the figures of an epoch are recorded
        self.events = Events(self.folder)

    def begin(self, stage: str, fingerprint: str, look: str = "", **record: Any) -> None:
        """Note the running stage, and for its record what its output, and what its look depends on (`Stage.looks`)."""
        self.stage, self.fingerprint = stage, fingerprint + look
        noted = {name: value for name, value in {"look": look, **record}.items() if value != ""}
        self.begun = {"fingerprint": fingerprint, **noted}

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def log(self, message: str, level: int = NORMAL) -> None:
        """Append a line to `log.txt`, and print it where its level asks for that; in the main process."""
        if not is_main():
            return
        say(message, level)
        with writing(self.path("log.txt")), self.path("log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().isoformat(timespec='seconds')} {message}\n")

    def record(self, stage: str, **values: float) -> None:
        """Append named numbers to `metrics.jsonl` and to the events of TensorBoard; in the main process."""
        if not is_main():
            return
        append_metrics(self.path("metrics.jsonl"), stage, values)
        self.events.add(stage, values)
        self.after_epoch()

    def finish(self, stage: str, **entry: Any) -> None:
        """Note a stage as done, with its time and result, once the files of all processes are on the disk."""
        os.sync()
        barrier()
        entry = self.begun | entry
        self.stages.pop(stage, None)  # the stage that has ended last is the last one
        self.stages[stage] = from_main(lambda: entry | {"finished": time.time(), "made_with": self.made_with})
        self._write_stages()
        if is_main():
            self.path(f"{stage}.last.pth").unlink(missing_ok=True)
            self.events.close()

    def fresh_folder(self, name: str) -> Path:
        """A folder for the running stage's files: those of the same fingerprint are kept, others are removed first."""
        folder, marker = self.path(name), self.path(name, MARKER)
        if from_main(lambda: not marker.is_file() or _text_of(marker) != self.fingerprint):
            self.replace_output()
            if is_main():
                with writing(folder):
                    if folder.is_dir():
                        shutil.rmtree(folder)
                write_text(marker, self.fingerprint)
        barrier()
        return folder

    def replace_output(self) -> None:
        """Forget the record of other output; to be called just before the running stage replaces it."""
        known = self.stages.get(self.stage, self.begun)
        if any(known.get(name) != self.begun.get(name) for name in ("fingerprint", "look")):
            del self.stages[self.stage]
            self._write_stages()

    def forget(self, stage: str, fingerprint: str) -> None:
        """Treat a stage as never done, so that it is made again from the beginning."""
        self.stages.pop(stage, None)
        self._write_stages()
        if is_main():
            self.path(f"{stage}.last.pth").unlink(missing_ok=True)
            for marker in self._markers(fingerprint):
                marker.unlink()
        barrier()

    def has_begun(self, stage: str, fingerprint: str) -> bool:
        """Whether a stage that is not done has left something of this fingerprint to go on from."""
        return self.path(f"{stage}.last.pth").is_file() or bool(self._markers(fingerprint))

    def _markers(self, fingerprint: str) -> list[Path]:
        return [path for path in self.folder.glob(f"*/{MARKER}") if _text_of(path).startswith(fingerprint)]

    def forget_state(self) -> None:
        """Remove a resumable state of the stage that a killed process has left; not a later one, of other settings."""
        state = self.path(f"{self.stage}.last.pth")
        if is_main() and state.is_file() and state.stat().st_mtime <= self.stages[self.stage]["finished"]:
            state.unlink()

    def _write_stages(self) -> None:
        if is_main():
            write_json(self.path(RUN_RECORD), self.stages, durable=True)


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


def run_of(folder: Path) -> Path | None:
    """The run folder that a folder of seeds or masks lies in, if any."""
    parents = [folder.absolute(), *folder.absolute().parents][: PARENTS + 1]
    return next((path for path in parents if all((path / name).is_file() for name in (RUN_SETTINGS, RUN_RECORD))), None)


def _refuse_other_folders(folder: Path) -> None:
    """Refuse a folder that is no run and has files or folders that a run might replace, such as a data folder."""
    if any((folder / name).is_file() for name in ("run.json", RUN_RECORD)):
        return
    if found := sorted(path.name for path in folder.glob("[!.]*") if path.is_dir() or path.name == RUN_SETTINGS):
        what = f"is no run, it has no run.json, and what it holds might be replaced, first {found[0]}"
        raise UserError(f"the run folder {folder} {what}; choose another with --run")


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _read_stages(path: Path) -> dict[str, dict[str, Any]]:
    if not path.is_file():
        return {}
    try:
        stages = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stages, dict) or not all(_is_entry(entry) for entry in stages.values()):
            raise ValueError("expected an entry for each stage: fingerprint, finished, seconds, result")
        return stages
    except (OSError, ValueError, RecursionError) as error:
        remedy = "delete it to run all stages of this folder again"
        raise UserError(f"{path} cannot be read ({error}); {remedy}") from error


def _is_entry(entry: Any) -> bool:
    """Whether it is what `Run.finish` writes of a stage."""
    try:
        numbers = [entry["finished"], entry.get("seconds", 0), *entry.get("peak_memory_mb", {}).values()]
        texts = (entry["fingerprint"], entry.get("code", ""))
        are_mappings = all(isinstance(entry.get(name, {}), dict) for name in ("result", "settings", "made_from"))
        within = all(0 <= number < LATEST for number in numbers)
    except (AttributeError, LookupError, TypeError):
        return False
    return within and are_mappings and all(isinstance(text, str) for text in texts)


def _describe() -> dict[str, Any]:
    commit = ""
    with contextlib.suppress(OSError):  # no git
        asked = ["git", "describe", "--always", "--dirty"]
        commit = subprocess.run(asked, capture_output=True, text=True, cwd=Path(__file__).parent, check=False).stdout
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    device = f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
    return {
        "commit": commit.strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        **versions,
        "processes": world_size(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else device,
        "platform": platform.platform(),
    }


def duration(seconds: float) -> str:
    """A time for people: `42.0 s`, `1 min 05 s`, `2 h 03 min`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {round(seconds % 3600 // 60):02d} min"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
