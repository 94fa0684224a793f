"""One process at a time writes into a folder; who comes second is told who is there.

    with lock_folder(cfg.run, "--run"):
        ...

The lock is the kernel's (flock), on the file `.lock` in the folder: it ends with the process, however that ends, so there is nothing to
clean up. It holds between machines where the network file system has locks (NFS 4, or 3 with its lock service); where a
file system has none, that is said once and the work goes on. Readers need no lock, because files are written whole.
"""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path

from utils.console import QUIET, say
from utils.distributed import is_main
from utils.errors import UserError
from utils.files import writing

FILE = ".lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}

_held: set[int] = set()  # descriptors of this process


@contextlib.contextmanager
def lock_folder(folder: str | Path, option: str) -> Iterator[None]:
    """Hold the folder (made if missing) for this process.

    Of several processes of one job only the main one takes it.

    Args:
        option: of the command line, with which another folder is named.

    Raises:
        UserError: another process has it; says which, on which machine, and since when. Or the folder cannot be written.
    """
    if not is_main():
        yield
        return
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise UserError(
            f"folder {folder} cannot be written ({error.strerror}); choose another with {option}"
        ) from error
    _close_in_children()
    _held.add(descriptor)
    try:
        _take(descriptor, folder, option)
        yield
    finally:
        if descriptor in _held:  # else this is a child
            _held.remove(descriptor)
            with contextlib.suppress(OSError):  # where there are no locks
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _take(descriptor: int, folder: Path, option: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(
            f"{folder} is being written by {_holder(descriptor)}; wait until that has ended, stop it there, or name another "
            f"folder with {option}"
        ) from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        say(
            f"the file system of {folder} has no locks ({error.strerror}): take care that nothing else writes there",
            QUIET,
        )
        return
    about = {"process": os.getpid(), "host": socket.gethostname(), "since": datetime.now().isoformat(" ", "seconds")}
    with writing(folder / FILE):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)


def _holder(descriptor: int) -> str:
    """Who has the lock, as it has said itself."""
    try:
        about = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {about['process']} on {about['host']} since {about['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"


@cache
def _close_in_children() -> None:
    """See to it that forked children let go: a loader process that outlives its parent for seconds would hold the lock."""
    os.register_at_fork(after_in_child=_close_held)


def _close_held() -> None:
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()
