"""The stages of a run, one after the other: which of them are up to date, which are run.

A stage's fingerprint covers the settings that it reads, its input data, its upstream stages' fingerprints, and the
code that made its output. A stage whose fingerprint is recorded and whose output is there is up to date; the others
are run, in order. When code changes, nothing runs by itself. The log names the stages, and `redo` makes them again.
Then their fingerprints differ, so the stages behind them follow.
"""

import filecmp
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from utils.code_record import CodeRecord, with_code
from utils.console import NORMAL, QUIET, table_of
from utils.distributed import from_main, gather, is_main
from utils.errors import UserError
from utils.files import atomic_path, digest, is_whole
from utils.memory import peak_memory, reset_peak_memory
from utils.run import Run, duration
from utils.settings import RunSettings
from utils.stage import Stage, settings_of

CHANGED = "changed"  # in `redo`, the stages whose code has changed


@dataclass
class _Progress:
    """What the stages so far have come to.

    Attributes:
        code: of all stages; the main process has it.
        redo: stages to be made again.
        fingerprints: by stage; "" for one that has never run.
        source: whose output stands for a stage's: its own, or where it is skipped another's.
        former: stages whose output is of former code, or stands on such -> what has changed.
    """

    code: CodeRecord | None
    redo: Sequence[str] = ()
    fingerprints: dict[str, str] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)

    def missing(self, stage: Stage) -> list[str]:
        """The stages that have to run before."""
        return [self.source[name] for name in stage.upstream if not self.fingerprints[name]]

    def skip(self, stage: Stage) -> None:
        """Pass on the output of another."""
        upstream = [self.fingerprints[name] for name in stage.upstream]
        self.note(stage, digest(upstream) if all(upstream) else "")
        if stage.upstream:
            self.source[stage.name] = self.source[stage.upstream[0]]

    def note(self, stage: Stage, fingerprint: str, changes: str = "") -> None:
        """Note what a stage's output depends on, and what has changed in its code or in that of what it stands on."""
        self.fingerprints[stage.name], self.source[stage.name] = fingerprint, stage.name
        changes = changes or next((self.former[name] for name in stage.upstream if name in self.former), "")
        if changes:
            self.former[stage.name] = changes


@dataclass(frozen=True)
class _Found:
    """A stage before it runs: what its output depends on, whether it has nothing to do, and changes of its code."""

    fingerprint: str
    look: str
    code: str
    settings: dict[str, Any]
    up_to_date: bool
    redo: bool
    changes: str


def run_stages(
    stages: Sequence[Stage],
    cfg: RunSettings,
    run: Run,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    after: Callable[[Any, Run], None] = lambda cfg, run: None,
) -> None:
    """Run what is missing or stale, in order, and say so per stage.

    Args:
        stages: the whole pipeline.
        only: names to restrict it to; the others keep what they have made so far.
        redo: names of stages to make again though up to date; `changed` stands for those whose code has changed.
        after: called after each stage that was run, and at the end; of several processes by the main one.

    Raises:
        UserError: an unknown name in `only` or `redo`, or a stage that needs one that has not run.
    """
    names = [stage.name for stage in stages]
    _check_names("--stages", only, names)
    _check_names("--redo", redo, [*(only or names), CHANGED])
    progress = _Progress(
        CodeRecord(
            run.folder, {stage.name: partial(stage.run, *stage.code) if stage.code else stage.run for stage in stages}
        )
        if is_main()
        else None
    )
    progress.redo = from_main(partial(_stages_to_redo, redo, progress, run))
    for stage in stages:
        asked = not only or stage.name in only
        reason = from_main(partial(stage.skip, cfg))
        if reason is not None:
            progress.skip(stage)
            if asked:
                run.log(f"{stage.name:9} skipped: {reason}")
        elif not asked:
            _leave(stage, cfg, run, progress, is_needed=stage.name in _upstream_of(only, stages))
        elif missing := progress.missing(stage):
            raise UserError(
                f"stage '{stage.name}' needs stage '{missing[0]}', which has not run in {run.folder}; add it: "
                f"--stages {missing[0]},{stage.name}"
            )
        else:
            _bring_up_to_date(stage, cfg, run, progress, after)
    _tell_former(stages, run, progress)
    if is_main():
        _publish(stages, cfg, run)
        after(cfg, run)


