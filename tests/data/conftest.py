"""Fixtures of the tests of data."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

CASES = Path(os.environ.get("IBBNET_CASES") or Path(__file__).parents[3] / "shared" / "cases")


@pytest.fixture
def case(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A copy of an input that users had, by its name; skipped where the inputs are not beside the project."""

    def find(name: str) -> Path:
        if not CASES.is_dir():
            pytest.skip("needs ../shared/cases or IBBNET_CASES")
        return Path(shutil.copytree(CASES / name, tmp_path_factory.mktemp("cases") / name))

    return find
