"""The folder of inputs that users had, where it lies beside the project; tests of them are skipped without it."""

import os
import shutil
from pathlib import Path

import pytest

CASES = Path(os.environ.get("IBBNET_CASES") or Path(__file__).parents[3] / "shared" / "cases")


def case(name: str, tmp_path: Path) -> Path:
    """A copy of a case, because masks are drawn into it."""
    if not (CASES / name).is_dir():
        pytest.skip(f"needs {name} in ../shared/cases or IBBNET_CASES")
    return Path(shutil.copytree(CASES / name, tmp_path / name))
