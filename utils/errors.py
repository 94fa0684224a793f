"""A user's mistake has its own exception and its own exit code; everything else is ours and keeps its traceback."""

import sys
from collections.abc import Callable

EXIT_SUCCESS, EXIT_OURS, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class UserError(Exception):
    """Something that the person at the keyboard can mend.

    The message names the file or setting, what was expected, what was found, and what to do.
    """


def run_script(main: Callable[[], None]) -> int:
    """Run a script's `main` and turn how it ends into an exit code: 0 success, 2 a user's mistake, 1 a failure of ours.

    An interrupt (Ctrl-C) gives 130. A failure of ours raises on, so that its traceback is seen; Python then exits 1.
    """
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except KeyboardInterrupt:
        print("\ninterrupted; run the same command again to go on from here", file=sys.stderr)
        return EXIT_INTERRUPTED
    return EXIT_SUCCESS
