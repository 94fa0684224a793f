"""Fixtures of the tests of data."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def case(shared_data: Path) -> Callable[[str], Path]:
    """A case's folder by its name."""

    def find(name: str) -> Path:
        folder = shared_data.parent / "cases" / name
        if not folder.is_dir():
            pytest.skip(f"needs ../shared/cases/{name}")
        return folder

    return find
