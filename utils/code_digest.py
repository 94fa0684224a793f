"""Which code makes a stage's output, and what of it has changed since an output was made.

Every name that a function uses is followed to its definition in this project (a function, a class, a table), and so
on from there. Each definition has a digest of its syntax, without what changes no output. Files are only parsed.

Some modules do not decide any content and are not followed (`ASIDE`). What `data.index` opens is in the data's
fingerprint, and what settings hold is in that of the settings.

`stages.json` of a run has one digest for each stage. `code.json` has the definitions behind it, and the code with which
each stage was begun: one that was stopped goes on, and its output counts as made by the former code.
"""

import ast
import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from utils.files import digest, read_json, write_json

PROJECT = Path(__file__).parents[1]
ROOMS = ("data", "evaluation", "inference", "models", "stages", "utils")
_ASIDE = {
    "data": "index settings",
    "stages": "affinity_sheet config files settings",
    "utils": "checkpoint code_digest config_file console distributed errors "
    "file_digests files memory names pipeline reading run settings startup visualize",
}
ASIDE = frozenset(f"{room}.{name}" for room, names in _ASIDE.items() for name in names.split())
LOGS = frozenset({"info", "log", "say", "warn", "warning"})  # calls that only inform
LENGTH = 12  # of a digest, in characters
CODE_RECORD = "code.json"
SHOWN = 4  # names in a message
BLOCKS = ("body", "handlers", "orelse", "finalbody")  # of statements
DOTTED = re.compile(r"\w+(\.\w+)*")  # a name and its attributes

Symbols = dict[str, str]  # "module.name" -> digest of its definition
# Of a module: name -> what it stands for, as a dotted name; name -> digest of its definition, dotted names in it.
Names = tuple[dict[str, str], dict[str, tuple[str, set[str]]]]


class CodeRecord:
    """The code of all stages as it is now, and as it was."""

    def __init__(self, folder: Path, runs: Mapping[str, Any]):
        """`runs`: stage -> what runs. To be made before the work begins: files may be edited while it goes on."""
        self.path = folder / CODE_RECORD
        self.symbols: dict[str, Symbols] = {name: symbols_of(run) for name, run in runs.items()}
        # Stage -> digest of its code; empty where its source is not there.
        self.current = {name: digest(symbols) if symbols else "" for name, symbols in self.symbols.items()}
        content = read_json(self.path)
        # Stage -> fingerprint, code and `redo` of the output that was begun last.
        self.begun: dict[str, dict[str, Any]] = _tables(content.get("begun"))
        self.known: dict[str, Symbols] = _tables(content.get("code"))

    def made_by(self, stage: str, base: str, entry: Mapping[str, Any], has_begun: Callable[[str], bool]) -> str:
        """The code of the output that is there, done (`entry` in `stages.json`) or begun; else the present code.

        `base` is what the output depends on besides code; `has_begun` says whether a fingerprint has left something.
        """
        for record in (entry, self.begun.get(stage, {})):
            code, fingerprint = record.get("code", ""), record.get("fingerprint", "")
            if fingerprint == with_code(base, code) and (record is entry or has_begun(fingerprint)):
                return code
        return self.current[stage]

    def is_being_redone(self, stage: str, fingerprint: str) -> bool:
        """Whether `--redo` has begun this output before and was stopped."""
        return self.begun.get(stage) == {"fingerprint": fingerprint, "code": self.current[stage], "redo": True}

    def begin(self, stage: str, fingerprint: str, code: str, redo: bool, used: Sequence[str]) -> None:
        """Note that an output is begun; `used` are the digests of code that finished stages have."""
        if redo or self.begun.get(stage, {}).get("fingerprint") != fingerprint:
            self.begun[stage] = {"fingerprint": fingerprint, "code": code, "redo": redo}
        self.known[self.current[stage]] = self.symbols[stage]
        kept = {*used, *(str(record.get("code")) for record in self.begun.values())}
        self.known = {code: symbols for code, symbols in self.known.items() if code in kept}
        write_json(self.path, {"begun": self.begun, "code": self.known})

    def changes(self, stage: str, code: str) -> str:
        """What has changed since a stage was made by `code`, in words; empty where nothing has, or nothing is known."""
        now = self.current[stage]
        if not code or not now or code == now:
            return ""
        if code not in self.known:
            return "what, is not recorded"
        names = changed(self.known[code], self.symbols[stage])
        return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def with_code(base: str, code: str) -> str:
    """A stage's fingerprint: what its output depends on, and the code that made it."""
    return digest([base, code])


