"""Digests of files' contents, kept in a cache so that only files that may have changed are read.

A file is read again if its size, its times or its inode differ from those in the cache.
"""

import hashlib
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from utils.console import progress
from utils.errors import UserError
from utils.files import read_json, write_text

LENGTH = 20  # of a digest, in characters
THREADS = 8  # reading waits for the disk, and hashing lets other threads run
# A file that was changed so shortly before may change again without a new time: file systems count time in ticks.
TICK = 2 * 10**9  # nanoseconds


def digest_files(paths: Sequence[str | Path], cache: Path | None = None) -> list[str]:
    """The digest of each file's content, "" for a file that is not there; `UserError` for one that cannot be read.

    `cache` is a JSON file: absolute path -> state and digest, with a space between. It is written where there is
    something new; a damaged one is ignored.
    """
    known = read_json(cache) if cache is not None else {}
    names = [os.path.abspath(path) for path in paths]
    states = {name: _state(name) for name in names}
    stale = [name for name, state in states.items() if state and str(known.get(name)).rpartition(" ")[0] != state]
    found: dict[str, str] = {}
    youngest = time.time_ns() - TICK
    pool = ThreadPoolExecutor(THREADS)
    try:
        digests = progress(pool.map(_digest, stale), len(stale), "digests of new files", unit="file")
        for name, digest in zip(stale, digests, strict=True):
            found[name] = f"{states[name]} {digest}"
    finally:
        pool.shutdown(cancel_futures=True)  # else Ctrl-C would wait for all files
        lasting = {name: entry for name, entry in found.items() if max(map(int, entry.split()[1:3])) < youngest}
        if cache is not None and lasting:
            write_text(cache, json.dumps(known | lasting) + "\n")
    known = known | found
    return [known[name].rpartition(" ")[2] if states[name] else "" for name in names]


def _state(name: str) -> str:
    """What changes when a file does; empty where there is none."""
    try:
        about = os.stat(name)
    except OSError:
        return ""
    return f"{about.st_size} {about.st_mtime_ns} {about.st_ctime_ns} {about.st_ino}"


def _digest(name: str) -> str:
    try:
        with open(name, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:LENGTH]
    except OSError as error:
        remedy = "check its permissions, or take it off the list"
        raise UserError(f"{name} cannot be read ({error.strerror}); {remedy}") from error
