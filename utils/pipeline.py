"""The stages of a run, one after the other: which of them are up to date, which are run.

A stage's fingerprint covers the settings that it reads, its input data, its upstream stages' fingerprints, and the
code that made its output. A stage whose fingerprint is recorded and whose output is there is up to date. When code
changes, nothing runs by itself: the log names the stages, and `redo` makes them and the stages behind them again.
"""

import filecmp
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from utils.code_digest import CodeRecord, with_code
from utils.console import NORMAL, QUIET, table_of
from utils.distributed import from_main, gather, is_main
from utils.errors import UserError
from utils.files import atomic_path, digest, is_whole, require_writable
from utils.memory import peak_memory, reset_peak_memory
from utils.run import Run, duration
from utils.settings import RunSettings, settings_of

CHANGED = "changed"  # in `redo`, the stages whose code has changed
UP_TO_DATE, INCOMPLETE, TO_REDO = "up to date", "incomplete", "to redo"


@dataclass(frozen=True)
class Stage:
    """One step of the pipeline."""

    name: str  # as in `--stages`
    title: str  # what it does
    run: Callable[[Any, Run], dict[str, Any]]  # does the work; returns the figures to note and show
    # The parts of the configuration that it depends on besides those of its upstream stages.
    reads: tuple[str, ...] | Callable[[Any], tuple[str, ...]]
    upstream: tuple[str, ...] = ()  # stages whose output it reads
    code: tuple[Any, ...] = ()  # functions and classes that decide its output and that `run` finds in a list
    looks: tuple[str, ...] = ()  # settings such as colours: a change makes its files again, and nothing behind it
    inputs: Callable[[Any], Any] = lambda cfg: None  # what stands for the data that it reads, as JSON can hold it
    complete: Callable[[Any, Run], bool] = lambda cfg, run: True  # whether its output is all there
    # The reason why it has nothing to do under these settings; None if it has. Its input then passes on.
    skip: Callable[[Any], str | None] = lambda cfg: None
    writes_checkpoint: str | None = None  # the network that it trains, for `checkpoints/best_model.pth`
    shows_result: bool = True  # whether its figures are shown as a table when it is done

    def settings(self, cfg: RunSettings) -> dict[str, Any]:
        """The settings that it reads, by part."""
        return {name: settings_of(cfg, name) for name in (self.reads(cfg) if callable(self.reads) else self.reads)}


class _StageState(NamedTuple):
    fingerprint: str  # of what its output depends on, the code included
    look: str  # digest of the settings that only the look of its files depends on (`Stage.looks`)
    code: str  # digest of the code that made its output, or is to make it
    settings: dict[str, Any]
    data: str  # digest of what stands for its data
    state: str  # UP_TO_DATE, INCOMPLETE, TO_REDO, or "" where it has never been done with this fingerprint
    changes: str  # what has changed in its code since, in words


def run_stages(
    stages: Sequence[Stage],
    cfg: RunSettings,
    run: Run,
    only: Sequence[str] = (),
    redo: Sequence[str] = (),
    after: Callable[[Any, Run], None] = lambda cfg, run: None,
) -> None:
    """Run what is missing or stale, in order, and log each stage; an unknown name or a missing stage is a `UserError`.

    Args:
        only: names to restrict it to; the others keep what they have made so far.
        redo: names of stages to make again though up to date; `changed` stands for those whose code has changed.
        after: called by the main process after each stage that was run, and at the end.
    """
    names = [stage.name for stage in stages]
    for option, given, known in (("--stages", only, names), ("--redo", redo, [*(only or names), CHANGED])):
        for name in given:
            if name not in known:
                raise UserError(f"{option}: there is no stage '{name}'; known: {', '.join(known)}")
    _Pipeline(stages, cfg, run, after).run_all(only, redo)


def stale_stages(
    stages: Sequence[Stage], cfg: RunSettings, run: Run, skipped: Collection[str], data: RunSettings | None = None
) -> dict[str, str]:
    """Stage -> why its output is not that of these settings: it was made with others, or of what has changed since.

    With `data`, the settings of the data that it is to stand for, also whether it was made of other data; data that
    cannot be read tell nothing.
    """
    stale: dict[str, str] = {}
    for stage in stages:
        entry = run.stages.get(stage.name)
        if entry is None or stage.name in skipped:
            continue
        own = stage.settings(cfg)
        settings, made_from = entry.get("settings", own), entry.get("made_from", {})
        if other := [name for name, values in own.items() if digest(values) != digest(settings.get(name))]:
            stale[stage.name] = f"made with other settings ({', '.join(other)})"
        elif data is not None and (known := entry.get("data")) and _data_of(stage, data, known) != known:
            stale[stage.name] = "made of other images, labels or hints"
        elif any(name in stale or run.stages.get(name, {}).get("fingerprint") != made_from[name] for name in made_from):
            stale[stage.name] = "older than a stage that it builds upon"
    return stale


