"""Every item once, with and without loader processes."""

import pytest
from torch.utils.data import DataLoader

from utils.reading import read_once


class Squares:
    def __getitem__(self, number: int) -> int:
        return number**2


@pytest.mark.parametrize("workers", [0, 2])
def test_items_come_in_the_order_of_their_positions(workers):
    assert list(read_once(Squares(), [3, 1, 4, 1, 5], workers, "squares")) == [9, 1, 16, 1, 25]


def test_what_is_free_is_given_back_before_loader_processes_share_it(monkeypatch):
    order = []

    def loader(*args, **settings):
        order.append("loader")
        return DataLoader(*args, **settings)

    monkeypatch.setattr("utils.reading.give_back_memory", lambda: order.append("given back"))
    monkeypatch.setattr("utils.reading.DataLoader", loader)
    list(read_once(Squares(), [1, 2], 0, "squares"))
    assert order == ["given back", "loader"]
