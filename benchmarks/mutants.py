"""Would the tests notice? Small faults put into the code one at a time: python -m benchmarks.mutants [--sample 150] [--seed 0]

Of all faults that these rules can make (a comparison, a sign, a number, a condition, a reduction changed) an even sample is drawn.
For each, the tests that import the changed file run in a process of their own, the file's own tests first, until one fails: the
fault is killed. What survives is printed with its line: a test is missing, or the change means nothing.

Faults are put in at import, in memory; no file is changed. Processes that a test starts anew do not see them.
"""

import argparse
import ast
import copy
import importlib.machinery
import io
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.console import progress
from utils.errors import UserError, run_script

ROOT = Path(__file__).resolve().parents[1]
TARGETS = ("models", "utils/metrics.py")
ROOMS = ("data", "exports", "inference", "evaluation", "models", "pages", "stages", "tests", "utils")
NO_FAULT = -1
PATIENCE = 300  # seconds until a fault counts as noticed: it never ends
UNCOUNTED = (
    "tests/test_distributed.py",
    "tests/test_gpu.py",
    "tests/test_fuzz.py",
    "tests/test_messages.py",
)  # slow, or of all at once

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
    ast.MatMult: ast.Add,
}
METHODS = {
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "argmax": "argmin",
    "argmin": "argmax",
    "sum": "mean",
    "mean": "sum",
    "any": "all",
    "all": "any",
    "relu": "abs",
    "clamp_min": "clamp_max",
    "sigmoid": "tanh",
    "eval": "train",
    "floor": "ceil",
    "ceil": "floor",
    "zeros_like": "ones_like",
    "ones_like": "zeros_like",
}


@dataclass(frozen=True)
class Mutant:
    """A fault: the number `place` of those that the rules can put into a file."""

    path: Path
    place: int
    line: int
    said: str


class _Mutator(ast.NodeTransformer):
    """Counts the places where a rule fits, and changes the one that is asked for."""

    def __init__(self, wanted: int = NO_FAULT):
        self.wanted, self.count = wanted, 0
        self.found: list[tuple[int, str]] = []

    def _here(self, node: ast.AST, said: str) -> bool:
        self.found.append((getattr(node, "lineno", 0), said))
        self.count += 1
        return self.count - 1 == self.wanted

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return node  # what an error says is tested by tests/test_messages.py

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.args.defaults = [self.visit(default) for default in node.args.defaults]
        node.args.kw_defaults = [default and self.visit(default) for default in node.args.kw_defaults]
        node.body = [self.visit(part) for part in node.body]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return node if isinstance(node.value, ast.Constant) else self.generic_visit(node)  # a docstring

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        other = COMPARISONS[type(node.ops[0])]
        if self._here(node, f"{type(node.ops[0]).__name__} -> {other.__name__}"):
            node.ops[0] = other()
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        other = OPERATORS.get(type(node.op))
        if other and not _is_text(node.left) and self._here(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        if self._here(node, f"{type(node.op).__name__} -> {other.__name__}"):
            node.op = other()
        return node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.op, ast.USub | ast.Not | ast.Invert) and self._here(
            node, f"without {type(node.op).__name__}"
        ):
            return node.operand
        return node

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if self._here(node, "condition negated"):
            node.test = ast.UnaryOp(ast.Not(), node.test)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, bool):
            if self._here(node, f"{node.value} -> {not node.value}"):
                return ast.Constant(not node.value)
        elif isinstance(node.value, int | float):
            changed = node.value + 1 if isinstance(node.value, int) else node.value * 1.5 + 0.1
            if self._here(node, f"{node.value} -> {changed:g}"):
                return ast.Constant(changed)
        return node

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        self.generic_visit(node)
        other = METHODS.get(node.attr)
        if other and self._here(node, f"{node.attr} -> {other}"):
            node.attr = other
        return node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def mutants(path: Path) -> Iterator[Mutant]:
    """Every fault that the rules can put into a file."""
    counter = _Mutator()
    counter.visit(ast.parse(path.read_text(encoding="utf-8")))
    for place, (line, said) in enumerate(counter.found):
        yield Mutant(path, place, line, said)


