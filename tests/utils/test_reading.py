"""Every item once, with and without loader processes."""

import os
import signal
import sys
import threading

import pytest

from utils.reading import leave_to_main, load_items, read_once


class Squares:
    """Notes what is read; the square of 100 cannot be had."""

    def __init__(self):
        self.read: list[int] = []

    def __getitem__(self, number: int) -> int:
        self.read.append(number)
        if number == 100:
            raise ZeroDivisionError
        return number**2


@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_items_come_in_the_order_of_their_positions(workers, threads):
    positions = [3, 1, 4, 1, 5, 9, 2, 6]
    squares = [number**2 for number in positions]
    assert list(read_once(Squares(), positions, workers, "squares", threads=threads)) == squares


def test_threads_read_no_further_ahead_than_there_are_and_raise_what_goes_wrong_where_its_item_is_asked_for():
    squares = Squares()
    items = read_once(squares, range(100), 3, "squares", threads=True)
    assert [next(items), next(items)] == [0, 1]
    items.close()
    assert len(squares.read) <= 2 + 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    items = read_once(Squares(), [2, 3, 100, 4], 2, "squares", threads=True)
    assert [next(items), next(items)] == [4, 9]
    with pytest.raises(ZeroDivisionError):
        next(items)


pressed_at_forks = False


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def press_at_forks(monkeypatch):
    """Ctrl-C reaches this process as soon as it has started another one."""
    if not hasattr(os, "register_at_fork"):
        pytest.skip("processes are not forked here")
    os.register_at_fork(after_in_parent=lambda: press() if pressed_at_forks else None)
    monkeypatch.setattr(sys.modules[__name__], "pressed_at_forks", True)


def test_ctrl_c_while_a_loader_process_is_started_is_not_lost_and_in_it_left_alone(press_at_forks):
    with pytest.raises(KeyboardInterrupt):
        load_items(range(3), workers=1)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    try:
        leave_to_main(0)
        press()
    finally:
        signal.signal(signal.SIGINT, before)
