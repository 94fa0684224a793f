"""The table of stages: what each declares that it reads, and what it reads while it runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from itertools import product
from typing import Any

import pytest
import yaml

from evaluation.stages import pipeline
from stages.config import Config, load_config, override, parts, resolve_choices
from stages.walk import WALKS
from tests.project import ROOT, Project
from utils.files import read_json
from utils.pipeline import Stage, run_stages
from utils.run import Run

PRESETS = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["presets"]
STAGES = {stage.name: stage for stage in pipeline()}
Setting = tuple[str, str]  # attribute of the configuration, field

# What no stage's output depends on, or what is part of its input in another way.
HOW_NOT_WHAT = {
    ("", name) for name in ("run", "checkpoint", "device", "read_precision", "channels_last", "compile", "workers")
}
NOT_TRAINING = {("cam_check", "must_learn")}  # whether a run goes on
NOT_TRAINING |= {("segment_watch", "validate_every"), ("segment_watch", "keep")}  # read where the best epoch is kept
IN_THE_INDEX = {  # `Index.fingerprint`; max_pixels, background and download change no image and no label without it
    ("data", one.name) for one in fields(Config().data) if one.name != "colors"
}


def settings_of_part(cfg: Config, name: str) -> set[Setting]:
    """The settings behind a name that a stage declares: a part, `steps`, or one setting."""
    if name == "steps":
        return {found for step in cfg.steps for found in settings_of_part(cfg, f"steps.{step.name}")}
    part, _, one = (name, "", "") if name.startswith("steps.") else name.partition(".")
    found = cfg.part(part)
    if not is_dataclass(found):
        assert ("", part) in ALL, f"'{name}' is no setting"
        return {("", part)}
    whole = {(part, each.name) for each in fields(found) if "help" in each.metadata}
    assert not one or (part, one) in whole, f"'{name}' is no setting"
    return {(part, one)} if one else whole


ALL = {(part.attribute, one.name) for part in parts() for one in part.keys().values()}


def declared(cfg: Config, stage: Stage) -> set[Setting]:
    """What a stage names, without its upstream stages."""
    reads = stage.reads(cfg) if callable(stage.reads) else stage.reads
    return {found for name in (*reads, *stage.looks) for found in settings_of_part(cfg, name)}


def closure(name: str) -> list[Stage]:
    """A stage and all stages before it that it builds on."""
    stage = STAGES[name]
    return [stage, *(before for one in stage.upstream for before in closure(one))]


class Recorder:
    """Which settings of one configuration are read, by what is running."""

    def __init__(self, cfg: Config):
        self.cfg, self.running = cfg, ""
        self.found: dict[str, set[Setting]] = {}
        self.owners = {id(cfg): ""} | {id(cfg.part(part.attribute)): part.attribute for part in parts()[1:]}
        kinds = {Config, *(part.kind for part in parts()[1:])}
        self.names = {kind: {one.name for one in fields(kind) if "help" in one.metadata} for kind in kinds}

    @contextmanager
    def during(self, name: str) -> Iterator[None]:
        before, self.running = self.running, name
        try:
            yield
        finally:
            self.running = before

    def install(self, patch: pytest.MonkeyPatch) -> None:
        def read(settings: Any, name: str) -> Any:
            if self.running and name in self.names[type(settings)] and id(settings) in self.owners:
                self.found.setdefault(self.running, set()).add((self.owners[id(settings)], name))
            return object.__getattribute__(settings, name)

        def to_dict(cfg: Config, whole=Config.to_dict) -> dict[str, Any]:
            with self.during(""):  # a checkpoint keeps all settings
                return whole(cfg)

        for kind in self.names:
            patch.setattr(kind, "__getattribute__", read, raising=False)
        patch.setattr(Config, "to_dict", to_dict)

    def wrap(self, stage: Stage) -> Stage:
        """The stage, with its work recorded under its name, and what decides on skipping it under `skip NAME`."""

        def run(cfg: Config, run: Run) -> dict[str, Any]:
            with self.during(stage.name):
                return stage.run(cfg, run)

        def skip(cfg: Config) -> str | None:
            with self.during(f"skip {stage.name}"):
                return stage.skip(cfg)

        return replace(stage, run=run, skip=skip)


TINY = ("epochs=1", "crop_size=32", "batch_size=4")
SMALL = [
    *("model.backbone=tiny", "model.weights=none", "device=cpu", "workers=0", "report.thresholds=4", "ibb.epochs=1"),
    *("data.kind=voc", "data.train_list=train", "data.val_list=val", "pseudo.refine=par", "affinity.refine=par"),
    *("cam.resize_long=[32,48]", "cam.scales=[1.0,0.5]", "cam.least_steps=0", "cam.head_stages=[-2,-1]"),
    *("segment.scales=[1.0]", "segment.stage=-2", "segment.decoder_strides=[4]", "segment.least_steps=0"),
    *("affinity.displacement=true", "affinity.radius=4"),
]


# coco14 and coco17 are voc12 with other data, voc12_vit with another backbone.
LONG = [pytest.param(preset, marks=pytest.mark.long) for preset in ("demo", "folder", "voc12_compact", "inspection")]


@pytest.mark.parametrize("preset", ["voc12", *LONG])
def test_a_stage_reads_no_setting_that_it_does_not_declare(project: Project, monkeypatch, preset):
    sizes = [f"{name}.{size}" for name in ("cam", "affinity", "segment") for size in TINY]
    paths = [f"run={project.run}", f"data.root={project.folder / 'voc'}", f"checkpoint={project.folder / 'best.pth'}"]
    cfg, _ = resolve_choices(load_config(ROOT / "config.yaml", preset, [*sizes, *SMALL, *paths, "seed=1"]))
    run = Run(cfg)
    recorder = Recorder(cfg)
    recorder.install(monkeypatch)
    run_stages([recorder.wrap(stage) for stage in STAGES.values()], cfg, run)
    skipped = {name for name, stage in STAGES.items() if stage.skip(cfg) is not None}
    assert set(recorder.found) >= STAGES.keys() - skipped
    for name in STAGES.keys() - skipped:
        before = closure(name)
        known = {found for stage in before if stage.skip(cfg) is None for found in declared(cfg, stage)}
        skips = {found for stage in before for found in recorder.found.get(f"skip {stage.name}", set())}
        undeclared = recorder.found[name] - known - skips - HOW_NOT_WHAT - NOT_TRAINING - IN_THE_INDEX
        assert not undeclared, f"stage {name} reads {undeclared}, which neither it nor a stage before it declares"


def test_every_setting_is_declared_by_a_stage_or_changes_no_file():
    for preset in PRESETS:
        read, chosen = set(), load_config(ROOT / "config.yaml", preset)
        for kind, hints in product(WALKS, ("", "hints.json")):
            cfg = override(chosen, [f"affinity.kind={kind}", f"data.hints={hints}"])
            for stage in STAGES.values():
                read |= declared(cfg, stage)
        assert read | IN_THE_INDEX | HOW_NOT_WHAT | NOT_TRAINING == ALL
        assert not read & (IN_THE_INDEX | HOW_NOT_WHAT | NOT_TRAINING)


def test_a_walk_depends_on_its_own_settings_alone():
    for kind, other in (("learned", "feature_walk"), ("features", "boundary_walk")):
        reads = STAGES["walk"].reads(load_config(None, overrides=[f"affinity.kind={kind}"]))
        assert other not in reads
        assert "affinity" in reads


AGAIN = {
    **{"infer.quality=fast": "report", "segment.flip=false": "report", "segment.scales=[1.0,0.5]": "report"},
    **{"segment.epochs=2": "segment report", "pseudo.threshold=0.3": "pseudo segment report"},
    "ibb.weight=0.7": "correct pseudo segment report",
    "ibb.blurred_share=1": "ibb correct pseudo segment report",
    "context.enabled=false": "ibb correct pseudo segment report",
    "affinity.kind=features": "walk pseudo segment report",
    "prm.enabled=false": "seeds context remove ibb correct pseudo segment ablation report",
}


def test_a_setting_redoes_what_depends_on_it_and_nothing_else(project: Project, monkeypatch):
    record = (project.run / "stages.json").read_bytes()
    results = {name: entry["result"] for name, entry in read_json(project.run / "stages.json").items()}

    def pretend(pipeline: Any, stage: Stage) -> None:
        result = results.get(stage.name, {})
        pipeline.run.finish(stage.name, seconds=0.0, peak_memory_mb={"memory": 0}, result=result)
        pipeline.run.log(f"{stage.name:9} done")

    monkeypatch.setattr("utils.pipeline._Pipeline._run", pretend)
    for setting, again in AGAIN.items():
        (project.run / "stages.json").write_bytes(record)
        assert project.train("--set", setting).well().stages("done") == again.split(), setting


def test_stages_wait_for_earlier_ones_only():
    order = list(STAGES)
    assert len(order) == len(pipeline())
    for position, stage in enumerate(STAGES.values()):
        assert set(stage.upstream) <= set(order[:position])
