"""How large files, functions, calls and lines may be; the terminal summary shows the total (tests/conftest.py)."""

import ast
from pathlib import Path

from tests.project import ROOT, code_of, parsed, product_files

LINES_OF_A_FILE, LINES_OF_A_FUNCTION, ARGUMENTS, WIDTH = 300, 50, 7, 120


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_files_and_their_functions_and_calls_are_small():
    faults = []
    for path in product_files():
        text = path.read_text(encoding="utf-8")
        if len(text.splitlines()) > LINES_OF_A_FILE:
            faults.append(f"{name_of(path)} has {len(text.splitlines())} lines")
        for node in ast.walk(parsed(path)):
            place = f"{name_of(path)}, line {getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.end_lineno - node.lineno >= LINES_OF_A_FUNCTION:
                    faults.append(f"{place}: {node.name} has more than {LINES_OF_A_FUNCTION} lines")
            elif isinstance(node, ast.Call) and len(node.args) + len(node.keywords) > ARGUMENTS:
                faults.append(f"{place}: {ast.unparse(node.func)} gets more than {ARGUMENTS} arguments")
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
