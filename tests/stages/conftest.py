"""Stages are tried on a run with a tiny backbone."""

import pytest

from tests.project import Project


@pytest.fixture(scope="session")
def finished(finished_tiny: Project) -> Project:
    return finished_tiny