def _check_names(option: str, given: Sequence[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise UserError(f"{option}: there is no stage '{name}'; known: {', '.join(known)}")


def _stages_to_redo(redo: Sequence[str], progress: _Progress, run: Run) -> list[str]:
    assert progress.code is not None
    entries = run.stages.items()
    current = progress.code.current
    changed = [
        name for name, entry in entries if name in current and progress.code.changes(name, entry.get("code", ""))
    ]
    return [*redo, *(changed if CHANGED in redo else [])]


def _upstream_of(only: Sequence[str], stages: Sequence[Stage]) -> set[str]:
    """The stages that these build upon, near or far."""
    needed: set[str] = set()
    for stage in reversed(stages):
        if stage.name in only or stage.name in needed:
            needed.update(stage.upstream)
    return needed


def _leave(stage: Stage, cfg: RunSettings, run: Run, progress: _Progress, is_needed: bool) -> None:
    """What a stage that is not asked for has made stands for it, be it stale, which is said."""
    stale, changes = from_main(partial(_is_stale, stage, cfg, run, progress, is_needed))
    if stale:
        run.log(
            f"{stage.name:9} is stale and not asked for: its settings or its data have changed; the stages behind it "
            "work on what it made before",
            QUIET,
        )
    progress.note(stage, run.stages.get(stage.name, {}).get("fingerprint", ""), changes)


def _is_stale(stage: Stage, cfg: RunSettings, run: Run, progress: _Progress, is_needed: bool) -> tuple[bool, str]:
    """Whether what a stage depends on is another now than when it was done, and what has changed in its code."""
    assert progress.code is not None
    entry = run.stages.get(stage.name)
    if entry is None:
        return False, ""
    code = entry.get("code", "")
    stale = is_needed and with_code(stage.base(cfg, progress.fingerprints)[0], code) != entry["fingerprint"]
    return stale, progress.code.changes(stage.name, code)


def _bring_up_to_date(
    stage: Stage, cfg: RunSettings, run: Run, progress: _Progress, after: Callable[[Any, Run], None]
) -> None:
    """Run a stage unless it has nothing to do, and note its fingerprint."""
    found = from_main(partial(_look_at, stage, cfg, run, progress))
    progress.note(stage, found.fingerprint, found.changes)
    if found.redo:
        run.log(f"{stage.name:9} is made again, as --redo says")
        run.forget(stage.name, found.fingerprint)
    run.begin(stage.name, found.fingerprint, found.look, code=found.code, settings=found.settings)
    if found.up_to_date and not found.redo:
        because = f", but its code has changed since: {found.changes} (--redo changed makes it again)" * bool(
            found.changes
        )
        run.log(f"{stage.name:9} up to date{because}", QUIET if found.changes else NORMAL)
        run.forget_state()
    else:
        if run.is_recorded():
            run.log(f"{stage.name:9} was done, but not all of its files are there and whole; they are made again")
        elif found.changes:
            run.log(
                f"{stage.name:9} goes on with what other code has begun: {found.changes} changed since "
                f"(--redo {stage.name} begins it anew)",
                QUIET,
            )
        _run_stage(stage, cfg, run)
        if is_main():
            after(cfg, run)


def _look_at(stage: Stage, cfg: RunSettings, run: Run, progress: _Progress) -> _Found:
    """What is known of a stage; in the main process. Where it is to run, that is noted with its code."""
    code = progress.code
    assert code is not None
    base, settings = stage.base(cfg, progress.fingerprints)
    look = digest(settings_of(cfg, stage.looks)) if stage.looks else ""
    entry = run.stages.get(stage.name, {})
    asked = stage.name in progress.redo
    anew = asked or entry.get("look", look) != look  # no file of another look is kept
    made_by = (
        code.current[stage.name] if anew else code.made_by(stage.name, base, entry, partial(run.has_begun, stage.name))
    )
    fingerprint = with_code(base, made_by)
    recorded = entry.get("fingerprint") == fingerprint and entry.get("look", "") == look
    redo = asked and (bool(entry) or not code.is_being_redone(stage.name, fingerprint))
    up_to_date = recorded and stage.complete(cfg, run)
    if redo or not up_to_date:
        used = [str(each.get("code")) for each in run.stages.values()]
        code.begin(stage.name, fingerprint, made_by, redo, used)
    changes = code.changes(stage.name, made_by)
    return _Found(fingerprint, look, made_by, settings, up_to_date, redo, changes)


def _tell_former(stages: Sequence[Stage], run: Run, progress: _Progress) -> None:
    """Say loudly which stages are of former code."""
    names = [stage.name for stage in stages if stage.name in run.stages]
    former = [
        name for name in names if name in progress.former and progress.source[name] == name
    ]  # not the skipped ones
    if former:
        changes = "; ".join(dict.fromkeys(progress.former[name] for name in former))
        run.log(
            f"WARNING: code has changed since it was used ({changes}); the output of the stages {', '.join(former)} is "
            "still that of the former code; make it again with --redo changed",
            QUIET,
        )


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
