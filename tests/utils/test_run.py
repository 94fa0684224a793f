"""The run folder: its files, and which of them are kept."""

import json
from pathlib import Path

import pytest
import torch

from stages.config import Config, load_config, override
from tests.project import refused
from utils.errors import UserError
from utils.run import EVENTS, Events, Run, append_metrics, read_metrics


@pytest.fixture
def settings(tmp_path) -> Config:
    return load_config(None, overrides=[f"run={tmp_path / 'run'}"])


def test_the_folder_says_what_ran_or_why_it_cannot(settings):
    Path(settings.run).write_text("a file")
    with pytest.raises(UserError, match=r"run/run\.json cannot be written .*choose a folder"):
        Run(settings)
    Path(settings.run).unlink()
    cfg = override(settings, ["seed=5"])
    Run(cfg, ["train.py", "--set", "seed=5"])
    assert load_config(Path(settings.run) / "config.yaml") == cfg
    about = json.loads((Path(settings.run) / "run.json").read_text())
    assert about["command"] == ["train.py", "--set", "seed=5"]
    assert (about["seed"], about["torch"]) == (5, torch.__version__)


@pytest.mark.parametrize("name", ["config.yaml", "seeds/1.jpg"])
def test_a_folder_that_is_no_run_is_refused_and_left_as_it_is(settings, name):
    path = Path(settings.run) / name
    path.parent.mkdir(parents=True)
    path.write_text("of a person")
    for _ in range(2):
        refused(r"run is no run, .* might be replaced, first (config|seeds).*choose another", Run, settings)
    assert (path.read_text(), len(list(Path(settings.run).rglob("*.*")))) == ("of a person", 1)


def test_the_log_is_appended(settings, capsys):
    for _ in range(2):
        run = Run(settings)
        run.log("hello")
    assert capsys.readouterr().out == "hello\nhello\n"
    assert [line.split(maxsplit=1)[1] for line in run.path("log.txt").read_text().splitlines()] == ["hello", "hello"]


@pytest.mark.parametrize(("fingerprint", "look"), [("two", ""), ("one", "red")])
def test_a_folder_keeps_its_files_only_while_fingerprint_and_look_stay(settings, fingerprint, look):
    run = Run(settings)
    run.begin("a", "one")
    folder = run.fresh_folder("masks")
    (folder / "half.png").write_text("made before a stop")
    assert run.fresh_folder("masks") == folder
    assert (folder / "half.png").is_file()
    again = Run(settings)
    again.begin("a", fingerprint, look)
    again.path("others").mkdir()  # without a mark it is not trusted
    again.path("others", "unknown.png").write_text("from somewhere")
    for name in ("masks", "others"):
        assert list(again.fresh_folder(name).glob("*.png")) == []


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_metrics(path) == {}
    rows = [{"epoch": epoch, "loss": 1 / epoch} for epoch in (1, 2, 3)]
    for row in rows:
        append_metrics(path, "cam", row)
        append_metrics(path, "segment", row)
    assert read_metrics(path) == {stage: [{"stage": stage, **row} for row in rows] for stage in ("cam", "segment")}


def test_of_repeated_epochs_the_later_counts(tmp_path):
    cases = [([1, 2, 3, 1, 2], [3, 4]), ([1, 2, 2, 3], [0, 2, 3]), ([1, 2, 3, 2], [0, 3]), ([1, 1, 1], [2])]
    for name, (epochs, kept) in zip("abcd", cases, strict=True):
        for number, epoch in enumerate(epochs):
            append_metrics(tmp_path / name, "cam", {"epoch": epoch, "number": number})
        assert [row["number"] for row in read_metrics(tmp_path / name)["cam"]] == kept


def test_a_last_line_that_was_cut_off_is_left_out_and_another_is_an_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_metrics(path, "cam", {"epoch": 1})
    with path.open("a") as file:
        file.write('{"stage": "ca')
    assert len(read_metrics(path)["cam"]) == 1
    append_metrics(path, "cam", {"epoch": 2})
    assert len(read_metrics(path)["cam"]) == 2
    good = '{"stage": "cam", "epoch": 1}\n'
    for line in ('{"stage": "cam", "epoch": "2"}', '{"stage": ["cam"], "epoch": 2}', "{}", "[1]", "[" * 9**5, "\udcff"):
        path.write_bytes((good + line + "\n" + good).encode("utf-8", "surrogateescape"))
        with pytest.raises(UserError, match=r"metrics\.jsonl, line 2: expected JSON with stage.*mend or delete"):
            read_metrics(path)


def test_events_hold_the_numbers(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard (requirements-extras.txt)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = Events(tmp_path)
    for step in (5, 10):
        events.add("cam", {"step": step, "epoch": step // 5, "loss": 1 / step})
    events.close()
    reader = EventAccumulator(str(tmp_path / EVENTS / "cam")).Reload()
    assert set(reader.Tags()["scalars"]) == {"epoch", "loss"}
    assert {event.step: event.value for event in reader.Scalars("loss")} == pytest.approx({5: 0.2, 10: 0.1})
