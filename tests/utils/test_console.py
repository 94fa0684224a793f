"""What is printed at which level, once, and how."""

import argparse
import logging
import os
import signal
import warnings

import pytest

import utils.console as console
from utils.console import NORMAL, QUIET, VERBOSE, deferred_interrupt, progress, say, table_of
from utils.errors import UserError, run_script


@pytest.fixture
def level(monkeypatch):
    """A function that sets the level as the command line does; what it changes is put back."""
    monkeypatch.setattr(console, "_level", NORMAL)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    before = list(logging.getLogger().handlers)

    def choose(*arguments: str) -> None:
        parser = argparse.ArgumentParser()
        console.add_console_options(parser)
        console.setup_console(parser.parse_args(arguments))

    yield choose
    logging.getLogger().handlers[:] = before


@pytest.mark.parametrize(
    ("arguments", "printed"), [(["--quiet"], [QUIET]), ([], [QUIET, NORMAL]), (["--verbose"], [QUIET, NORMAL, VERBOSE])]
)
def test_each_level_says_what_it_should_and_a_warning_once_in_one_line(level, capsys, arguments, printed):
    level(*arguments)
    for number in (QUIET, NORMAL, VERBOSE):
        say(f"level {number}", number)
    assert capsys.readouterr().out.splitlines() == [f"level {number}" for number in printed]
    for _ in range(3):
        logging.getLogger("anyone").warning("disk %s is slow", "x")
        warnings.showwarning(UserWarning("no weights"), UserWarning, "file.py", 7)
    logging.getLogger("anyone").info("not a warning")
    assert capsys.readouterr().err.splitlines() == ["warning: disk x is slow", "warning: no weights"]


def test_bars_are_for_terminals(level, monkeypatch, capsys):
    for arguments, terminal, drawn in (("", True, True), ("", False, False), ("--quiet", True, False)):
        level(*arguments.split())
        monkeypatch.setattr("sys.stderr.isatty", lambda terminal=terminal: terminal)
        assert list(progress(range(3), 3, "seeds")) == [0, 1, 2]
        assert ("seeds" in capsys.readouterr().err) == drawn


def test_a_message_does_not_stand_behind_a_bar(level, monkeypatch, capsys):
    level()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)

    def stops() -> None:
        images = iter(progress(range(3), 3, "images"))
        tiles = iter(progress(range(3), 3, "tiles"))  # held, as a generator holds one
        next(images), next(tiles)
        raise UserError("the disk is full")

    assert run_script(stops) == 2
    *_, last, end = capsys.readouterr().err.split("\n")
    assert (last.split("\r")[-1], end) == ("error: the disk is full", "")  # after the last return to the line's start


def test_a_table_sets_numbers_under_each_other():
    assert table_of({"images": 1023, "loss": 0.068679}) == "  images       1023\n  loss      0.06868"
    assert table_of({}) == ""


def test_a_second_interrupt_stops_at_once(capsys):
    with deferred_interrupt("stopping soon") as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.is_set()
        assert capsys.readouterr().out == "stopping soon; Ctrl-C again stops at once\n"
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
