"""What a person at a terminal sees of a run that Ctrl-C stops, loader processes included."""

import importlib
import os
import select
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tqdm import tqdm

from tests.models.tiny import TinyBackbone
from tests.project import ROOT, call, new_project
from utils.errors import run_script

pty = pytest.importorskip("pty", reason="terminals of this kind are Unix's")
LIMIT = 60  # seconds of silence after which something hangs
CTRL_C = b"\x03"


def stopped_in_terminal(run: Callable[[], None], at: str) -> tuple[int, list[str]]:
    """Run something in a process with a terminal of its own, press Ctrl-C when the terminal shows `at`.

    Returns:
        The exit code, and the lines as they stand in the end.
    """
    child, terminal = pty.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
        os._exit(99)
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


def script(name: str, *arguments: str) -> Callable[[], None]:
    """A script's `main`, run as from the shell; the process is forked, which saves the seconds of importing."""
    main = importlib.import_module(name).main

    def slowly(*arguments, stages=TinyBackbone.stages, **more):  # leaves time to press a key
        time.sleep(0.5)
        return stages(*arguments, **more)

    def run() -> None:
        os.chdir(ROOT)
        pytest.MonkeyPatch().setattr(TinyBackbone, "stages", slowly)
        tqdm.set_lock(threading.RLock())  # its own is shared with the parent, and may be held at an interrupt
        sys.argv = [f"{name}.py", *arguments]
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
        os._exit(run_script(main))

    return run


def stopped_well(run: Callable[[], None], at: str, bar: str) -> str:
    """What stands in the terminal of something that Ctrl-C stops: how to go on, no traceback, and no bar."""
    code, lines = stopped_in_terminal(run, at)
    text = "\n".join(lines)
    assert code == 130, text
    assert "Traceback" not in text
    assert "run the same command again to go on from here" in text
    assert bar not in text
    return text


def test_ctrl_c_stops_with_a_message_and_no_traceback(tmp_path: Path, tiny_backbone: str):
    new_project(tmp_path, tiny_backbone)
    train = script("train", "--config", f"{tmp_path}/settings.yaml", "--set", "workers=1")
    assert "\ninterrupted in stage cam" in stopped_well(train, "cam epoch 1/", bar="step/s")
    assert not list((tmp_path / "run").rglob(".*.tmp*"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("command", "bar"),
    [
        ("train --config {0}/settings.yaml --stages seeds --redo seeds", "seeds"),
        ("evaluate --model_path {0}/run/classifier.pth", "ablation"),
        ("infer --input {0}/voc/JPEGImages --model_path {0}/run/classifier.pth --output {0}/out", "images"),
    ],
)
def test_ctrl_c_among_images_can_be_gone_on_from(project, command, bar):
    arguments = command.format(project.folder).split()
    stopped_well(script(*arguments), f"{bar}:   0%", bar="0%")
    call(*arguments).well()
    assert not list(project.folder.rglob(".*.tmp*"))


def test_ctrl_c_while_packages_are_imported():
    """As train.py begins; that the other scripts begin alike is tested in tests/utils/test_startup.py."""
    arguments = [sys.executable, "-X", "importtime", str(ROOT / "train.py"), "--help"]
    code, lines = stopped_in_terminal(lambda: os.execv(sys.executable, arguments), " torch.")
    said = [line for line in lines if line and not line.startswith(("import time:", "^C"))]
    assert (code, said) == (130, ["interrupted before the work began"])
