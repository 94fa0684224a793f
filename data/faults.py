"""What to do about data with a mistake: one message for each kind, with the first example and a count."""

from collections.abc import Callable, Collection, Hashable, Iterable
from typing import TypeVar

from utils.errors import UserError

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)

# Opening refuses the first record that is not as it should be; the check gathers messages and leaves the record out.
Complain = Callable[[str], None]


def refuse(message: str) -> None:
    """The `Complain` of every opening but the check's."""
    raise UserError(message)


class Faults:
    """Gathers mistakes by their kind, and then complains of each kind once: the first, and how many there are."""

    def __init__(self, complain: Complain):
        self.complain = complain
        self.found: dict[str, list[str]] = {}  # kind -> its messages

    def add(self, kind: str, message: str) -> None:
        """One mistake; of mistakes of one kind only the first is a message."""
        self.found.setdefault(kind, []).append(message)

    def report(self, *, is_empty: bool = False) -> None:
        """Complain of every kind; a `UserError` where nothing is left (`is_empty`), so that no other follows."""
        messages = [found[0] + (f" ({len(found)} such)" if len(found) > 1 else "") for found in self.found.values()]
        for message in messages:
            self.complain(message)
        if messages and is_empty:
            raise UserError(messages[0])


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Items by what `key` makes of them, in their order."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def counted(where: object, what: str, found: Collection[str], remedy: str) -> list[str]:
    """A note about what was found and not taken, or taken in another way; none where nothing was found."""
    return [f"{where}: {what}: {len(found)}, first {min(found)}; {remedy}"] if found else []
