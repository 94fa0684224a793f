"""Digests of contents: what changes them, what is read again, and what the cache may be."""

import json
import os
import shutil
from pathlib import Path

import pytest

import utils.file_digests
from utils.errors import UserError
from utils.file_digests import digest_files


@pytest.fixture
def files(tmp_path) -> list[Path]:
    paths = [tmp_path / "data" / name for name in ("a.jpg", "b.jpg", "ö\udcff.jpg")]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number * 100)
    return paths


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the files that are read, in any order; all files count as old."""
    found: list[str] = []
    real = utils.file_digests._digest
    monkeypatch.setattr(utils.file_digests, "TICK", 0)
    monkeypatch.setattr(utils.file_digests, "_digest", lambda name: found.append(Path(name).name) or real(name))
    return found


def test_only_what_may_have_changed_is_read_again(files, read, tmp_path):
    cache = tmp_path / "cache.json"
    first = digest_files(files, cache)
    assert len(set(first)) == 3
    assert sorted(read) == [path.name for path in files]
    read.clear()
    assert digest_files(files, cache) == first
    assert read == []
    os.utime(files[0])
    assert digest_files(files, cache) == first
    assert read == ["a.jpg"]
    read.clear()
    assert digest_files(files[::-1], cache) == first[::-1]
    assert read == []
    about = files[0].stat()  # another content of the same size and time is another file
    other = files[0].with_suffix(".new")
    other.write_bytes(b"x" * about.st_size)
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(files[0])
    assert files[0].stat().st_mtime_ns == about.st_mtime_ns
    second = digest_files(files, cache)
    assert (second[0] != first[0], second[1:]) == (True, first[1:])


def test_a_copy_has_the_same_digests_and_what_is_missing_young_or_no_file_counts_for_itself(files, tmp_path):
    shutil.copytree(files[0].parent, tmp_path / "copy")
    assert digest_files([tmp_path / "copy" / path.name for path in files]) == digest_files(files, tmp_path / "c.json")
    assert not (tmp_path / "c.json").exists()  # all are younger than a tick, and not trusted
    files[1].unlink()
    assert digest_files(files)[1] == ""
    files[1].mkdir()
    with pytest.raises(UserError, match=r"b\.jpg cannot be read .*take it off the list"):
        digest_files(files)


def test_a_damaged_cache_is_as_good_as_none(files, read, tmp_path):
    cache = tmp_path / "cache.json"
    first = digest_files(files, cache)
    zeros = json.dumps(dict.fromkeys(json.loads(cache.read_text()), 0))
    for content in ("", "{", "[]", zeros):
        cache.write_text(content)
        assert digest_files(files, cache) == first
        read.clear()
        assert digest_files(files, cache) == first
        assert read == []
