"""Which room may import which: the order that lets a reader understand a file by reading downwards only."""

import ast
import tomllib
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

from tests.project import ROOT, code_of, parsed, product_files

# Room -> the rooms that it may import from, besides itself. docs/design.md says why.
ROOMS = {
    "utils": set(),
    "data": {"utils"},
    "models": {"utils"},
    "pages": {"utils"},
    "stages": {"data", "models", "utils"},
    "inference": {"data", "models", "pages", "stages", "utils"},
    "evaluation": {"data", "models", "pages", "stages", "inference", "utils"},  # what infer.py draws is evaluated
    "exports": {"data", "models", "stages", "evaluation", "inference", "utils"},
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
OUTSIDE = {"benchmarks", "docs", "examples", "tests"}  # may import all, and nobody imports them
ACROSS = {"test_cases.py", "test_malformed.py"}  # of a whole room


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules of this project that a file imports anywhere in it, by dotted name."""
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports by a relative name"
            assert node.module is not None
            found |= {
                name if (ROOT / name.replace(".", "/")).with_suffix(".py").is_file() else node.module
                for name in (f"{node.module}.{alias.name}" for alias in node.names)
            }
    return frozenset(name for name in found if name.partition(".")[0] in {*ROOMS, *SCRIPTS, *OUTSIDE})


def name_of(path: Path) -> str:
    """As others import it: a folder stands for its `__init__`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_a_room_imports_only_from_the_rooms_below_it():
    for room, below in ROOMS.items():
        for path in code_of(room):
            above = {name for name in imports(path) if name.partition(".")[0] not in {room} | below}
            assert not above, path


def test_no_file_imports_itself_by_way_of_others():
    files = product_files()
    modules = {name_of(path) for path in files}
    graph = {name_of(path): imports(path) & modules for path in files}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def test_tests_mirror_the_tree():
    for path in (ROOT / "tests").glob("*/**/test_*.py"):
        files = {file.stem for file in (ROOT / path.parent.relative_to(ROOT / "tests")).glob("*.py")}
        about = path.stem.removeprefix("test_")
        if about.startswith("cases"):  # of a whole room, in ../shared/cases
            continue
        assert path.name in ACROSS or any(about == name or about.startswith(f"{name}_") for name in files), path


def test_every_folder_of_code_is_a_room_and_tools_look_at_every_room():
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    assert folders - {path.name for path in ROOT.glob(".*")} == {*ROOMS, *OUTSIDE}
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert set(settings["ruff"]["lint"]["isort"]["known-first-party"]) == {*ROOMS, "benchmarks", "tests"}
    assert {*ROOMS, "benchmarks", "tests"} <= set(settings["mypy"]["files"])
