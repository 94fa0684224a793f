"""What a script does first of all, before imports that take seconds; it imports only Python's own modules.

From `prepare` to `work_begins` Ctrl-C ends the script with one line, and a missing package is named with what to do.
"""

import os
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from utils.memory import keep_freed_memory

OLDEST = (3, 11)
PROJECT = Path(__file__).parents[1]
EXIT_USER, EXIT_INTERRUPTED = 2, 130


def prepare() -> None:
    """To be called by a script, where it is run and not imported, before it imports anything else."""
    if sys.version_info < OLDEST:
        oldest, found = (".".join(map(str, version[:3])) for version in (OLDEST, sys.version_info))
        what = f"IBBNet needs Python {oldest} or later, and {sys.executable} is {found}"
        _end(f"error: {what}; make the virtual environment with a newer one", EXIT_USER)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored, as in a shell's background
        signal.signal(signal.SIGINT, _interrupted)
    sys.excepthook = _missing_package
    keep_freed_memory()
    # A thread waits for the others of its operation by default for a while in a loop, which keeps a core from whatever
    # holds them up; asleep it costs microseconds, and an operation takes milliseconds. Read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def work_begins() -> None:
    """Everything is imported: from here on Ctrl-C and errors do what is usual in Python, and `~` is expanded."""
    if sys.excepthook is _missing_package:
        sys.excepthook = sys.__excepthook__
    if signal.getsignal(signal.SIGINT) is _interrupted:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = map(expand_home, sys.argv[1:])


def expand_home(text: str) -> str:
    """`~/x`, `--run=~/x` and `data.root=~/x` with the home folder for `~`; shells expand only the first of these."""
    name, equals, path = text.rpartition("=")
    return name + equals + os.path.expanduser(path) if path == "~" or path.startswith("~/") else text


def _interrupted(signal_number: int, frame: Any) -> None:
    # Not an exception: half imported packages would turn it into errors of their own. Nothing has been written yet.
    _end("\ninterrupted before the work began", EXIT_INTERRUPTED)


def _missing_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    name = (error.name or "").split(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or (PROJECT / name).is_dir():
        sys.__excepthook__(kind, error, trace)
        return
    remedy = "activate the virtual environment (source .venv/bin/activate) or install what is needed"
    what = f"the package {name} is not installed for {sys.executable}"
    _end(f"error: {what}; {remedy}: python -m pip install -r requirements.txt", EXIT_USER)


def _end(message: str, code: int) -> NoReturn:
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes one prints
        os.write(2, f"{message}\n".encode())
    os._exit(code)
