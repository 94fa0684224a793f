"""Ctrl-C at moments that do not suit: in the middle of a training step, and while loader processes are started.

with deferred_interrupt("stopping after this step") as stop:    long work that looks at stop.is_set() where it can stop
for item in started(DataLoader(..., worker_init_fn=leave_to_main)):
"""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data import DataLoader

from utils.console import say


@contextmanager
def deferred_interrupt(message: str = "") -> Iterator[threading.Event]:
    """Within it Ctrl-C says the message and sets the event; a second Ctrl-C stops at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield asked
        return
    before, process = signal.getsignal(signal.SIGINT), os.getpid()

    def ask(number: int, frame: Any) -> None:
        if os.getpid() != process:  # one that was started just now and is not yet told to leave this to us
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


def leave_to_main(worker: int) -> None:
    """For loader processes: Ctrl-C, which the terminal sends to all, is for the process that can keep what is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def started(loader: DataLoader) -> Iterator[Any]:
    """The loader's items, its processes running.

    Python loses an exception that is raised while it starts a process, so that Ctrl-C then would be ignored; it waits
    here.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed meanwhile.
    """
    with deferred_interrupt() as stop:
        items = iter(loader)
    if stop.is_set():
        raise KeyboardInterrupt
    return items
