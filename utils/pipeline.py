"""The stages of a run, one after the other: which of them are up to date, which are run.

A stage's fingerprint covers the settings that it reads, its input data and its upstream stages' fingerprints. A stage whose
fingerprint is recorded and whose output is there is up to date; the others are run, in order.
"""

import filecmp
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.console import table_of
from utils.distributed import from_main, gather, is_main
from utils.errors import UserError
from utils.files import atomic_path, digest, is_whole
from utils.memory import peak_memory, reset_peak_memory
from utils.run import Run, duration
from utils.settings import RunSettings, settings_of


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline.

    Attributes:
        name: as in `--stages`.
        title: what it does, for people.
        run: does the work; returns the figures to note and show.
        reads: the parts of the configuration that it depends on, beside those of its upstream stages, or what gives them.
        looks: those that its files depend on and what they mean does not, such as colours: a change makes its files again, and
            nothing behind it.
        upstream: stages whose output it reads.
        inputs: anything that JSON can hold which stands for the data that it reads.
        complete: whether its output is all there.
        skip: the reason why it has nothing to do under these settings; None if it has. Its input then passes on.
        writes_checkpoint: the name of the network that it trains, for `checkpoints/best_model.pth`.
        shows_result: whether its figures are shown as a table when it is done; a stage that logs its own does without.
    """

    name: str
    title: str
    run: Callable[[Any, Run], dict[str, Any]]
    reads: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    upstream: tuple[str, ...] = ()
    looks: tuple[str, ...] = ()
    inputs: Callable[[Any], Any] = field(default=lambda cfg: None)
    complete: Callable[[Any, Run], bool] = field(default=lambda cfg, run: True)
    skip: Callable[[Any], str | None] = field(default=lambda cfg: None)
    writes_checkpoint: str | None = None
    shows_result: bool = True


def run_stages(
    stages: Sequence[Stage],
    cfg: RunSettings,
    run: Run,
    only: Sequence[str] = (),
    after: Callable[[Any, Run], None] = lambda cfg, run: None,
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
        source[stage.name] = stage.name
        if reason is not None:
            source[stage.name] = source[stage.upstream[0]] if stage.upstream else stage.name
            fingerprints[stage.name] = "" if missing else digest([fingerprints[name] for name in stage.upstream])
            if asked:
                run.log(f"{stage.name:9} skipped: {reason}")
        elif not asked:
            # What it made stands for it, be it stale: the stages asked for work on what is there.
            fingerprints[stage.name] = run.stages.get(stage.name, {}).get("fingerprint", "")
        elif missing:
            raise UserError(
                f"stage '{stage.name}' needs stage '{missing[0]}', which has not run in {run.folder}; add it: "
                f"--stages {missing[0]},{stage.name}"
            )
        else:
            fingerprints[stage.name] = _bring_up_to_date(stage, cfg, run, fingerprints, after)
    if is_main():
        _publish(stages, cfg, run)
        after(cfg, run)


def _bring_up_to_date(
    stage: Stage, cfg: RunSettings, run: Run, fingerprints: dict[str, str], after: Callable[[Any, Run], None]
) -> str:
    """Run a stage unless it has nothing to do; returns its fingerprint."""
    done, up_to_date = from_main(partial(_look_at, stage, cfg, run, fingerprints))
    run.begin(stage.name, *done)
    if up_to_date:
        run.log(f"{stage.name:9} up to date")
        run.forget_state()
    else:
        if run.is_recorded():
            run.log(f"{stage.name:9} was done, but not all of its files are there and whole; they are made again")
        _run_stage(stage, cfg, run)
        if is_main():
            after(cfg, run)
    return run.fingerprint


def _look_at(stage: Stage, cfg: RunSettings, run: Run, fingerprints: dict[str, str]) -> tuple[tuple[str, str], bool]:
    """A stage's fingerprint and look, and whether it has nothing to do."""
    upstream = [fingerprints[name] for name in stage.upstream]
    reads = stage.reads(cfg) if callable(stage.reads) else stage.reads
    fingerprint = digest([stage.name, {key: settings_of(cfg, key) for key in reads}, stage.inputs(cfg), upstream])
    look = digest({key: settings_of(cfg, key) for key in stage.looks}) if stage.looks else ""
    entry = run.stages.get(stage.name, {})
    recorded = entry.get("fingerprint") == fingerprint and entry.get("look", "") == look
    return (fingerprint, look), recorded and stage.complete(cfg, run)


def _run_stage(stage: Stage, cfg: RunSettings, run: Run) -> None:
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


def _publish(stages: Sequence[Stage], cfg: RunSettings, run: Run) -> None:
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
