"""The lock of a folder: one writer, who is named to the others, until it ends in whatever way."""

import contextlib
import errno
import multiprocessing
import os
import re
import signal
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from filelock import FileLock

from utils.errors import UserError
from utils.files import lock_folder


def hold_and_fork(folder: Path, child: Connection) -> None:
    with lock_folder(folder, "--run"):
        if not os.fork():
            child.send(os.getpid())  # only the child knows when it has let go of the lock
        time.sleep(600)


def test_a_killed_process_gives_it_back_and_so_does_its_child_that_goes_on(tmp_path):
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe()
    process = fork.Process(target=hold_and_fork, args=(tmp_path / "run", theirs), daemon=True)
    process.start()
    child = ours.recv()
    try:
        with pytest.raises(UserError) as refused, lock_folder(tmp_path / "run", "--run"):
            pytest.fail("two have it")
        here = re.escape(socket.gethostname())
        expected = rf"written by process {process.pid} on {here} since \d{{4}}-\d\d-\d\d .*--run"
        assert re.search(expected, str(refused.value))
        process.kill()
        process.join()
        os.kill(child, 0)
        with lock_folder(tmp_path / "run", "--run"):
            pass
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_it_is_free_after_an_error_and_not_within(tmp_path):
    with contextlib.suppress(ZeroDivisionError), lock_folder(tmp_path, "--run"):
        with pytest.raises(UserError, match=f"process {os.getpid()} "), lock_folder(tmp_path, "--run"):
            pass
        raise ZeroDivisionError
    with lock_folder(tmp_path, "--run"):
        pass


def test_without_locks_it_goes_on_and_says_so_and_without_a_folder_it_is_a_users_matter(tmp_path, monkeypatch, capsys):
    def none(*args, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", none)
    with lock_folder(tmp_path, "--run"):
        assert "has no locks (No locks available)" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), lock_folder(tmp_path / "file" / "run", "--run"):
        pass
