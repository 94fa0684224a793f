"""How a script ends: exit codes, and whose mistakes have a traceback."""

import sys

import pytest
from torch.utils.data import DataLoader, Dataset

from data.images import UnreadableImage
from utils.errors import UserError, nearest, pick, report, run_script


def fail(error: BaseException) -> None:
    raise error


def test_an_interrupt_says_how_to_go_on(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--set", "data.root=my images"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert run_script(lambda: fail(KeyboardInterrupt("in stage cam"))) == 130
    printed = capsys.readouterr().err
    assert "interrupted in stage cam; run the same command again" in printed
    assert printed.endswith("    python train.py --set 'data.root=my images'\n")


def test_our_mistakes_have_a_traceback_and_what_a_file_says_cannot_act_on_the_terminal(capsys):
    assert run_script(lambda: None) == 0
    assert run_script(lambda: fail(UserError("a name \x1b[2J\x07 ü\nof two lines"))) == 2
    assert capsys.readouterr().err == "error: a name \\x1b[2J\\x07 ü\nof two lines\n"
    with pytest.raises(KeyError):  # from which Python makes exit code 1 and a traceback
        run_script(lambda: {}["our mistake"])
    assert report(ValueError("ours")) == 1
    assert capsys.readouterr().err == "ValueError: ours\n"  # one that was not raised has no traceback but this line


class Failing(Dataset):
    def __init__(self, error: Exception):
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, position: int) -> int:
        raise self.error from ValueError("the cause")


@pytest.mark.parametrize("kind", [UserError, UnreadableImage])
def test_a_users_mistake_found_by_a_loader_process_is_reported_without_its_traceback(kind, capsys):
    def main() -> None:
        list(DataLoader(Failing(kind("image a: b cannot be read; give another")), num_workers=1))

    assert run_script(main) == 2
    assert capsys.readouterr().err == "error: image a: b cannot be read; give another\n"


TABLE = {"voc": 1, "coco": 2}


def test_an_entry_of_a_table_by_its_name_or_the_known_ones_and_the_nearest():
    assert [pick(TABLE, name, "data.kind") for name in TABLE] == [1, 2]
    with pytest.raises(UserError) as error:
        pick(TABLE, "cocoa", "data.kind", more=["NAME"])
    assert str(error.value) == "'data.kind' must be one of voc, coco, NAME, found 'cocoa'; did you mean 'coco'?"
    with pytest.raises(UserError, match=rf"found '{'x' * 100}'$"):
        pick(TABLE, "x" * 1000, "data.kind")
    found = [nearest(word, ["cam.epochs", "seed"]) for word in ("epoch", "cam.epoch", "xyzzy", "")]
    assert found == ["; did you mean 'cam.epochs'?"] * 2 + ["", ""]
