"""A user's mistake has its own exception and its own exit code; everything else is ours and keeps its traceback."""

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable

from utils.console import VERBOSE, close_bars, says
from utils.names import visible
from utils.startup import EXIT_INTERRUPTED, EXIT_USER, work_begins

FROM_LOADER = "Caught "  # how torch begins an error of a loader process: the traceback, then the message
EXIT_SUCCESS, EXIT_OURS = 0, 1


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
