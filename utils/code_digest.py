"""Which code makes a stage's output, and what of it has changed.

    symbols = symbols_of(make_seeds)     # {"models.ibb.reactivate": "5f1c0a9e", ...}
    changed(before, symbols)             # ["models.ibb.reactivate"]

Every name that a function uses is followed to its definition in this project (a function, a class, a table), and so
on from there. Each definition has a digest of its syntax. Comments, docstrings, annotations, log lines and error
messages are left out, because they change no output. Nothing is imported or run for this: the files are only parsed.

Some modules do not decide any content and are not followed (`ASIDE`). What `data.index` opens is in the data's
fingerprint, and what settings hold is in that of the settings.
"""

import ast
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
ROOMS = ("data", "evaluation", "models", "stages", "utils")
_ASIDE = {
    "data": "index settings",
    "stages": "affinity_sheet choices config files lists settings space",
    "utils": "checkpoint choices code_digest code_record config_file config_values console distributed errors "
    "file_digests files lock memory metrics_log names pipeline reading run settings startup visualize",
}
ASIDE = frozenset(f"{room}.{name}" for room, names in _ASIDE.items() for name in names.split())
LOGS = frozenset({"info", "log", "say", "warn", "warning"})  # calls that only inform
LENGTH = 12  # of a digest, in characters

Symbols = dict[str, str]  # "module.name" -> digest of its definition


def symbols_of(root: Any, project: Path = PROJECT) -> Symbols:
    """Every definition of the project that a function, method or partial reaches, itself included.

    Args:
        root: what runs. What a partial has as arguments is followed too.
        project: the folder with the rooms.
    """
    found: Symbols = {}
    waiting = list(_definitions_of(root))
    rooms = {*ROOMS, *(path.partition(".")[0] for path in waiting)}
    while waiting:
        path = waiting.pop()
        if path in found or path.partition(".")[0] not in rooms:
            continue
        module, name = _split(project, path)
        source = None if module in ASIDE else _read_module(project, module)
        if source is None:
            continue
        if not name:  # a module as a value
            waiting += [f"{module}.{each}" for each in source.definitions]
        elif name in source.imported:
            waiting.append(source.imported[name])
        elif name in source.definitions and f"{module}.{name}" not in found:
            found[f"{module}.{name}"], names = source.definitions[name]
            waiting += source.follow(names, module)
    return dict(sorted(found.items()))


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the definitions that are new, gone or other ones."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _definitions_of(root: Any) -> Iterator[str]:
    """Dotted names of the definitions that hold the code of an object."""
    if isinstance(root, partial):
        for each in (root.func, *root.args, *root.keywords.values()):
            yield from _definitions_of(each)
        return
    if not hasattr(root, "__qualname__"):
        root = type(root)
    yield f"{root.__module__}.{root.__qualname__}"
    owner = getattr(root, "__self__", None)  # of a method: its class may be a derived one
    if owner is not None:
        yield from _definitions_of(owner if isinstance(owner, type) else type(owner))


def _split(project: Path, path: str) -> tuple[str, str]:
    """A dotted name as the module that it begins with, the longest there is, and the name in it."""
    parts = path.split(".")
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if _file_of(project, module) is not None:
            return module, parts[count] if count < len(parts) else ""
    return path, ""


def _file_of(project: Path, module: str) -> Path | None:
    base = project.joinpath(*module.split("."))
    return next((path for path in (base.with_name(f"{base.name}.py"), base / "__init__.py") if path.is_file()), None)


class _Module:
    """The definitions of a file, and what its names from elsewhere stand for, as dotted names.

    A definition is all statements at the top level that give a name its value, or change it.

    Attributes:
        definitions: name -> digest of the definition, and the names that it uses (`_names_in`).
    """

    def __init__(self, tree: ast.Module):
        self.imported: dict[str, str] = {}
        statements: defaultdict[str, list[ast.stmt]] = defaultdict(list)
        self._read(tree.body, statements)
        self.definitions = {name: (_digest_of(found), _names_in(found)) for name, found in statements.items()}

    def _read(self, body: list[ast.stmt], statements: defaultdict[str, list[ast.stmt]]) -> None:
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imported |= _imports(statement)
            elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For):
                for block in ("body", "orelse", "finalbody"):
                    self._read(getattr(statement, block, []), statements)
                for handler in getattr(statement, "handlers", []):
                    self._read(handler.body, statements)
            else:
                for name in _given(statement):
                    statements[name].append(statement)

    def follow(self, names: set[str], module: str) -> Iterator[str]:
        """Where the names lead, as far as the module can say."""
        for name in names:
            first, _, rest = name.partition(".")
            if not first:
                yield rest
            elif first in self.definitions:
                yield f"{module}.{first}"
            elif first in self.imported:
                yield f"{self.imported[first]}.{rest}".rstrip(".")


def _digest_of(statements: list[ast.stmt]) -> str:
    text = "\n".join(map(ast.dump, statements))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def _names_in(statements: list[ast.stmt]) -> set[str]:
    """Names of their module that they use, with attributes (`a.b`); what they import themselves begins with a dot."""
    found: set[str] = set()
    waiting: list[ast.AST] = [*statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name | ast.Attribute) and (dotted := _dotted(node)):
            found.add(dotted)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {f".{path}" for path in _imports(node).values()}
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _read_module(project: Path, module: str) -> _Module | None:
    """A module of the project; None where there is no such file, or none that can be parsed."""
    path = _file_of(project, module)
    if path is None:
        return None
    about = path.stat()
    try:
        return _parse(path, (about.st_mtime_ns, about.st_size))
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def _parse(path: Path, state: tuple[int, int]) -> _Module:
    return _Module(_Content().visit(ast.parse(path.read_bytes())))


def _imports(statement: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Name -> what it stands for, as a dotted name."""
    if isinstance(statement, ast.ImportFrom):
        return {alias.asname or alias.name: f"{statement.module}.{alias.name}" for alias in statement.names}
    first = {alias.name.partition(".")[0] for alias in statement.names if not alias.asname}
    return {alias.asname: alias.name for alias in statement.names if alias.asname} | {name: name for name in first}


def _given(statement: ast.stmt) -> set[str]:
    """The names to which a statement at the top level gives a value, or whose value it changes (`A["b"] = c`)."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign | ast.AugAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        targets = [statement.value.func]
    return {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of a name and its attributes; empty for those of anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


class _Content(ast.NodeTransformer):
    """Takes away what changes no output."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """The docstring, and the annotation of what it returns."""
        node.body, node.returns = _without_docstring(node.body), None
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """The docstring."""
        node.body = _without_docstring(node.body)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        """The annotation."""
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        """The annotation; that a field is declared stays."""
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """What is raised."""
        node.exc = node.cause = None
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """A call that only informs."""
        call = node.value
        if isinstance(call, ast.Call):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in LOGS:
                return None
        return self.generic_visit(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(getattr(first.value, "value", None), str)
    return body[1:] if is_docstring else body
