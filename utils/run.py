"""A run folder and the stages that fill it.

    runs/NAME/config.yaml   the resolved configuration
    runs/NAME/run.json      versions, commit, device, command
    runs/NAME/stages.json   per stage: fingerprint, seconds, peak memory, result
    runs/NAME/log.txt, metrics.jsonl (utils/metrics_log.py), tensorboard/ where that is installed (utils/events.py)

A stage's fingerprint covers the settings that it reads, its input data and its upstream stages' fingerprints. A stage whose
fingerprint is recorded and whose output is there is up to date; the others are run, in order.
"""

import contextlib
import filecmp
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from utils.config import Config, to_dict, to_yaml
from utils.console import NORMAL, say, table_of
from utils.distributed import barrier, from_main, gather, is_main, world_size
from utils.errors import UserError
from utils.events import Events
from utils.files import all_to_disk, atomic_path, digest, is_whole, write_json, write_text, writing
from utils.metrics_log import append_metrics

LATEST = 1e11  # seconds since 1970 that a time can be, in the year 5138


class Run:
    """One run folder: its files, its log, and what is known of its stages."""

    def __init__(self, cfg: Config, command: Sequence[str] = ()):
        """Make or reopen the folder `cfg.run`, and write `config.yaml` and `run.json`.

        Of several processes the main one writes; the others see what it has written.

        Raises:
            UserError: the folder cannot be written, or is another one for some of the processes.
        """
        self.folder = Path(cfg.run)
        if is_main():
            self._begin(cfg, command)
        self._check_shared()
        self._open()

    def _begin(self, cfg: Config, command: Sequence[str]) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(self.folder / "config.yaml", to_yaml(cfg))
        except (OSError, UserError) as error:
            raise UserError(
                f"the run folder {self.folder} cannot be written: {error}; choose another with --run"
            ) from error
        write_json(self.folder / "run.json", _describe(cfg, command))

    def _check_shared(self) -> None:
        written = from_main(self.path("run.json").read_text)
        if not self.path("run.json").is_file() or self.path("run.json").read_text() != written:
            raise UserError(
                f"the run folder {self.folder} is not the same for all processes: run.json differs from that of the main one; on "
                "several machines give a folder that they share with --run"
            )

    @classmethod
    def reopen(cls, folder: str | Path) -> "Run":
        """A run as it is, to be looked at: nothing is written."""
        run = cls.__new__(cls)
        run.folder = Path(folder)
        run._open()
        return run

    def _open(self) -> None:
        self.stages: dict[str, dict[str, Any]] = self._read_stages()
        self.stage = self.fingerprint = ""  # of the stage that is running
        self.after_epoch: Callable[[], None] = lambda: None  # called when the figures of an epoch are recorded
        self.events = Events(self.folder)

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def log(self, message: str, level: int = NORMAL) -> None:
        """Append a line to `log.txt`, and print it where that much is to be said (utils/console.py); in the main process."""
        if not is_main():
            return
        say(message, level)
        with writing(self.path("log.txt")), self.path("log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().isoformat(timespec='seconds')} {message}\n")

    def record(self, stage: str, **values: float) -> None:
        """Append one line of named numbers to `metrics.jsonl`, and to the events of TensorBoard; in the main process."""
        if not is_main():
            return
        append_metrics(self.path("metrics.jsonl"), stage, values)
        self.events.add(stage, values)
        self.after_epoch()

    def finish(self, stage: str, **entry: Any) -> None:
        """Note a stage as done, with its fingerprint, time and result; what it kept to resume from goes.

        Once all processes are here, so that what they have written is there before it is called done.
        """
        all_to_disk()  # before it is called done
        barrier()
        self.stages[stage] = from_main(lambda: {"fingerprint": self.fingerprint, "finished": time.time(), **entry})
        if is_main():
            write_json(self.path("stages.json"), self.stages, durable=True)
            self.path(f"{stage}.last.pth").unlink(missing_ok=True)
            self.events.close()

    def fresh_folder(self, name: str) -> Path:
        """A folder for the running stage's files: those of the same fingerprint are kept, others are removed first."""
        folder, marker = self.path(name), self.path(name, ".fingerprint")
        if from_main(
            lambda: not marker.is_file() or marker.read_text(encoding="utf-8", errors="replace") != self.fingerprint
        ):
            self.replace_output()
            if is_main():
                with writing(folder):
                    if folder.is_dir():
                        shutil.rmtree(folder)
                write_text(marker, self.fingerprint)
        barrier()
        return folder

    def replace_output(self) -> None:
        """To be called before the running stage replaces its output: from here on the record of another is not true.

        Not earlier, so that who stops a stage at once and takes the change of settings back still has what was there.
        """
        if self.stages.get(self.stage, {}).get("fingerprint", self.fingerprint) != self.fingerprint:
            del self.stages[self.stage]
            if is_main():
                write_json(self.path("stages.json"), self.stages, durable=True)

    def forget_state(self) -> None:
        """Remove the resumable state that a process was killed just before it could remove; not one of other settings, begun later."""
        state = self.path(f"{self.stage}.last.pth")
        if is_main() and state.is_file() and state.stat().st_mtime <= self.stages[self.stage]["finished"]:
            state.unlink()

    def _read_stages(self) -> dict[str, dict[str, Any]]:
        path = self.path("stages.json")
        if not path.is_file():
            return {}
        try:
            stages = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(stages, dict) or not all(_is_entry(entry) for entry in stages.values()):
                raise ValueError(
                    "expected an object with an entry for each stage: fingerprint, finished, seconds, result"
                )
            return stages
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); delete it to run all stages of this folder again"
            ) from error


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: as in `--stages`.
        title: what it does, for people.
        run: does the work; returns the figures to note and show.
        reads: the settings that it depends on, sections or dotted keys.
        upstream: stages whose output it reads.
        inputs: anything that JSON can hold which stands for the data that it reads.
        complete: whether its output is all there.
        skip: the reason why it has nothing to do under these settings; None if it has. Its input then passes on.
        writes_checkpoint: the name of the network that it trains, for `checkpoints/best_model.pth`.
        shows_result: whether its figures are shown as a table when it is done; a stage that logs its own does without.
    """

    name: str
    title: str
    run: Callable[[Config, Run], dict[str, Any]]
    reads: tuple[str, ...]
    upstream: tuple[str, ...] = ()
    inputs: Callable[[Config], Any] = field(default=lambda cfg: None)
    complete: Callable[[Config, Run], bool] = field(default=lambda cfg, run: True)
    skip: Callable[[Config], str | None] = field(default=lambda cfg: None)
    writes_checkpoint: str | None = None
    shows_result: bool = True


def run_stages(
    stages: Sequence[Stage],
    cfg: Config,
    run: Run,
    only: Sequence[str] = (),
    after: Callable[[Config, Run], None] = lambda cfg, run: None,
) -> None:
    """Run what is missing or stale, in order, and say so per stage.

    Args:
        stages: the whole pipeline.
        only: names to restrict it to; the others keep what they have made so far.
        after: called after each stage that was run, and at the end; of several processes by the main one.

    Raises:
        UserError: an unknown name in `only`, or a stage that needs one that has not run.
    """
    names = [stage.name for stage in stages]
    for name in only:
        if name not in names:
            raise UserError(f"--stages: there is no stage '{name}'; known: {', '.join(names)}")
    fingerprints: dict[str, str] = {}  # "" for a stage that has never run
    source: dict[str, str] = {}  # a skipped stage passes on the output of another
    for stage in stages:
        asked = not only or stage.name in only
        missing = [source[name] for name in stage.upstream if not fingerprints[name]]
        reason = from_main(partial(stage.skip, cfg))
        if reason is not None:
            source[stage.name] = source[stage.upstream[0]] if stage.upstream else stage.name
            fingerprints[stage.name] = "" if missing else digest([fingerprints[name] for name in stage.upstream])
            if asked:
                run.log(f"{stage.name:9} skipped: {reason}")
            continue
        source[stage.name] = stage.name
        if not asked:
            # What it made stands for it, be it stale: the stages asked for work on what is there.
            fingerprints[stage.name] = run.stages.get(stage.name, {}).get("fingerprint", "")
            continue
        if missing:
            raise UserError(f"stage '{stage.name}' needs stage '{missing[0]}', which has not run in {run.folder}; add it: "
                            f"--stages {missing[0]},{stage.name}")  # fmt: skip
        run.stage = stage.name
        run.fingerprint, up_to_date = from_main(partial(_look_at, stage, cfg, run, fingerprints))
        fingerprints[stage.name] = run.fingerprint
        if up_to_date:
            run.log(f"{stage.name:9} up to date")
            run.forget_state()
        else:
            if run.stages.get(stage.name, {}).get("fingerprint") == run.fingerprint:
                run.log(f"{stage.name:9} was done, but not all of its files are there and whole; they are made again")
            _run_stage(stage, cfg, run)
            if is_main():
                after(cfg, run)
    if is_main():
        _publish(stages, cfg, run)
        after(cfg, run)


def _look_at(stage: Stage, cfg: Config, run: Run, fingerprints: dict[str, str]) -> tuple[str, bool]:
    """A stage's fingerprint, and whether it has nothing to do."""
    upstream = [fingerprints[name] for name in stage.upstream]
    now = digest([stage.name, _settings(cfg, stage.reads), stage.inputs(cfg), upstream])
    return now, run.stages.get(stage.name, {}).get("fingerprint") == now and stage.complete(cfg, run)


