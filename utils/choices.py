"""Tables of what settings name, such as kinds of data: an entry by its name, or an error that lists the others."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from utils.errors import UserError

Entry = TypeVar("Entry")


def pick(table: Mapping[str, Entry], name: str, setting: str, more: Iterable[str] = ()) -> Entry:
    """The entry of a table, or a `UserError` that names the `setting`, what it may be (and `more`), and the nearest."""
    if name in table:
        return table[name]
    known = [*table, *more]
    raise UserError(f"'{setting}' must be one of {', '.join(known)}, found '{name[:100]}'{nearest(name, known)}")


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a message: which known word may have been meant; empty where none is near."""
    known = [str(name) for name in known]
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not close:  # the last part alone: `epoch` finds `cam.epochs`
        last = {name.rpartition(".")[2]: name for name in known}
        close = [last[name] for name in difflib.get_close_matches(word.rpartition(".")[2], last, n=1, cutoff=0.6)]
    return f"; did you mean '{close[0]}'?" if close else ""
