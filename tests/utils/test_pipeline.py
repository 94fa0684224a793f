"""The stages of a run: what is redone when something changes, and what is not."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch

from stages.config import Config, load_config, override
from utils.errors import UserError
from utils.pipeline import Stage, run_stages
from utils.run import Run


@dataclass
class Toys:
    """A pipeline a -> b -> c -> d of toy stages that write `NAME.txt`; `ran` notes which were called.

    a reads cam.lr, b reads the step prm, c reads pseudo.threshold and is skipped where the report is off, d reads seed.
    """

    folder: Path
    ran: list[str] = field(default_factory=list)
    fails: str = ""
    data: str = "data"
    looks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def stages(self) -> list[Stage]:
        def skip(cfg: Config) -> str | None:
            return None if cfg.report.enabled else "the report is off"

        stages = [
            self.stage("a", ("cam.lr",), (), inputs=lambda cfg: self.data),
            self.stage("b", ("steps.prm",), ("a",)),
            self.stage("c", ("pseudo.threshold",), ("b",), skip=skip),
            self.stage("d", ("seed",), ("c",)),
        ]
        return [replace(stage, writes_checkpoint="a.txt") if stage.name == "a" else stage for stage in stages]

    def stage(self, name: str, reads: tuple[str, ...], upstream: tuple[str, ...], **options) -> Stage:
        def run(cfg: Config, run: Run) -> dict:
            self.ran.append(name)
            if self.fails == name:
                raise RuntimeError(f"{name} broke")
            run.path(f"{name}.txt").write_text(name)
            return {"made": len(self.ran), "share": 0.123456789}

        return Stage(
            name,
            f"write {name}",
            run,
            reads,
            upstream,
            self.looks.get(name, ()),
            complete=lambda cfg, run: run.path(f"{name}.txt").is_file(),
            **options,
        )

    def configuration(self, *overrides: str) -> Config:
        own = [f"run={self.folder / 'run'}", f"checkpoint={self.folder / 'best.pth'}"]
        return load_config(None, overrides=[*own, *overrides])

    def __call__(self, *overrides: str, only: tuple[str, ...] = ()) -> list[str]:
        """Run the pipeline in a fresh `Run`; the names of the stages that were called."""
        self.ran.clear()
        cfg = self.configuration(*overrides)
        run_stages(self.stages(), cfg, Run(cfg), only)
        return list(self.ran)


@pytest.fixture
def toys(tmp_path) -> Toys:
    return Toys(tmp_path)


def test_the_second_run_does_nothing_and_says_so(toys, capsys):
    assert toys() == ["a", "b", "c", "d"]
    capsys.readouterr()
    assert toys() == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[name, "up to date"] for name in "abcd"]


@pytest.mark.parametrize(
    ("change", "redone"),
    [
        ("cam.lr=0.2", "abcd"),
        ("prm.hi=0.6", "bcd"),
        ("pseudo.threshold=0.3", "cd"),
        ("seed=1", "d"),
        ("cam.epochs=1", ""),
        ("workers=0", ""),
    ],
)
def test_a_changed_setting_redoes_what_reads_it_and_what_follows(toys, change, redone):
    toys()
    assert toys(change) == list(redone)
    assert toys(change) == []
    assert toys() == list(redone)  # changed back: only the last result is kept


def test_a_changed_look_makes_the_files_again_and_nothing_behind_them(toys):
    toys.looks = {"b": ("data.colors",)}
    toys()
    for colours in ("['#ff0000']", "['#00ff00']"):
        assert toys(f"data.colors={colours}") == ["b"]
        assert toys(f"data.colors={colours}") == []
    assert toys() == ["b"]
    assert toys("prm.hi=0.6", "data.colors=['#ff0000']") == ["b", "c", "d"]


def test_changed_data_redoes_everything_behind_it(toys):
    toys()
    toys.data = "other data"
    assert toys() == ["a", "b", "c", "d"]


def test_missing_output_is_made_again(toys):
    toys()
    (toys.folder / "run" / "b.txt").unlink()
    assert toys() == ["b"]


def test_only_some_stages(toys, capsys):
    assert toys(only=("a", "b")) == ["a", "b"]
    assert toys(only=("b",)) == []
    assert toys("prm.hi=0.6", only=("b",)) == ["b"]
    assert toys("prm.hi=0.6", "cam.lr=0.2", only=("b",)) == []  # works on the a that is there, be it stale
    capsys.readouterr()
    assert toys("prm.hi=0.6", "cam.lr=0.2") == ["a", "b", "c", "d"]
    toys("seed=9", only=("d",))
    assert "c " not in capsys.readouterr().out.splitlines()[-1]


def test_an_unknown_stage_is_named_with_the_known_ones(toys):
    with pytest.raises(UserError, match=r"'e'; known: a, b, c, d"):
        toys(only=("a", "e"))
    assert toys.ran == []


def test_a_stage_that_needs_one_that_has_not_run_says_which(toys):
    with pytest.raises(UserError, match=r"stage 'c' needs stage 'b', .*--stages b,c"):
        toys(only=("c",))


def test_through_a_skipped_stage_the_error_names_the_one_that_is_missing(toys):
    with pytest.raises(UserError, match=r"stage 'd' needs stage 'b'"):
        toys("report.enabled=false", only=("d",))


def test_a_skipped_stage_passes_its_input_on(toys, capsys):
    assert toys("report.enabled=false") == ["a", "b", "d"]
    assert "c         skipped: the report is off" in capsys.readouterr().out
    assert toys("report.enabled=false") == []
    assert toys("report.enabled=false", "pseudo.threshold=0.3") == []
    assert toys("report.enabled=false", "prm.hi=0.6") == ["b", "d"]
    assert toys("prm.hi=0.6") == ["c", "d"]  # no longer skipped: what follows reads another input


def test_only_behind_a_skipped_stage(toys):
    toys("report.enabled=false", only=("a", "b"))
    assert toys("report.enabled=false", only=("d",)) == ["d"]
    assert toys("report.enabled=false") == []


def test_a_stage_that_fails_leaves_the_earlier_ones_recorded(toys):
    toys.fails = "c"
    with pytest.raises(RuntimeError, match="c broke"):
        toys()
    assert set(json.loads((toys.folder / "run" / "stages.json").read_text())) == {"a", "b"}
    toys.fails = ""
    assert toys() == ["c", "d"]


def test_a_stage_that_fails_when_redone_is_not_up_to_date_afterwards(toys):
    toys()
    toys.fails = "b"
    with pytest.raises(RuntimeError, match="b broke"):
        toys("prm.hi=0.6")
    toys.fails = ""
    assert toys("prm.hi=0.6") == ["b", "c", "d"]


def test_the_record_of_a_stage(toys):
    toys()
    record = json.loads((toys.folder / "run" / "stages.json").read_text())["b"]
    assert set(record) == {"fingerprint", "finished", "seconds", "peak_memory_mb", "result"}
    assert record["result"] == {"made": 2, "share": 0.123456789}
    assert record["peak_memory_mb"]["memory"] > 10


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "",
        "[]",
        "3",
        '{"a": 1}',
        "\x00",
        "[" * 100_000,
        '{"a": {"finished": 1}}',
        '{"a": {"fingerprint": "x"}}',
        '{"a": {"fingerprint": "x", "finished": "now"}}',
        '{"a": {"fingerprint": "x", "finished": 1e300}}',
        '{"a": {"fingerprint": "x", "finished": 1, "seconds": null}}',
        '{"a": {"fingerprint": "x", "finished": 1, "result": 3}}',
        '{"a": {"fingerprint": "x", "finished": 1, "peak_memory_mb": [1]}}',
    ],
)
def test_a_record_that_cannot_be_read_is_a_users_matter(toys, content):
    toys()
    (toys.folder / "run" / "stages.json").write_text(content)
    with pytest.raises(UserError, match=r"stages\.json .*delete it"):
        toys()


def test_the_network_trained_last_is_published(tmp_path):
    cfg = load_config(None, overrides=[f"run={tmp_path / 'run'}", f"checkpoint={tmp_path / 'out' / 'best.pth'}"])

    def train(name: str) -> Stage:
        def run(cfg: Config, run: Run) -> dict:
            torch.save(f"{name} {cfg.seed} {cfg.cam.lr}", run.path(f"{name}.pth"))
            return {}

        return Stage(
            name,
            name,
            run,
            ("seed",) if name == "second" else ("cam.lr",),
            writes_checkpoint=f"{name}.pth",
            complete=lambda cfg, run: run.path(f"{name}.pth").is_file(),
        )

    def publish(*overrides: str, only: tuple[str, ...] = ()) -> str:
        changed = override(cfg, overrides)
        run_stages([train("first"), train("second")], changed, Run(changed), only)
        return torch.load(cfg.checkpoint, weights_only=True)

    assert publish(only=("first",)) == "first 0 0.1"
    assert publish() == "second 0 0.1"
    assert publish("seed=1") == "second 1 0.1"
    assert publish("seed=1", "cam.lr=0.2") == "first 1 0.2"  # the only one that was trained again, and so the last
    before = Path(cfg.checkpoint).stat().st_mtime_ns
    assert publish("seed=1", "cam.lr=0.2") == "first 1 0.2"
    assert Path(cfg.checkpoint).stat().st_mtime_ns == before
    Path(cfg.checkpoint).unlink()
    assert publish("seed=1", "cam.lr=0.2") == "first 1 0.2"
