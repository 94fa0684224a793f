"""How large files, functions, calls and lines may be; the terminal summary shows the total (tests/conftest.py)."""

import ast
from pathlib import Path

import pytest

from tests.project import ROOT, code_of, product_files

LINES_OF_A_FILE, LINES_OF_A_FUNCTION, ARGUMENTS, WIDTH = 300, 50, 7, 120


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", product_files(), ids=name_of)
def test_a_file_and_its_functions_and_calls_are_small(path):
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    faults = [f"{lines} lines"] if lines > LINES_OF_A_FILE else []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = node.end_lineno - node.lineno + 1
            if lines > LINES_OF_A_FUNCTION:
                faults.append(f"line {node.lineno}: {node.name} has {lines} lines")
        elif isinstance(node, ast.Call) and len(node.args) + len(node.keywords) > ARGUMENTS:
            count = len(node.args) + len(node.keywords)
            faults.append(f"line {node.lineno}: {ast.unparse(node.func)} gets {count} arguments")
    assert not faults


def test_lines_fit():
    code = [*product_files(), *code_of("benchmarks", "docs", "examples", "tests")]
    others = [path for pattern in ("*.md", "docs/*.md", "*.yaml", "*.toml") for path in ROOT.glob(pattern)]
    long = [
        f"{name_of(path)}, line {number}"
        for path in (*code, *others)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > WIDTH and not (path.suffix == ".md" and line.startswith("|"))  # a row of a table has one line
    ]
    assert not long, f"{len(long)} lines are longer than {WIDTH} characters: {', '.join(long[:200])}"
