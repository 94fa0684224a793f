"""What counts as a stage's code: everything that its output depends on, and nothing that it does not."""

import shutil
from functools import partial
from pathlib import Path

import pytest

import utils.code_digest
from utils.code_digest import ASIDE, PROJECT, changed, symbols_of

FILES = {
    "models/method.py": '''
import math
from models import tools
from models.table import STEPS, log
import models.aside as other

FACTOR = 2

def run(cfg: "Unused", run) -> int:
    """What it does."""
    run.log(f"begins {words()}")
    if cfg is None:
        raise ValueError(words())
    return STEPS[cfg.name]().apply(FACTOR) + other.deep.help(tools.half(math.pi))

def words():
    return "words"
''',
    "models/table.py": """
from models.steps.first import First
from models.steps import Second

log = print
STEPS = {"first": First}
STEPS["second"] = Second

def unused():
    return 1
""",
    "models/steps/__init__.py": "from models.steps.second import Second\n",
    "models/steps/first.py": "class First:\n    def apply(self, x):\n        return x\n",
    "models/steps/second.py": """
def scale(x):
    return 3 * x

class Second:
    def apply(self, x):
        return scale(x)
""",
    "models/tools.py": """
def half(x):
    from models.late import late
    return late(x) / 2

def whole(x):
    return x
""",
    "models/late.py": "late = abs\n",
    "models/aside.py": "from models import deep\n",
    "models/deep.py": "def help(x):\n    return x\n",
    "utils/console.py": "def say(x):\n    print(x)\n",
}
REACHED = {
    *("models.deep.help", "models.late.late", "models.method.FACTOR", "models.method.run", "models.table.STEPS"),
    *("models.steps.first.First", "models.steps.second.Second", "models.steps.second.scale", "models.tools.half"),
}


class Root:
    """Stands for `run` of the project that is made here."""

    __module__, __qualname__ = "models.method", "run"


@pytest.fixture
def project(tmp_path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("models/steps/second.py", "3 * x", "4 * x", ["models.steps.second.scale"]),
        ("models/steps/first.py", "return x", "return -x", ["models.steps.first.First"]),
        ("models/method.py", "FACTOR = 2", "FACTOR = 3", ["models.method.FACTOR"]),
        ("models/table.py", 'STEPS["second"]', 'STEPS["last"]', ["models.table.STEPS"]),
        ("models/deep.py", "return x", "return x + 1", ["models.deep.help"]),
        ("models/late.py", "abs", "round", ["models.late.late"]),
        ("models/table.py", '"first": First', "", ["models.steps.first.First", "models.table.STEPS"]),
        ("models/method.py", "if cfg is None", "if not cfg", ["models.method.run"]),
        ("models/method.py", "What it does.", "Something else.", []),
        ("models/method.py", "    run.log", "    # why\n    run.log", []),
        ("models/method.py", "begins", "starts", []),
        ("models/method.py", "raise ValueError(words())", "raise TypeError('other words')", []),
        ("models/method.py", '"words"', '"other words"', []),
        ("models/method.py", '"Unused"', "str", []),
        ("models/steps/second.py", "3 * x", "(3 *   x)", []),
        ("models/table.py", "return 1", "return 2", []),
        ("models/tools.py", "return x\n", "return 2 * x\n", []),
        ("utils/console.py", "print(x)", "print(x, x)", []),
    ],
)
def test_what_an_edit_changes(project, name, old, new, expected):
    before = symbols_of(Root, project)
    text = (project / name).read_text()
    assert old in text
    (project / name).write_text(text.replace(old, new))
    assert changed(before, symbols_of(Root, project)) == expected


def test_a_file_that_cannot_be_parsed_or_is_gone_counts_as_changed(project):
    before = symbols_of(Root, project)
    assert set(before) == REACHED  # every definition that is used, and no other
    (project / "models/deep.py").write_text("def (")
    assert changed(before, symbols_of(Root, project)) == ["models.deep.help"]
    shutil.rmtree(project / "models")
    assert symbols_of(Root, project) == {}


class Base:
    def run(self) -> str:
        return "base"


class Derived(Base):
    pass


def test_methods_and_partials_lead_to_classes_and_arguments():
    here = __name__
    assert {f"{here}.Base", f"{here}.Derived"} <= set(symbols_of(Derived().run))
    edit = test_what_an_edit_changes
    assert f"{here}.{edit.__name__}" in symbols_of(partial(print, edit))
    assert {f"{here}.{edit.__name__}", f"{here}.Base"} <= set(symbols_of(partial(edit, Base)))
    for name in ASIDE:  # a module that is renamed would be followed from then on
        assert (PROJECT / name.replace(".", "/")).with_suffix(".py").is_file(), name
    assert utils.code_digest.__name__ in ASIDE
