"""The code that made the output of each stage of a run; utils/code_digest.py says what counts as a stage's code.

`stages.json` has one digest for each stage. `code.json` has the definitions behind it, and the code with which each
stage was begun: one that was stopped goes on, and its output counts as made by the former code.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.code_digest import Symbols, changed, symbols_of
from utils.files import digest, read_json, write_json

CODE_RECORD = "code.json"
SHOWN = 4  # names in a message


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
