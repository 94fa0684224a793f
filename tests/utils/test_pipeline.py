"""The stages of a run: what is redone when something changes, and what is not."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

import utils.code_digest
import utils.run
from evaluation.stages import pipeline
from stages.config import Config, load_config, override
from tests.project import refused
from utils.pipeline import Stage, run_stages
from utils.run import Run


@dataclass
class Toys:
    """A pipeline a -> b -> c -> d of toy stages that write `NAME.txt`; `ran` notes which were called."""

    folder: Path
    ran: list[str] = field(default_factory=list)
    code: dict[str, str] = field(default_factory=dict)
    fails: str = ""
    data: str = "data"
    looks: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def stages(self) -> list[Stage]:
        skip = lambda cfg: None if cfg.report.enabled else "the report is off"  # noqa: E731
        return [
            self.stage("a", ("cam.lr",), (), inputs=lambda cfg: self.data, writes_checkpoint="a.txt"),
            self.stage("b", ("steps",), ("a",)),
            self.stage("c", ("pseudo.threshold",), ("b",), skip=skip),
            self.stage("d", ("seed",), ("c",), writes_checkpoint="d.txt"),
        ]

    def stage(self, name: str, reads: tuple[str, ...], upstream: tuple[str, ...], **options) -> Stage:
        def run(cfg: Config, run: Run) -> dict:
            self.ran.append(name)
            run.fresh_folder(f"{name} files")
            if self.fails == name:
                raise RuntimeError(f"{name} broke")
            run.path(f"{name}.txt").write_text(name)
            return {"made": len(self.ran), "share": 0.123456789}

        run.__qualname__, looks = name, self.looks.get(name, ())
        complete = lambda cfg, run: run.path(f"{name}.txt").is_file()  # noqa: E731
        return Stage(name, f"write {name}", run, reads, upstream, looks=looks, complete=complete, **options)

    def __call__(self, *overrides: str, only: tuple[str, ...] = (), redo: tuple[str, ...] = ()) -> list[str]:
        """Run the pipeline in a fresh `Run`; the names of the stages that were called."""
        self.ran.clear()
        own = [f"run={self.folder / 'run'}", f"checkpoint={self.folder / 'out' / 'best.pth'}"]
        cfg = load_config(None, overrides=[*own, *overrides])
        run_stages(self.stages(), cfg, Run(cfg), only, redo)
        return list(self.ran)

    def symbols_of(self, run: Any) -> dict[str, str]:
        """In place of the real ones: a function a stage, whose digest is in `code`."""
        name = run.func.__qualname__
        return {f"toys.{name}": self.code.get(name, "first")}


@pytest.fixture
def toys(tmp_path, monkeypatch) -> Toys:
    toys = Toys(tmp_path)
    monkeypatch.setattr(Config, "to_yaml", lambda cfg: "")  # which takes time, and which nothing here reads
    monkeypatch.setattr(utils.code_digest, "symbols_of", toys.symbols_of)
    return toys


def fail_at(toys: Toys, name: str, *overrides: str, redo: tuple[str, ...] = ()) -> None:
    toys.fails = name
    with pytest.raises(RuntimeError, match=f"{name} broke"):
        toys(*overrides, redo=redo)
    toys.fails = ""


def record_of(toys: Toys) -> dict:
    return json.loads((toys.folder / "run" / "stages.json").read_text())


REDONE = {"cam.lr=0.2": "abcd", "prm.hi=0.6": "bcd", "pseudo.threshold=0.3": "cd", "seed=1": "d"}
REDONE |= {"cam.epochs=1": "", "workers=0": ""}


@pytest.mark.parametrize(("change", "redone"), REDONE.items())
def test_a_changed_setting_redoes_what_reads_it_and_what_follows_and_nothing_again(toys, change, redone, capsys):
    assert toys() == ["a", "b", "c", "d"]
    assert toys(change) == list(redone)
    capsys.readouterr()
    assert toys(change) == []
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [[name, "up to date"] for name in "abcd"]
    assert toys() == list(redone)  # changed back: only the last result is kept


def test_a_checkpoint_that_cannot_be_written_is_told_before_a_network_is_trained(toys):
    (toys.folder / "file").write_text("")
    for path, why in (
        (toys.folder / "file/best.pth", "exists|Not a directory"),
        (toys.folder, "it is a folder"),
        ("", ""),
    ):
        refused(f"cannot be written .*{why}", toys, f"checkpoint={path}")
        assert toys.ran == []
    assert toys() == ["a", "b", "c", "d"]
    assert toys(f"checkpoint={toys.folder / 'out/best.pth'}") == []


def test_a_changed_look_makes_the_files_again_and_nothing_behind_them(toys):
    toys.looks = {"b": ("data.colors",)}
    toys()
    for colours in ("['#ff0000']", "['#00ff00']"):
        assert toys(f"data.colors={colours}") == ["b"]
        assert toys(f"data.colors={colours}") == []
    assert toys() == ["b"]
    assert toys("prm.hi=0.6", "data.colors=['#ff0000']") == ["b", "c", "d"]
    toys.code["b"] = "second"  # and files of another look are of the present code
    assert toys("prm.hi=0.6") == ["b", "c", "d"]
    assert toys("prm.hi=0.6", redo=("changed",)) == []


def test_changed_data_and_failure_redo_everything_behind_and_missing_output_only_itself(toys):
    toys()
    toys.data = "other data"
    assert toys() == ["a", "b", "c", "d"]
    (toys.folder / "run" / "b.txt").unlink()
    assert toys() == ["b"]
    fail_at(toys, "b", "prm.hi=0.6")  # and so does what broke
    assert toys("prm.hi=0.6") == ["b", "c", "d"]


def test_only_some_stages(toys, capsys):
    assert toys(only=("a", "b")) == ["a", "b"]
    assert toys(only=("b",)) == []
    assert toys("prm.hi=0.6", only=("b",)) == ["b"]
    assert toys("prm.hi=0.6", "cam.lr=0.2", only=("b",)) == []  # works on the a that is there, be it stale
    stale = "a         is stale and not asked for: its settings or its data have changed"
    assert stale in capsys.readouterr().out
    toys("prm.hi=0.6", only=("b",))
    assert stale not in capsys.readouterr().out
    assert toys("prm.hi=0.6", "cam.lr=0.2") == ["a", "b", "c", "d"]
    toys("seed=9", only=("d",))
    assert "c " not in capsys.readouterr().out.splitlines()[-1]


def test_what_is_unknown_or_lacks_a_stage_is_named_with_what_to_do(toys):
    for message, options in (
        (r"'e'; known: a, b, c, d", {"only": ("a", "e")}),
        (r"--redo: there is no stage 'e'; known: a, b, c, d, changed", {"redo": ("e",)}),
        (r"--redo: there is no stage 'a'; known: b, changed", {"only": ("b",), "redo": ("a",)}),
        (r"stage 'c' needs stage 'b', .*--stages b,c", {"only": ("c",)}),
    ):
        refused(message, toys, **options)
    refused(r"stage 'd' needs stage 'b'", toys, "report.enabled=false", only=("d",))
    assert toys.ran == []


def test_a_skipped_stage_passes_its_input_on(toys, capsys):
    assert toys("report.enabled=false") == ["a", "b", "d"]
    assert "c         skipped: the report is off" in capsys.readouterr().out
    assert toys("report.enabled=false") == []
    assert toys("report.enabled=false", "pseudo.threshold=0.3") == []
    assert toys("report.enabled=false", "prm.hi=0.6") == ["b", "d"]
    assert toys("prm.hi=0.6") == ["c", "d"]  # no longer skipped: what follows reads another input


def test_weights_of_a_file_count_by_their_content(tmp_path):
    own = [f"data.root={tmp_path / 'data'}", "data.train_list=train", "data.shapes_train=1", "data.shapes_val=1"]
    cfg = override(Config(), ["data.kind=shapes", "data.shapes_size=64", *own])
    given = override(cfg, [f"model.weights={tmp_path / 'w.pth'}", f"run={tmp_path}"])
    cam = pipeline()[0]
    found = [cam.inputs(cfg)]
    for content in (b"a", b"b", b"a"):
        (tmp_path / "w.pth").write_bytes(content)
        found.append(cam.inputs(given))
    assert found[1] == found[3] != found[2]
    assert found[0] == found[1][0]


def test_the_record_of_a_stage_keeps_what_it_was_made_with(toys):
    toys()
    record = record_of(toys)["b"]
    known = {"fingerprint", "finished", "seconds", "peak_memory_mb", "result"}
    known |= {"code", "settings", "data", "made_from", "made_with"}
    assert set(record) == known
    assert record["settings"]["steps"]["prm"]["hi"] == 0.5
    assert record["made_with"]["torch"] == torch.__version__
    assert record["result"] == {"made": 2, "share": 0.123456789}
    assert record["peak_memory_mb"]["memory"] > 10
    path = toys.folder / "run" / "stages.json"
    path.write_text(path.read_text().replace('"commit": "', '"commit": "older'))
    toys("prm.hi=0.6")
    assert [name for name, row in record_of(toys).items() if row["made_with"]["commit"].startswith("older")] == ["a"]


def test_changed_code_is_reported_and_runs_nothing_and_what_is_made_anew_by_it_changes_what_is_behind(toys, capsys):
    toys()
    capsys.readouterr()
    toys.code["b"] = "second"
    for _ in range(2):
        assert toys() == []
        printed = capsys.readouterr().out
        assert "b         up to date, but its code has changed since: toys.b (--redo changed" in printed
        assert "WARNING: code has changed since it was used (toys.b); the output of the stages b, c, d is" in printed
    toys("seed=1", only=("d",))
    assert "the output of the stages b, c, d is" in capsys.readouterr().out
    toys.code["b"] = "first"
    toys("seed=1")
    assert "code" not in capsys.readouterr().out
    for code, redo in (("second", ()), ("third", ("changed",))):
        toys.code["b"] = code
        assert toys("prm.hi=0.6", redo=redo) == ["b", "c", "d"]
        assert toys("prm.hi=0.6", redo=("changed",)) == []


def test_redo_of_a_stage_makes_it_again_and_leaves_nothing_of_it_and_goes_on_where_it_was_stopped(toys):
    def folder_of_b(fingerprint: str) -> Path:
        run = Run.reopen(toys.folder / "run")
        run.begin("b", fingerprint)
        return run.fresh_folder("masks")

    toys()
    assert toys(redo=("b",)) == ["b"]
    made = record_of(toys)["b"]["fingerprint"]
    (folder_of_b(made) / "old.png").write_text("")
    assert toys(redo=("b", "d")) == ["b", "d"]
    assert not (folder_of_b(made) / "old.png").exists()
    assert toys() == []
    fail_at(toys, "b", redo=("b",))
    begun = json.loads((toys.folder / "run/code.json").read_text())["begun"]["b"]["fingerprint"]
    (folder_of_b(begun) / "new.png").write_text("")
    assert toys(redo=("b",)) == ["b"]
    assert (toys.folder / "run/masks/new.png").exists()
    assert toys(redo=("b",)) == ["b"]  # again from the beginning
    assert not (folder_of_b(begun) / "new.png").exists()


def test_a_stage_that_was_begun_by_other_code_goes_on_and_counts_as_made_by_that(toys, capsys):
    fail_at(toys, "b")
    toys.code["b"] = "second"
    assert toys() == ["b", "c", "d"]
    assert "b         goes on with what other code has begun: toys.b changed since (--redo b" in capsys.readouterr().out
    assert toys() == []
    assert "its code has changed since: toys.b" in capsys.readouterr().out
    assert toys(redo=("changed",)) == ["b", "c", "d"]


@pytest.mark.parametrize("content", ["{", "[]", '{"begun": 3, "code": {"x": 1}}', '{"begun": {"b": {"code": []}}}'])
def test_a_record_of_code_that_cannot_be_read_costs_only_names(toys, content, capsys):
    toys()
    toys.code["b"] = "second"
    (toys.folder / "run" / "code.json").write_text(content)
    assert toys() == []
    assert "its code has changed since: what, is not recorded" in capsys.readouterr().out
    assert toys(redo=("changed",)) == ["b", "c", "d"]


def test_a_record_that_cannot_be_read_is_a_users_matter(toys):
    toys()
    later, result = '{"fingerprint": "x", "finished": 1e300}', '{"fingerprint": "x", "finished": 1, "result": 3}'
    entries = (f'{{"a": {entry}}}' for entry in ("1", '{"finished": 1}', later, result))
    for content in ("", "[]", "\x00", "[" * 100_000, *entries):
        (toys.folder / "run" / "stages.json").write_text(content)
        refused(r"stages\.json .*delete it", toys)


def test_a_clock_that_is_set_back_publishes_no_earlier_network(toys, monkeypatch):
    clock = iter(range(2_000_000_000, 1_000_000_000, -1000))
    monkeypatch.setattr(utils.run.time, "time", lambda: float(next(clock)))
    toys()
    assert (toys.folder / "out" / "best.pth").read_text() == "d"
    toys(redo=("a",), only=("a",))
    assert (toys.folder / "out" / "best.pth").read_text() == "a"


def test_the_network_trained_last_is_published(toys):
    def publish(*overrides: str, only: tuple[str, ...] = ()) -> str:
        toys(*overrides, only=only)
        return (toys.folder / "out" / "best.pth").read_text()

    assert publish(only=("a",)) == "a"
    assert publish() == "d"
    assert publish("cam.lr=0.2", only=("a",)) == "a"  # the only one that was trained again, and so the last
    published = toys.folder / "out" / "best.pth"
    before = published.stat().st_mtime_ns
    publish("cam.lr=0.2", only=("a",))
    assert published.stat().st_mtime_ns == before
    published.unlink()
    assert publish("cam.lr=0.2", only=("a",)) == "a"