def mutated(mutant: Mutant) -> ast.Module:
    """The file with its fault."""
    tree = copy.deepcopy(ast.parse(mutant.path.read_text(encoding="utf-8")))
    return ast.fix_missing_locations(_Mutator(mutant.place).visit(tree))


def tests_of(path: Path) -> list[str]:
    """Test files that import the module, its own first, then those of the same room; where none does, those of who imports it."""
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = f"tests/{path.parent.name}/test_{path.stem}"
    names = []
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        name = file.relative_to(ROOT).as_posix()
        if name not in UNCOUNTED and (module in file.read_text(encoding="utf-8") or name.startswith(own)):
            names.append(name)
    if not names:
        users = [
            user for user in path.parent.glob("*.py") if f"from {module} import" in user.read_text(encoding="utf-8")
        ]
        return sorted({name for user in users for name in tests_of(user)})
    return sorted(
        names, key=lambda name: (not name.startswith(own), not name.startswith(f"tests/{path.parent.name}/"), name)
    )


def is_killed(mutant: Mutant) -> bool:
    """Whether a test fails with this fault; in a child of this process, which has not imported the project's rooms."""
    child = multiprocessing.get_context("fork").Process(target=_run_tests, args=(mutant,))
    child.start()
    child.join(PATIENCE)
    if child.is_alive():
        child.kill()
        child.join()
        return True
    return child.exitcode != 0


def _run_tests(mutant: Mutant) -> None:
    import pytest

    original = importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: importlib.machinery.SourceFileLoader, name: str) -> Any:
        if Path(loader.path) == mutant.path:
            return compile(mutated(mutant), loader.path, "exec")
        return original(loader, name)

    setattr(importlib.machinery.SourceFileLoader, "get_code", get_code)  # noqa: B010  a method, which types do not let one assign
    for name in [name for name in sys.modules if name.split(".")[0] in ROOMS and name != "models"]:
        del sys.modules[name]  # to be imported anew, with the fault
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests_of(mutant.path)])
    os._exit(0 if code == pytest.ExitCode.OK else 1)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mutants", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sample", type=int, default=150, metavar="N", help="how many faults (default: 150)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the sample (default: 0)")
    parser.add_argument(
        "--files",
        nargs="+",
        default=TARGETS,
        metavar="PATH",
        help="files or folders (default: models, utils/metrics.py)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    import torch

    import models.backbone  # noqa: F401  with all that takes long to import, once for all children

    torch.set_num_threads(1)
    paths = [
        path
        for name in args.files
        for path in (sorted((ROOT / name).glob("*.py")) if (ROOT / name).is_dir() else [ROOT / name])
    ]
    known = [mutant for path in paths if path.stem != "__init__" for mutant in mutants(path)]
    chosen = random.Random(args.seed).sample(known, min(args.sample, len(known)))
    for path in sorted({mutant.path for mutant in chosen}):
        if is_killed(Mutant(path, NO_FAULT, 0, "")):
            raise UserError(f"the tests of {path.relative_to(ROOT)} fail without any fault; mend them first")
    started, survivors = time.perf_counter(), []
    for mutant in progress(chosen, len(chosen), "mutants", unit="mutant"):
        if not is_killed(mutant):
            survivors.append(mutant)
            print(f"survived  {mutant.path.relative_to(ROOT)}:{mutant.line}  {mutant.said}", flush=True)
    killed = len(chosen) - len(survivors)
    print(
        f"{killed} of {len(chosen)} killed ({100 * killed / len(chosen):.1f} %), drawn from {len(known)} with seed {args.seed}; "
        f"{time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(run_script(main))
