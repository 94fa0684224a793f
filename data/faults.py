"""Mistakes of one file or folder: one message for each kind, not one for each record."""

from data.dataset import Complain
from utils.errors import UserError


class Faults:
    """Gathers mistakes by their kind, and then complains of each kind once: the first, and how many there are."""

    def __init__(self, complain: Complain):
        self.complain = complain
        self.found: dict[str, list[str | int]] = {}  # kind -> its first message, and how many there are

    def add(self, kind: str, message: str) -> None:
        """One mistake; mistakes of one kind are told together."""
        first = self.found.setdefault(kind, [message, 0])
        first[1] = int(first[1]) + 1

    def messages(self) -> list[str]:
        """One for each kind."""
        return [f"{first} ({count} such)" if int(count) > 1 else f"{first}" for first, count in self.found.values()]

    def tell(self, *, is_empty: bool = False) -> None:
        """Complain of every kind.

        Args:
            is_empty: nothing is left without what has faults.

        Raises:
            UserError: there are faults, and nothing is left; so no complaint about that follows.
        """
        messages = self.messages()
        for message in messages:
            self.complain(message)
        if messages and is_empty:
            first = messages[0]
            raise UserError(first)

    def __bool__(self) -> bool:
        return bool(self.found)