def _run_stage(stage: Stage, cfg: Config, run: Run) -> None:
    run.log(f"{stage.name:9} {stage.title}")
    reset_peak_memory()
    started = time.perf_counter()
    try:
        result = stage.run(cfg, run)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(str(stop) or f"in stage {stage.name}; what it has made so far is kept") from stop
    seconds = time.perf_counter() - started
    each = gather(peak_memory())
    memory = {name: max(peak[name] for peak in each) for name in each[0]}
    run.finish(
        stage.name,
        seconds=round(seconds, 1),
        peak_memory_mb={name: round(size / 2**20) for name, size in memory.items()},
        result=result,
    )
    sizes = ", ".join(f"{name} {size / 2**30:.1f} GB" for name, size in memory.items())
    run.log(f"{stage.name:9} done in {duration(seconds)} (peak {sizes})")
    figures = {name: value for name, value in result.items() if isinstance(value, int | float | str)}
    if figures and stage.shows_result:
        run.log(table_of(figures))
    if stage.writes_checkpoint and is_main():
        _publish([stage], cfg, run)


def _publish(stages: Sequence[Stage], cfg: Config, run: Run) -> None:
    """Put the network that was trained last where evaluate.py and infer.py look for it."""
    trained = [stage for stage in stages if stage.writes_checkpoint and stage.name in run.stages]
    if not trained:
        return
    latest = max(trained, key=lambda stage: run.stages[stage.name]["finished"])
    source = run.path(str(latest.writes_checkpoint))
    published = Path(cfg.checkpoint)
    if is_whole(source) and not (published.is_file() and filecmp.cmp(source, published, shallow=False)):
        with atomic_path(cfg.checkpoint, durable=True) as temporary:
            shutil.copyfile(source, temporary)


