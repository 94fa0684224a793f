"""Files are written whole or not at all: to a temporary name beside the target, then renamed onto it.

Networks, resumable states and `stages.json` are `durable`: on the disk before they get their name. Small images are
brought to the disk together (`Run.finish`); when a stage goes on, `is_whole` finds those that a power cut has cut off.

One process at a time writes into a folder. The lock is the kernel's (filelock, on the file `.lock`) and ends with the
process; `.lock.json` names the holder. Where a file system has no locks, a message warns once and the work goes on.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from utils.console import QUIET, say
from utils.distributed import is_main
from utils.errors import UserError

TEMPORARY = re.compile(r"\..*\.(?P<host>[^.]+)\.(?P<process>\d{1,9})\.tmp(\.[^.]+)?")
FORGOTTEN = 3600.0  # seconds after which what another machine was writing is taken for left behind
LONGEST_STEM = 120  # of a temporary name, in bytes; file systems take names of 255

ZIP = (b"PK\x03\x04", 22, b"PK\x05\x06")
ENDS = {  # how files begin, and with what this many bytes before their end
    ".npz": ZIP,
    ".pth": ZIP,
    ".png": (b"\x89PNG", 8, b"IEND"),
    ".jpg": (b"\xff\xd8", 2, b"\xff\xd9"),
}
LOCK, HOLDER = ".lock", ".lock.json"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
WEBP = ".webp"  # says its own length


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the target's folder (made if missing); on success it becomes `target`, else it is gone.

    It keeps the suffix, by which writers choose a format. An `OSError` inside is a `UserError`. `durable` waits until
    the file and its name are on the disk.
    """
    target = Path(target)
    stem = target.stem if len(os.fsencode(target.stem)) <= LONGEST_STEM else digest(target.stem)
    temporary = target.with_name(f".{stem}.{_host()}.{os.getpid()}.tmp{target.suffix}")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                _to_disk(temporary)
            os.replace(temporary, target)
            if durable:
                _to_disk(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(target: str | os.PathLike) -> Iterator[None]:
    """Within it an `OSError` becomes a `UserError` which says that `target` cannot be written, why, and what to do."""
    try:
        yield
    except OSError as error:
        why = f"{error.strerror or str(error)[:200]}; {free_space(target) / 1e9:.1f} GB free there"
        remedy = "make room, or choose a folder that can be written, then run the same command again"
        raise UserError(f"{target} cannot be written ({why}); {remedy}: what is done is kept") from error


def write_text(target: str | os.PathLike, text: str, durable: bool = False) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(target, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | os.PathLike, value: Any, durable: bool = False) -> None:
    """Write indented JSON atomically."""
    write_text(target, json.dumps(value, indent=2, ensure_ascii=False) + "\n", durable)


def read_json(path: Path) -> dict[str, Any]:
    """An object of JSON; empty where the file is missing or damaged: for files that only save time."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def is_whole(path: str | os.PathLike) -> bool:
    """Whether a file exists, and begins and ends as its kind does (`ENDS`; .webp by its length).

    Only a few bytes are read, so that a hundred thousand files can be checked.
    """
    path = Path(path)
    if path.suffix not in (*ENDS, WEBP):
        return path.is_file()
    try:
        with path.open("rb") as file:
            if path.suffix == WEBP:
                head = file.read(8)
                return head[:4] == b"RIFF" and int.from_bytes(head[4:], "little") + 8 == file.seek(0, os.SEEK_END)
            begin, before_end, end = ENDS[path.suffix]
            begins = file.read(len(begin)) == begin
            file.seek(-before_end, os.SEEK_END)
            return begins and file.read(len(end)) == end
    except OSError:  # none, or shorter than its end
        return False


def remove_leftovers(folder: str | os.PathLike, deep: bool = True) -> None:
    """Remove what `atomic_path` of killed processes has left in a folder and (`deep`) below it, before writing there.

    Files of living processes are kept; those of another machine for an hour.
    """
    for path in Path(folder).glob("**/.*.tmp*" if deep else ".*.tmp*"):
        found = TEMPORARY.fullmatch(path.name)
        if found and _is_left(path, found["host"], int(found["process"])):
            with contextlib.suppress(OSError):  # gone by itself, or not ours to remove
                path.unlink()


@contextlib.contextmanager
def lock_folder(folder: str | Path, option: str) -> Iterator[None]:
    """Hold the folder (made if missing) for this process; of several processes of one job only the main one takes it.

    A folder that another process has, or that cannot be written, is a `UserError`. `option` is the one of the command
    line that names another folder.
    """
    if not is_main():
        yield
        return
    folder = Path(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        about = read_json(folder / HOLDER)
        holder = "another process"
        if {"process", "host", "since"} <= about.keys():
            holder = f"process {about['process']} on {about['host']} since {about['since']}"
        remedy = f"wait until that has ended, stop it there, or name another folder with {option}"
        raise UserError(f"{folder} is being written by {holder}; {remedy}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            remedy = f"choose another with {option}"
            raise UserError(f"folder {folder} cannot be written ({error.strerror}); {remedy}") from error
        say(f"the file system of {folder} has no locks ({error.strerror}): see that nothing else writes there", QUIET)
    try:
        since = datetime.now().isoformat(" ", "seconds")
        write_json(folder / HOLDER, {"process": os.getpid(), "host": socket.gethostname(), "since": since})
        yield
    finally:
        lock.release()


def require_space(folder: str | os.PathLike, needed: float, purpose: str) -> None:
    """Stop before hours of work rather than after them: a `UserError` where there are fewer bytes than `needed`."""
    free = free_space(folder)
    if needed > free:
        what = f"about {needed / 1e9:.2f} GB are needed in {folder}, {free / 1e9:.2f} GB are free"
        remedy = "make room, or choose a folder on another disk; what is done is kept"
        raise UserError(f"the disk is too full for {purpose}: {what}; {remedy}")


def require_writable(target: str | os.PathLike) -> None:
    """A `UserError` before hours of work, and not after them, where a file of this name could not be written."""
    with writing(target):
        if Path(target).is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=Path(target).parent):
            pass


def free_space(path: str | os.PathLike) -> int:
    """Bytes that can still be written on the disk of a path, which need not exist yet."""
    path = Path(path).absolute()
    return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free


def digest(value: Any) -> str:
    """A short fingerprint of anything that JSON can hold; equal values give equal fingerprints."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems keep names in order without being asked
            raise
    finally:
        os.close(descriptor)


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname())[:40] or "host"


def _is_left(path: Path, host: str, process: int) -> bool:
    """Whether the process that was writing has ended. This one has not begun, so its own id is a former one's."""
    with contextlib.suppress(FileNotFoundError, PermissionError):  # gone; or somebody else's process, but alive
        if host != _host():
            return time.time() - path.stat().st_mtime > FORGOTTEN
        if process == os.getpid():
            return True
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
    return False