def _tables(content: Any) -> dict[str, Any]:
    """A table of tables; what is damaged is left out."""
    return {k: v for k, v in content.items() if isinstance(v, dict)} if isinstance(content, dict) else {}


def symbols_of(root: Any, project: Path = PROJECT) -> Symbols:
    """Every definition of the project that a function, method or partial (with its arguments) reaches, and itself."""
    found: Symbols = {}
    waiting = list(_definitions_of(root))
    rooms = {*ROOMS, *(path.partition(".")[0] for path in waiting)}
    files = _modules_of(project, rooms)
    followed = files.keys() - ASIDE
    names_of = cache(lambda module: _parse(files[module].read_bytes(), module) if module in followed else ({}, {}))
    while waiting:
        path = waiting.pop()
        if path in found or path.partition(".")[0] not in rooms:
            continue
        module, name = _split(files, path)
        imported, definitions = names_of(module)
        if not name:  # a module as a value
            waiting += [f"{module}.{each}" for each in definitions]
        elif name in imported:
            waiting.append(imported[name])
        elif name in definitions and f"{module}.{name}" not in found:
            found[f"{module}.{name}"], used = definitions[name]
            waiting += used
    return dict(sorted(found.items()))


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of the definitions that are new, gone or other ones."""
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))


def _definitions_of(root: Any) -> Iterator[str]:
    if isinstance(root, partial):
        for each in (root.func, *root.args, *root.keywords.values()):
            yield from _definitions_of(each)
        return
    if not hasattr(root, "__qualname__"):
        root = type(root)
    yield f"{root.__module__}.{root.__qualname__}"
    if (owner := getattr(root, "__self__", None)) is not None:  # of a method: its class may be a derived one
        yield from _definitions_of(owner if isinstance(owner, type) else type(owner))


def _modules_of(project: Path, rooms: Iterable[str]) -> dict[str, Path]:
    """The dotted name of each module in these rooms -> its file. Only packages are looked into: `data` has datasets."""
    files = [path for room in rooms if (path := project / f"{room}.py").is_file()]
    folders = [project / room for room in rooms]
    while folders:
        folder = folders.pop()
        files += folder.glob("*.py")
        folders += [path.parent for path in folder.glob("*/__init__.py")]
    return {".".join(path.relative_to(project).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def _split(files: Mapping[str, Path], path: str) -> tuple[str, str]:
    """A dotted name as the module that it begins with, the longest there is, and the name in it."""
    module, name = path, ""
    while module not in files:
        module, _, name = module.rpartition(".")
        if not module:
            return path, ""
    return module, name


@cache
def _parse(source: bytes, module: str) -> Names:
    """The names of a module, none if it cannot be parsed; a definition is all that gives or changes a name's value."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return {}, {}
    for node in ast.walk(tree):
        _strip(node)
    imported: dict[str, str] = {}
    statements: defaultdict[str, list[ast.stmt]] = defaultdict(list)
    waiting: list[Any] = tree.body[::-1]
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imported |= _imports(statement)
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.ExceptHandler):
            waiting += [each for block in BLOCKS for each in getattr(statement, block, [])][::-1]
        else:
            for name in _given(statement):
                statements[name].append(statement)
    places = imported | {name: f"{module}.{name}" for name in statements}
    definitions = {}
    for name, found in statements.items():
        text = "\n".join(map(ast.dump, found))
        definitions[name] = hashlib.sha256(text.encode()).hexdigest()[:LENGTH], _uses(found, places)
    return imported, definitions


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


def _uses(statements: Sequence[ast.stmt], places: Mapping[str, str]) -> set[str]:
    """Dotted names of what statements use: names of their module (`places` says where they lead), and imports."""
    found: set[str] = set()
    waiting: list[ast.AST] = [*statements]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= set(_imports(node).values())
        elif isinstance(node, ast.Name | ast.Attribute) and DOTTED.fullmatch(text := ast.unparse(node)):
            first, _, rest = text.partition(".")
            if first in places:
                found.add(f"{places[first]}.{rest}".rstrip("."))
        else:
            waiting += ast.iter_child_nodes(node)
    return found
