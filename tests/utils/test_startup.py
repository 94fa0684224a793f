"""What a script says before its packages are imported."""

import os
import re
import signal
import subprocess
import sys

from tests.project import ROOT
from tests.test_scripts import SCRIPTS
from utils.startup import prepare, work_begins

PREPARE = "from utils.startup import prepare; prepare()"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=os.environ | environment)


def test_a_python_without_the_packages_or_too_old_is_named_and_our_mistakes_keep_their_traceback():
    for script in SCRIPTS:
        ended = run("-S", f"{script}.py", "--help")  # without site-packages
        assert ended.returncode == 2
        assert re.fullmatch(r"error: the package .*source \.venv/bin/activate.*\n", ended.stderr)
    old = f"import sys; sys.version_info = (3, 10, 2); {PREPARE}"
    for arguments, rank, code, said in (
        (("-S", "train.py"), "1", 2, r"\A\Z"),  # of several processes one speaks
        (("-c", old), "0", 2, "Python 3.11 or later.* is 3.10.2"),
        (("-c", f"{PREPARE}; import utils.nothing"), "0", 1, "Traceback"),  # a missing module of ours
    ):
        ended = run(*arguments, RANK=rank)
        assert ended.returncode == code
        assert re.search(said, ended.stderr)


def test_threads_that_wait_sleep_unless_the_environment_says_otherwise():
    program = "import os; from utils.startup import prepare; prepare(); print(os.environ.get('OMP_WAIT_POLICY'))"
    for name, found in (("OTHER", "PASSIVE"), ("OMP_WAIT_POLICY", "1")):
        assert run("-c", program, **{name: "1"}).stdout.strip() == found


def test_when_the_work_begins_all_is_as_usual_and_an_interrupt_that_is_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in a shell's background
    try:
        usual = signal.getsignal(signal.SIGINT), sys.excepthook
        prepare()
        assert (signal.getsignal(signal.SIGINT), sys.excepthook) != usual
        work_begins()
        assert (signal.getsignal(signal.SIGINT), sys.excepthook) == (signal.default_int_handler, sys.__excepthook__)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        prepare()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
        work_begins()


def test_the_home_folder_is_known_wherever_a_path_can_stand(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    given = ["x.py", "--run", "~/r", "--run=~/r", "--set", "data.root=~/d", "~", "a~/b", "~you", "x=~y"]
    monkeypatch.setattr(sys, "argv", given)
    work_begins()
    home = "/home/me"
    expected = ["--run", f"{home}/r", f"--run={home}/r", "--set", f"data.root={home}/d", home, "a~/b", "~you", "x=~y"]
    assert sys.argv == ["x.py", *expected]
