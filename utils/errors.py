"""A user's mistake has its own exception and its own exit code; everything else is ours and keeps its traceback.

`pick` and `nearest` are for messages about names that do not exist.
"""

import argparse
import difflib
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from utils.console import VERBOSE, close_bars, says
from utils.names import visible
from utils.startup import EXIT_INTERRUPTED, EXIT_USER, work_begins

FROM_LOADER = "Caught "  # how torch begins an error of a loader process: the traceback, then the message
EXIT_SUCCESS, EXIT_OURS = 0, 1

Entry = TypeVar("Entry")


class UserError(Exception):
    """Something that the user can correct: which file or setting, what was expected, what was found, what to do."""

    def __str__(self) -> str:
        text = super().__str__()
        if not text.startswith(FROM_LOADER):
            return text
        return text.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()


def script_parser(about: str | None) -> argparse.ArgumentParser:
    """A parser for a script or a module that `python -m` runs; `about` is its docstring."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = f"python -m {spec.name}" if spec is not None else None
    return argparse.ArgumentParser(name, description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def run_script(main: Callable[[], None]) -> int:
    """Run a script's `main` and turn how it ends into an exit code: 0 success, 2 a user's mistake, 1 a failure of ours.

    An interrupt (Ctrl-C) gives 130, and the command to go on with. With --verbose a user's mistake has its traceback.
    """
    try:
        work_begins()
        main()
    except (UserError, KeyboardInterrupt) as error:
        return report(error)
    return EXIT_SUCCESS


def report(error: BaseException) -> int:
    """Print on standard error why a script ends, with a traceback for a failure of ours; return the exit code."""
    close_bars()
    if isinstance(error, UserError):
        if says(VERBOSE):
            traceback.print_exception(error)
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return EXIT_USER
    if isinstance(error, KeyboardInterrupt):
        where = f" {error}" if str(error) else ""
        print(f"\ninterrupted{where}; run the same command again to go on from here:\n    {command()}", file=sys.stderr)
        return EXIT_INTERRUPTED
    traceback.print_exception(error)
    return EXIT_OURS


def command() -> str:
    """This script's command line, as one can type it again."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    script = ["-m", spec.name] if spec is not None else sys.argv[:1]
    processes = os.environ.get("LOCAL_WORLD_SIZE")  # torchrun's
    launcher = ["torchrun", f"--nproc_per_node={processes}"] if processes else ["python"]
    if processes and "--run" in sys.argv:
        launcher.append("--")  # it has options of its own that begin so
    return shlex.join([*launcher, *script, *sys.argv[1:]])


def pick(table: Mapping[str, Entry], name: str, setting: str, more: Iterable[str] = ()) -> Entry:
    """The entry of a table, or a `UserError` that names the `setting`, what it may be (and `more`), and the nearest."""
    if name in table:
        return table[name]
    known = [*table, *more]
    raise UserError(f"'{setting}' must be one of {', '.join(known)}, found '{name[:100]}'{nearest(name, known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message: which known word may have been meant; empty where none is near."""
    known = [str(name) for name in known]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:  # the last part alone: `epoch` finds `cam.epochs`
        last = {name.rpartition(".")[2]: name for name in known}
        close = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)]
    return f"; did you mean '{close[0]}'?" if close else ""