def _data_of(stage: Stage, cfg: RunSettings, unknown: str) -> str:
    try:
        return digest(stage.inputs(cfg))
    except UserError:
        return unknown


class _Pipeline:
    def __init__(self, stages: Sequence[Stage], cfg: RunSettings, run: Run, after: Callable[[Any, Run], None]):
        self.stages, self.cfg, self.run, self.after = stages, cfg, run, after
        self.code = CodeRecord(run.folder, {stage.name: partial(stage.run, *stage.code) for stage in stages})
        self.fingerprints: dict[str, str] = {}  # by stage; "" for one that has never run
        self.source: dict[str, str] = {}  # whose output stands for a stage's: its own, or, if skipped, another's
        self.former: dict[str, str] = {}  # stages whose output is of former code, or stands on such -> what changed

    def run_all(self, only: Sequence[str], redo: Sequence[str]) -> None:
        made = {name: entry.get("code", "") for name, entry in self.run.stages.items() if name in self.code.current}
        changed = [name for name, code in made.items() if self.code.changes(name, code)]
        self.redo = from_main(lambda: [*redo, *changed] if CHANGED in redo else list(redo))
        needed: set[str] = set()  # stages that those asked for build upon, directly or not
        for stage in reversed(self.stages):
            if stage.name in only or stage.name in needed:
                needed.update(stage.upstream)
        for stage in self.stages:
            asked = not only or stage.name in only
            reason = from_main(partial(stage.skip, self.cfg))
            if reason is not None:
                self._skip(stage)
                if asked:
                    self.run.log(f"{stage.name:9} skipped: {reason}")
            elif not asked:
                self._leave(stage, stage.name in needed)
            elif missing := [self.source[name] for name in stage.upstream if not self.fingerprints[name]]:
                what = f"needs stage '{missing[0]}', which has not run in {self.run.folder}"
                raise UserError(f"stage '{stage.name}' {what}; add it: --stages {missing[0]},{stage.name}")
            else:
                self._bring_up_to_date(stage)
        self._warn_of_former_code()
        self._publish()
        if is_main():
            self.after(self.cfg, self.run)

    def _base(self, stage: Stage) -> tuple[str, dict[str, Any], Any]:
        """A digest of all that the output depends on but the code, and the settings and the data in it."""
        settings, data = stage.settings(self.cfg), stage.inputs(self.cfg)
        upstream = [self.fingerprints[name] for name in stage.upstream]
        return digest([stage.name, settings, data, upstream]), settings, data

    def _note(self, stage: Stage, fingerprint: str, changes: str = "") -> None:
        """Note what a stage's output depends on, and what has changed in its code or in that of what it stands on."""
        self.fingerprints[stage.name], self.source[stage.name] = fingerprint, stage.name
        changes = changes or next((self.former[name] for name in stage.upstream if name in self.former), "")
        if changes:
            self.former[stage.name] = changes

    def _skip(self, stage: Stage) -> None:
        """Pass on the output of another."""
        upstream = [self.fingerprints[name] for name in stage.upstream]
        self._note(stage, digest(upstream) if all(upstream) else "")
        if stage.upstream:
            self.source[stage.name] = self.source[stage.upstream[0]]

    def _leave(self, stage: Stage, is_needed: bool) -> None:
        """Keep what a stage that is not asked for has made; warn where that is stale."""
        entry = self.run.stages.get(stage.name, {"fingerprint": ""})
        code, recorded = entry.get("code", ""), entry["fingerprint"]
        if recorded and is_needed and from_main(lambda: with_code(self._base(stage)[0], code) != recorded):
            what = "is stale and not asked for: its settings or its data have changed"
            remedy = "the stages behind it work on what it made before"
            self.run.log(f"{stage.name:9} {what}; {remedy}", QUIET)
        self._note(stage, recorded, from_main(partial(self.code.changes, stage.name, code)))

    def _bring_up_to_date(self, stage: Stage) -> None:
        """Run a stage unless it has nothing to do, and note its fingerprint."""
        found, run = from_main(partial(self._examine, stage)), self.run
        self._note(stage, found.fingerprint, found.changes)
        if found.state == TO_REDO:
            run.log(f"{stage.name:9} is made again, as --redo says")
            run.forget(stage.name, found.fingerprint)
        sources = {self.source[name] for name in stage.upstream}
        made_from = {name: run.stages[name]["fingerprint"] for name in sorted(sources) if name in run.stages}
        about = {"code": found.code, "settings": found.settings, "data": found.data, "made_from": made_from}
        run.begin(stage.name, found.fingerprint, found.look, **about)
        if found.state == UP_TO_DATE:
            because = f", but its code has changed since: {found.changes} (--redo changed makes it again)"
            what = f"up to date{because if found.changes else ''}"
            run.log(f"{stage.name:9} {what}", QUIET if found.changes else NORMAL)
            run.forget_state()
            return
        if found.state == INCOMPLETE:
            run.log(f"{stage.name:9} was done, but not all of its files are there and whole; they are made again")
        elif found.changes:
            since = f"{found.changes} changed since (--redo {stage.name} begins it anew)"
            run.log(f"{stage.name:9} goes on with what other code has begun: {since}", QUIET)
        self._run(stage)
        if is_main():
            self.after(self.cfg, run)

    def _examine(self, stage: Stage) -> _StageState:
        """What is known of a stage; in the main process. Where it is to run, that is noted with its code."""
        code, name, run = self.code, stage.name, self.run
        base, settings, data = self._base(stage)
        look = digest({each: settings_of(self.cfg, each) for each in stage.looks}) if stage.looks else ""
        entry = run.stages.get(name, {})
        asked = name in self.redo
        anew = asked or entry.get("look", look) != look  # no file of another look is kept
        made_by = code.current[name] if anew else code.made_by(name, base, entry, partial(run.has_begun, name))
        fingerprint = with_code(base, made_by)
        state = ""
        if entry.get("fingerprint") == fingerprint and entry.get("look", "") == look:
            state = UP_TO_DATE if stage.complete(self.cfg, run) else INCOMPLETE
        # A stage that was stopped while it was made again has no entry: it goes on, and does not begin once more.
        if asked and (entry or not code.is_being_redone(name, fingerprint)):
            state = TO_REDO
        if state != UP_TO_DATE:
            used = [str(each.get("code")) for each in run.stages.values()]
            code.begin(name, fingerprint, made_by, state == TO_REDO, used)
        return _StageState(fingerprint, look, made_by, settings, digest(data), state, code.changes(name, made_by))

    def _warn_of_former_code(self) -> None:
        names = [stage.name for stage in self.stages if stage.name in self.run.stages]
        former = [name for name in names if name in self.former and self.source[name] == name]  # not the skipped ones
        if former:
            changes = "; ".join(dict.fromkeys(self.former[name] for name in former))
            what = f"the output of the stages {', '.join(former)} is still that of the former code"
            remedy = "make it again with --redo changed"
            self.run.log(f"WARNING: code has changed since it was used ({changes}); {what}; {remedy}", QUIET)

    def _run(self, stage: Stage) -> None:
        run = self.run
        run.log(f"{stage.name:9} {stage.title}")
        if stage.writes_checkpoint:
            from_main(partial(require_writable, self.cfg.checkpoint))
        reset_peak_memory()
        started = time.perf_counter()
        try:
            result = stage.run(self.cfg, run)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(str(stop) or f"in stage {stage.name}; what it has made so far is kept") from stop
        seconds = time.perf_counter() - started
        each = gather(peak_memory())
        memory = {name: round(max(peak[name] for peak in each) / 2**20) for name in each[0]}
        run.finish(stage.name, seconds=round(seconds, 1), peak_memory_mb=memory, result=result)
        sizes = ", ".join(f"{name} {size / 2**10:.1f} GB" for name, size in memory.items())
        run.log(f"{stage.name:9} done in {duration(seconds)} (peak {sizes})")
        figures = {name: value for name, value in result.items() if isinstance(value, int | float)}
        if figures and stage.shows_result:
            run.log(table_of(figures))
        if stage.writes_checkpoint:
            self._publish()

    def _publish(self) -> None:
        """Put the network that was trained last where evaluate.py and infer.py look for it."""
        done = self.run.stages
        trained = [stage for stage in self.stages if stage.writes_checkpoint and stage.name in done]
        if not trained or not is_main():
            return
        order = list(done)  # of their ends, by no clock, which may be set back
        latest = max(trained, key=lambda stage: order.index(stage.name))
        source, published = self.run.path(str(latest.writes_checkpoint)), Path(self.cfg.checkpoint)
        if is_whole(source) and not (published.is_file() and filecmp.cmp(source, published, shallow=False)):
            with atomic_path(published, durable=True) as temporary:
                shutil.copyfile(source, temporary)
