"""Names that files give, before they become paths: a name must stay in the folder that it is put into, on any system.

Every reader of names asks `fault_of`, and adds its file and record to the answer.
"""

import os
import re
from pathlib import PurePosixPath

MOST_BYTES = 230  # of a part; file systems take 255, and what is being written has a longer name (utils/files.py)
MOST_PATH = 1000  # bytes in all; systems take 4,096, with the folders above
DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def fault_of(name: str) -> str | None:
    r"""What keeps a name from being a path inside any folder, with '/' or '\' between its parts; None if nothing."""
    if not name.strip("./\\ "):
        return "is empty or names a folder"
    parts = name.replace("\\", "/").split("/")
    if ".." in parts:
        return "leads out of its folder by '..'"
    if not parts[0] or re.match("[A-Za-z]:", name):
        return "is an absolute path"
    if re.search("[\\x00-\\x1f\\x7f]", name):
        return "holds a control character"
    if not can_be_encoded(name):
        return "holds half a character, which no file name can"
    if is_too_long(name):
        return f"is too long; a part may have {MOST_BYTES} bytes and the whole {MOST_PATH}"
    devices = [part for part in parts if part.partition(".")[0].rstrip().casefold() in DEVICES]
    return f"has the part '{devices[0]}', which Windows keeps for a device" if devices else None


def is_too_long(name: str) -> bool:
    """Whether no file of that name can be written beside others while it is being written."""
    sizes = [len(os.fsencode(part)) for part in PurePosixPath(name.replace("\\", "/")).parts]
    return sum(sizes) + len(sizes) > MOST_PATH or max(sizes, default=0) > MOST_BYTES


def shown(name: str) -> str:
    """A name for a message: in quotes, nothing in it that a terminal would act on, and no longer than a line."""
    text = visible(name if len(name) <= 60 else f"{name[:57]}...").replace("\n", "\\n")
    return f"'{text}'"


def visible(text: str) -> str:
    """Text for a terminal: line breaks as they are, and escaped what a terminal would act on or cannot show."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def can_be_encoded(name: str) -> bool:
    """Whether the system can have it in a path."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True
