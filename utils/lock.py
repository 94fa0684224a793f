"""One process at a time writes into a folder; the message for a second one names the first.

The lock is the kernel's (filelock, on the file `.lock`) and ends with the process; `.lock.json` names the holder.
Where a file system has no locks, a message warns once and the work goes on. Readers need no lock.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from utils.console import QUIET, say
from utils.distributed import is_main
from utils.errors import UserError
from utils.files import read_json, write_json

FILE, HOLDER = ".lock", ".lock.json"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


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
    lock = FileLock(folder / FILE, timeout=0)
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
