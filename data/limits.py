"""What an image may be at most, and the error for one that cannot be read.

A file of a few kilobytes can unpack to more than any memory. So its size is read first, and a file over the limit of
this process (`data.max_pixels`) is refused before a pixel is decoded.
"""

import os

from utils.errors import UserError

MAX_PIXELS = 180_000_000  # about 13,400 a side, where Pillow draws the line, too
LIMIT = "IBBNET_MAX_PIXELS"  # in the environment, because loader processes inherit that however they are started


class UnreadableImage(UserError):
    """An image that is missing, truncated, too large, of a type that needs a setting, or no image at all."""


def limit_pixels(most: int) -> None:
    """Set the limit of this process and of those that it starts, `data.max_pixels`; one for all, as Pillow's own is."""
    os.environ[LIMIT] = str(most)


def most_pixels() -> int:
    """The limit that holds."""
    return int(os.environ.get(LIMIT, MAX_PIXELS))


def check_pixels(height: int, width: int, what: str) -> None:
    """Refuse what would unpack to more than the limit.

    Raises:
        UnreadableImage: the message begins with `what`.
    """
    if height * width > most_pixels():
        raise too_large(what, f"{width} x {height}")


def too_large(what: str, size: str) -> UnreadableImage:
    """The error for a file that is over the limit."""
    return UnreadableImage(
        f"{what} is of {size} pixels, above data.max_pixels ({most_pixels()}), which keeps small files from filling "
        "the memory; make it smaller, or, if you trust it, raise the limit with --set data.max_pixels=..."
    )
