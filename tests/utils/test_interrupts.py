"""Ctrl-C at moments that do not suit."""

import os
import signal

import pytest
from torch.utils.data import DataLoader

from utils.interrupts import deferred_interrupt, leave_to_main, started

pressed_at_forks = False


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def press_at_forks():
    """Ctrl-C reaches this process as soon as it has started another one."""
    global pressed_at_forks
    if not hasattr(os, "register_at_fork"):
        pytest.skip("processes are not forked here")
    os.register_at_fork(after_in_parent=lambda: press() if pressed_at_forks else None)
    pressed_at_forks = True
    yield
    pressed_at_forks = False


def test_a_second_interrupt_stops_at_once(capsys):
    with deferred_interrupt("stopping soon") as asked:
        press()
        assert asked.is_set()
        assert capsys.readouterr().out == "stopping soon; Ctrl-C again stops at once\n"
        with pytest.raises(KeyboardInterrupt):
            press()


def test_the_handler_before_is_there_again():
    before = signal.getsignal(signal.SIGINT)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_a_loader_process_is_started_is_not_lost(press_at_forks):
    loader = DataLoader(range(3), batch_size=None, num_workers=1, worker_init_fn=leave_to_main)
    with pytest.raises(KeyboardInterrupt):
        started(loader)


def test_loader_processes_leave_ctrl_c_alone():
    before = signal.getsignal(signal.SIGINT)
    try:
        leave_to_main(0)
        press()
    finally:
        signal.signal(signal.SIGINT, before)
