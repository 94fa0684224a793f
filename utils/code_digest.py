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
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
ROOMS = ("data", "evaluation", "models", "stages", "utils")
_ASIDE = {
    "data": "index settings",
    "stages": "affinity_sheet config files lists settings",
    "utils": "checkpoint choices code_digest code_record config_file config_values console distributed errors "
    "file_digests files lock memory metrics_log names pipeline reading run settings startup visualize",
}
ASIDE = frozenset(f"{room}.{name}" for room, names in _ASIDE.items() for name in names.split())
LOGS = frozenset({"info", "log", "say", "warn", "warning"})  # calls that only inform
LENGTH = 12  # of a digest, in characters
BLOCKS = ("body", "handlers", "orelse", "finalbody")  # of statements
DOTTED = re.compile(r"\w+(\.\w+)*")  # a name and its attributes

Symbols = dict[str, str]  # "module.name" -> digest of its definition


def symbols_of(root: Any, project: Path = PROJECT) -> Symbols:
    """Every definition of the project that a function, method or partial (with its arguments) reaches, and itself."""
    found: Symbols = {}
    waiting = list(_definitions_of(root))
    rooms = {*ROOMS, *(path.partition(".")[0] for path in waiting)}
    while waiting:
        path = waiting.pop()
        if path in found or path.partition(".")[0] not in rooms:
            continue
        module, name = _split(project, path)
        source = None if module in ASIDE else _read_module(_file_of(project, module))
        if source is None:
            continue
        if not name:  # a module as a value
            waiting += [f"{module}.{each}" for each in source.definitions]
        elif name in source.imported:
            waiting.append(source.imported[name])
        elif name in source.definitions and f"{module}.{name}" not in found:
            found[f"{module}.{name}"], names = source.definitions[name]
            waiting += filter(None, (source.target(name, module) for name in names))
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
    if (owner := getattr(root, "__self__", None)) is not None:  # of a method: its class may be a derived one
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

    def _read(self, body: list[Any], statements: defaultdict[str, list[ast.stmt]]) -> None:
        for statement in body:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imported |= _imports(statement)
            elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.ExceptHandler):
                for block in BLOCKS:
                    self._read(getattr(statement, block, []), statements)
            else:
                for name in _given(statement):
                    statements[name].append(statement)

    def target(self, name: str, module: str) -> str:
        """Where a name of this module leads, as far as the module can say."""
        first, _, rest = name.partition(".")
        if not first:
            return rest
        if first in self.definitions:
            return f"{module}.{first}"
        return f"{self.imported[first]}.{rest}".rstrip(".") if first in self.imported else ""


def _digest_of(statements: list[ast.stmt]) -> str:
    text = "\n".join(map(ast.dump, statements))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def _names_in(statements: list[ast.stmt]) -> set[str]:
    """Names of their module that they use, with attributes (`a.b`); what they import themselves begins with a dot."""
    found: set[str] = set()
    waiting: list[ast.AST] = [*statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= {f".{path}" for path in _imports(node).values()}
        elif isinstance(node, ast.Name | ast.Attribute) and DOTTED.fullmatch(name := ast.unparse(node)):
            found.add(name)
        else:
            waiting += ast.iter_child_nodes(node)
    return found


def _read_module(path: Path | None) -> _Module | None:
    """A module of the project; None where there is no such file, or none that can be parsed."""
    if path is None:
        return None
    about = path.stat()
    try:
        return _parse(path, (about.st_mtime_ns, about.st_size))
    except (OSError, SyntaxError, ValueError):
        return None


@cache
def _parse(path: Path, state: tuple[int, int]) -> _Module:
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree):
        _strip(node)
    return _Module(tree)


def _strip(node: Any) -> None:
    """Take away what changes no output: docstrings, annotations, what is raised, and calls that only inform."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        node.returns = None
    elif isinstance(node, ast.arg | ast.AnnAssign):
        node.annotation = None
    elif isinstance(node, ast.Raise):
        node.exc = node.cause = None
    for block in BLOCKS:
        if isinstance(statements := getattr(node, block, None), list):
            setattr(node, block, [each for each in statements if not _only_informs(each)])


def _only_informs(statement: ast.AST) -> bool:
    value = getattr(statement, "value", None) if isinstance(statement, ast.Expr) else None
    if isinstance(value, ast.Call):
        return getattr(value.func, "attr", getattr(value.func, "id", "")) in LOGS
    return isinstance(value, ast.Constant)


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