def _settings(cfg: Config, keys: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for key in keys:
        value: Any = to_dict(cfg)
        for part in key.split("."):
            value = value[part]
        values[key] = value
    return values


def _is_entry(entry: Any) -> bool:
    """Whether it is what `Run.finish` writes of a stage."""
    if not isinstance(entry, dict) or not isinstance(entry.get("fingerprint"), str):
        return False
    numbers = [entry.get("finished"), entry.get("seconds", 0), *_values(entry.get("peak_memory_mb", {}))]
    within = all(isinstance(number, int | float) and 0 <= number < LATEST for number in numbers)
    return within and isinstance(entry.get("result", {}), dict)


def _values(table: Any) -> list[Any]:
    return list(table.values()) if isinstance(table, dict) else [None]


def _describe(cfg: Config, command: Sequence[str]) -> dict[str, Any]:
    commit = ""
    if shutil.which("git"):
        asked = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            check=False,
        )
        commit = asked.stdout.strip()
    return {
        "command": list(command),
        "started": datetime.now().isoformat(timespec="seconds"),
        "seed": cfg.seed,
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processes": world_size(),
        "device": torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "platform": platform.platform(),
    }


def reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # elsewhere than on Linux the peak is the process's so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> dict[str, int]:
    """Bytes: `memory` of this process, and `cuda` where there is one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    return {"memory": peak} | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})


def duration(seconds: float) -> str:
    """A time for people: `42.0 s`, `1 min 05 s`, `2 h 03 min`."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)} h {round(seconds % 3600 // 60):02d} min"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
