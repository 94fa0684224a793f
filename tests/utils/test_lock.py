"""The lock of a folder: one writer, who is named to the others, until it ends in whatever way."""

import contextlib
import errno
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import utils.lock
from utils.errors import UserError
from utils.lock import lock_folder

ROOT = Path(__file__).parents[2]
HOLD = """
import os, sys, time
from utils.lock import lock_folder
with lock_folder(sys.argv[1], "--run"):
    print("held", flush=True)
    time.sleep(600)
"""
HOLD_AND_FORK = HOLD.replace("    time", "    if not os.fork(): print(os.getpid(), flush=True)\n    time")


def hold(folder: Path, program: str = HOLD) -> subprocess.Popen:
    """A process that has the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_told_who_is_there_and_a_killed_one_is_not(tmp_path):
    process = hold(tmp_path / "run")
    try:
        with pytest.raises(UserError) as told, lock_folder(tmp_path / "run", "--run"):
            pytest.fail("two have it")
        expected = rf"run is being written by process {process.pid} on {re.escape(socket.gethostname())} since \d{{4}}-\d\d-\d\d .*--run"
        assert re.search(expected, str(told.value))
        with lock_folder(tmp_path / "other", "--run"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with lock_folder(tmp_path / "run", "--run"):
        pass


def test_it_is_free_after_an_error_and_not_within(tmp_path):
    with contextlib.suppress(ZeroDivisionError), lock_folder(tmp_path, "--run"):
        with pytest.raises(UserError, match=f"process {os.getpid()} "), lock_folder(tmp_path, "--run"):
            pass
        raise ZeroDivisionError
    with lock_folder(tmp_path, "--run"):
        pass
    assert not utils.lock._held


def test_a_child_that_outlives_its_parent_does_not_hold_it(tmp_path):
    process = hold(tmp_path, HOLD_AND_FORK)
    child = int(process.stdout.readline())
    try:
        process.kill()
        process.wait()
        os.kill(child, 0)
        with lock_folder(tmp_path, "--run"):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_a_child_that_ends_does_not_free_it(tmp_path):
    with lock_folder(tmp_path, "--run"):
        child = multiprocessing.get_context("fork").Process(target=print)
        child.start()
        child.join()
        with pytest.raises(UserError), lock_folder(tmp_path, "--run"):
            pass


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", "\x00\x00"])
def test_whoever_does_not_say_who_it_is_is_another_process(tmp_path, content):
    with lock_folder(tmp_path, "--run"):
        (tmp_path / utils.lock.FILE).write_text(content)
        with pytest.raises(UserError, match="written by another process; wait"), lock_folder(tmp_path, "--run"):
            pass


def test_without_locks_it_goes_on_and_says_so(tmp_path, monkeypatch, capsys):
    def none(*args):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(utils.lock.fcntl, "flock", none)
    with lock_folder(tmp_path, "--run"):
        assert "has no locks (No locks available)" in capsys.readouterr().out


def test_a_folder_that_cannot_be_made_is_a_users_matter(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), lock_folder(tmp_path / "file" / "run", "--run"):
        pass
