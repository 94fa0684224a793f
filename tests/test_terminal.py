"""What a person at a terminal sees of a run that Ctrl-C stops: the scripts in a terminal of their own, loader processes and all."""

import os
import select
import sys
import termios
from pathlib import Path

import pytest

from data.shapes import generate
from tests.project import ROOT, SETTINGS, Project, call, new_project
from tests.test_scripts import SCRIPTS

pty = pytest.importorskip("pty", reason="terminals of this kind are Unix's")
LIMIT = 600  # seconds of silence after which something hangs
CTRL_C = b"\x03"


def stopped_in_terminal(arguments: list[str], at: str) -> tuple[int, list[str]]:
    """Run a script, press Ctrl-C when the terminal shows `at` -> exit code, and the lines as they stand in the end."""
    child, terminal = pty.fork()
    if not child:
        os.environ["OMP_NUM_THREADS"] = "1"
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, *arguments])
    termios.tcsetwinsize(terminal, (40, 120))
    shown, pressed = b"", False
    while True:
        assert select.select([terminal], [], [], LIMIT)[0], shown.decode()
        try:
            part = os.read(terminal, 2**16)
        except OSError:  # how Linux says that the other end is closed
            part = b""
        if not part:
            break
        shown += part
        if not pressed and at.encode() in shown:
            os.write(terminal, CTRL_C)
            pressed = True
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = shown.decode().replace("\r\n", "\n").split("\n")
    return code, [line.split("\r")[-1].rstrip() for line in lines]


def test_ctrl_c_stops_with_a_message_and_no_traceback(tmp_path: Path):
    new_project(tmp_path)
    arguments = ["train.py", "--config", f"{tmp_path}/settings.yaml", "--set", "workers=1"]
    code, lines = stopped_in_terminal(arguments, "cam epoch 1/")
    text = "\n".join(lines)
    assert code == 130, text
    assert "Traceback" not in text
    assert "\ninterrupted in stage cam" in text
    assert "run the same command again to go on from here" in text
    assert not any("step/s" in line for line in lines), text  # no bar is left
    assert not list((tmp_path / "run").rglob(".*.tmp*"))


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Project:
    """A trained classifier, and images enough to be stopped among them."""
    project = Project(tmp_path_factory.mktemp("many"))
    generate(project.folder / "voc", train=12, val=12, size=64)
    (project.folder / "settings.yaml").write_text(SETTINGS.format(folder=project.folder))
    ended = project.train("--stages", "cam")
    assert ended.code == 0, ended.err
    return project


@pytest.mark.parametrize(
    ("command", "bar"),
    [
        ("train.py --config {0}/settings.yaml --stages seeds", "seeds"),
        ("evaluate.py --model_path {0}/run/classifier.pth", "ablation"),
        ("infer.py --input {0}/voc/JPEGImages --model_path {0}/run/classifier.pth --output {0}/out", "images"),
    ],
)
def test_ctrl_c_among_images_can_be_gone_on_from(many, command, bar):
    arguments = command.format(many.folder).split()
    code, lines = stopped_in_terminal(arguments, f"{bar}:   0%")
    text = "\n".join(lines)
    assert code == 130, text
    assert "Traceback" not in text
    assert "run the same command again to go on from here" in text
    assert not any("0%" in line for line in lines), text  # no bar is left
    again = call(arguments[0].removesuffix(".py"), *arguments[1:])
    assert again.code == 0, again.err
    assert not list(many.folder.rglob(".*.tmp*"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_ctrl_c_while_packages_are_imported(script):
    code, lines = stopped_in_terminal(["-X", "importtime", f"{script}.py", "--help"], " torch.")
    said = [line for line in lines if line and not line.startswith(("import time:", "^C"))]
    assert (code, said) == (130, ["interrupted before the work began"])
