"""A user's mistake has its own exception and its own exit code; everything else is ours and keeps its traceback."""

import shlex
import sys
import traceback
from collections.abc import Callable

from utils.console import VERBOSE, close_bars, says

EXIT_SUCCESS, EXIT_OURS, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message names the file or setting, what was expected, what was found, and what to do.
    """


def run_script(main: Callable[[], None]) -> int:
    """Run a script's `main` and turn how it ends into an exit code: 0 success, 2 a user's mistake, 1 a failure of ours.

    An interrupt (Ctrl-C) gives 130, and the command to go on with. With --verbose a user's mistake has its traceback, too. A failure of ours raises on, so that its traceback is seen; Python then exits 1.
    """
    try:
        main()
    except UserError as error:
        close_bars()
        if says(VERBOSE):
            traceback.print_exc()
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt as stop:
        close_bars()
        where = f" {stop}" if str(stop) else ""
        print(f"\ninterrupted{where}; run the same command again to go on from here:\n    {command()}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_SUCCESS


def command() -> str:
    """This script's command line, as one can type it again."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    script = ["-m", spec.name] if spec is not None else sys.argv[:1]
    return shlex.join(["python", *script, *sys.argv[1:]])
