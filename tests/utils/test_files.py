"""Files: durable where asked for, whole or made again; leftovers of killed processes are removed; a full disk."""

import contextlib
import errno
import importlib.util
import multiprocessing
import os
import re
import signal
import socket
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

import utils.files
from data.artifacts import Seed, write_mask, write_seed
from tests.project import refused
from utils.errors import UserError
from utils.files import atomic_path, digest, is_whole, lock_folder, read_json, remove_leftovers, write_json, write_text


@pytest.fixture
def steps(monkeypatch) -> list[tuple[str, str]]:
    """What is done to the disk, in order: ("flush" or "rename", name)."""
    done = []
    rename = os.replace
    monkeypatch.setattr(utils.files, "_to_disk", lambda path: done.append(("flush", path.name)))

    def noted(source: Path, target: Path) -> None:
        done.append(("rename", Path(target).name))
        rename(source, target)

    monkeypatch.setattr(utils.files.os, "replace", noted)
    return done


def test_a_durable_file_is_on_the_disk_before_it_has_its_name_and_the_name_afterwards(tmp_path, steps):
    with atomic_path(tmp_path / "a.pth", durable=True) as temporary:
        temporary.write_bytes(b"network")
    assert steps == [("flush", temporary.name), ("rename", "a.pth"), ("flush", tmp_path.name)]
    steps.clear()
    write_text(tmp_path / "a.txt", "text")
    assert steps == [("rename", "a.txt")]
    # The fixture of all tests replaces it, so it is tried in a copy of the module.
    fresh = importlib.util.module_from_spec(utils.files.__spec__)
    utils.files.__spec__.loader.exec_module(fresh)
    fresh.write_text(tmp_path / "deep/a.txt", "text", durable=True)
    assert (tmp_path / "deep/a.txt").read_text() == "text"


def whole_files(folder: Path) -> list[Path]:
    paths = [folder / name for name in ("seed.npz", "mask.png", "image.jpg", "network.pth", "image.webp")]
    write_seed(paths[0], Seed(np.array([1]), np.random.default_rng(0).random((1, 25, 25)), (100, 100)))
    write_mask(paths[1], np.random.default_rng(0).integers(0, 9, (100, 100)))
    Image.fromarray(np.zeros((60, 60, 3), np.uint8)).save(paths[2])
    torch.save({"weight": torch.randn(30, 30)}, paths[3])
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)).save(paths[4])
    return paths


def test_whole_files_are_known_from_cut_and_emptied_ones(tmp_path):
    for path in whole_files(tmp_path):
        content = path.read_bytes()
        assert is_whole(path)
        ends_in_zeros = [content[:-40] + bytes(40)] if path.suffix != ".webp" else []  # which says its length alone
        cut = [content[:length] for length in (len(content) - 1, len(content) // 2, 3, 0)]
        for damaged in (*cut, bytes(len(content)), bytes(40) + content[40:], *ends_in_zeros):
            path.write_bytes(damaged)
            assert not is_whole(path), (path.name, len(damaged))
        path.unlink()
        assert not is_whole(path)
    assert not is_whole(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_text("")
    assert is_whole(tmp_path / "a.txt")


def test_damaged_json_is_nothing_and_a_digest_is_that_of_the_value(tmp_path):
    assert read_json(tmp_path / "a.json") == {}
    for content in ("", "{", "[1]", "\x00", '{"a": 1'):
        (tmp_path / "a.json").write_text(content)
        assert read_json(tmp_path / "a.json") == {}
    write_json(tmp_path / "a.json", {"ä": [1, None]})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ä": [\n    1,\n    null\n  ]\n}\n'
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1}) == digest({"a": 1, "b": (1, 2)})
    different = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": None}, [1, 2], [2, 1], [[1], 2], "", None, 0.1, Path("x")]
    assert len({digest(value) for value in different}) == len(different)


def test_leftovers_of_the_dead_are_removed_and_nothing_else(tmp_path):
    (tmp_path / "seeds").mkdir()
    ended = multiprocessing.get_context("fork").Process(target=os.getpid)
    ended.start()
    ended.join()
    host, dead = utils.files._host(), f"{utils.files._host()}.{ended.pid}"
    left = [f".a.{dead}.tmp.npz", f"seeds/.b.png.{dead}.tmp.png", f"..lock.{dead}.tmp"]
    left += [f".mine.{host}.{os.getpid()}.tmp.npz", ".old.othermachine.7.tmp.pth"]
    kept = [f".a.{host}.{os.getppid()}.tmp.npz", ".young.othermachine.7.tmp.pth", f"a.{dead}.tmp.npz"]
    kept += ["a.npz", ".fingerprint", ".a.tmp.npz", "seeds/.hidden"]
    for name in (*left, *kept):
        (tmp_path / name).write_text("half")
    os.utime(tmp_path / left[-1], (time.time() - 7200,) * 2)
    remove_leftovers(tmp_path)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(kept)
    remove_leftovers(tmp_path / "nowhere")


def test_leftovers_are_what_an_interrupted_write_leaves(tmp_path):
    target = tmp_path / ("long" * 50 + ".json")  # a name to which nothing can be added
    with atomic_path(target) as temporary:
        temporary.write_text("half")
        assert utils.files.TEMPORARY.fullmatch(temporary.name)
        assert temporary.suffix == ".json"
    assert os.listdir(tmp_path) == [target.name]


@pytest.mark.parametrize("number", [28, 30, 122, 5])
def test_a_disk_that_takes_nothing_is_a_users_matter(tmp_path, monkeypatch, number):
    write_json(tmp_path / "a.json", [1])

    def full(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(utils.files.os, "replace", full)
    message = rf"a\.json cannot be written \({os.strerror(number)}; .* GB free there\); make room"
    refused(message, write_json, tmp_path / "a.json", [2])
    assert (tmp_path / "a.json").read_text().split() == ["[", "1", "]"]
    assert os.listdir(tmp_path) == ["a.json"]


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
        with pytest.raises(UserError) as caught, lock_folder(tmp_path / "run", "--run"):
            pytest.fail("two have it")
        here = re.escape(socket.gethostname())
        expected = rf"written by process {process.pid} on {here} since \d{{4}}-\d\d-\d\d .*--run"
        assert re.search(expected, str(caught.value))
        process.kill()
        process.join()
        os.kill(child, 0)
        with lock_folder(tmp_path / "run", "--run"):
            pass
    finally:
        process.kill()
        os.kill(child, signal.SIGKILL)


def test_it_is_free_after_an_error_and_not_within_and_where_there_are_no_locks(tmp_path, monkeypatch, capsys):
    with contextlib.suppress(ZeroDivisionError), lock_folder(tmp_path, "--run"):
        with pytest.raises(UserError, match=f"process {os.getpid()} "), lock_folder(tmp_path, "--run"):
            pass
        raise ZeroDivisionError
    with lock_folder(tmp_path, "--run"):
        pass

    def none(*args, **options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", none)
    with lock_folder(tmp_path, "--run"):
        assert "has no locks (No locks available)" in capsys.readouterr().out
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"), lock_folder(tmp_path / "file" / "run", "--run"):
        pass
