"""What a person at a terminal sees: messages by level, progress bars, tables, and each warning once."""

import argparse
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from utils.names import visible

QUIET, NORMAL, VERBOSE = range(3)

_level = NORMAL  # one terminal, one level


def add_console_options(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet` and `--verbose`."""
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--quiet", action="store_true", help="say only warnings, errors and results; no progress bars")
    choice.add_argument("--verbose", action="store_true", help="say more, and show where an error came from")


def setup_console(args: argparse.Namespace) -> None:
    """Take the options of `add_console_options`, and print every warning once, in a line without its source."""
    global _level
    _level = QUIET if args.quiet else VERBOSE if args.verbose else NORMAL
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if not isinstance(handler, _Once)]
    root.addHandler(_Once())
    warnings.showwarning = lambda message, *_, **__: logging.getLogger("ibbnet").warning("%s", message)


def says(level: int) -> bool:
    """Whether messages of this level are printed."""
    return _level >= level


def say(message: str, level: int = NORMAL) -> None:
    """Print a line, above the bars, if its level was asked for."""
    if says(level):
        tqdm.write(visible(message), file=sys.stdout)
        sys.stdout.flush()


def progress(iterable: Iterable | None, total: int, title: str, initial: int = 0, unit: str = "image") -> tqdm:
    """A bar with rate (in `unit`) and time left, on a terminal only; without `iterable` it is moved by `update`."""
    style: dict[str, Any] = {"unit": unit, "dynamic_ncols": True, "leave": says(VERBOSE)}
    hidden = not says(NORMAL) or not sys.stderr.isatty()
    with deferred_interrupt() as stop:  # tqdm removes only bars that it has drawn once
        bar = tqdm(iterable, title, total, initial=initial, disable=hidden, **style)
    if stop.is_set():
        signal.raise_signal(signal.SIGINT)
    return bar


@contextmanager
def deferred_interrupt(message: str = "") -> Iterator[threading.Event]:
    """Within it Ctrl-C prints the message and sets the event; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    before, process = signal.getsignal(signal.SIGINT), os.getpid()

    def ask(signal_number: int, frame: Any) -> None:
        if os.getpid() != process:  # a loader process that has just started
            return
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if message:
            say(f"{message}; Ctrl-C again stops at once")

    signal.signal(signal.SIGINT, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)


def close_bars() -> None:
    """Remove the bars when something stops the work, so that a message has a line of its own."""
    for bar in sorted(getattr(tqdm, "_instances", ()), key=lambda bar: -abs(bar.pos)):  # inner ones are below
        bar.close()


def table_of(values: Mapping[str, float]) -> str:
    """Names and numbers in two columns, a line each."""
    width = max(map(len, values), default=0)
    shown = {name: str(value) if isinstance(value, int) else f"{value:.4g}" for name, value in values.items()}
    return "\n".join(f"  {name:{width}}  {text:>9}" for name, text in shown.items())


class _Once(logging.Handler):
    """Warnings on standard error, above the bars, the same text only once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self.shown:
            self.shown.add(text)
            tqdm.write(f"{record.levelname.lower()}: {visible(text)}", file=sys.stderr)
