"""Memory that is freed stays in the process, so that the next step finds it there.

The C library (glibc) hands large blocks back to the system as soon as they are freed. A training step on a CPU frees all that its
forward pass has kept, more than a gigabyte, and the next one may have to ask for it again, 4 kB at a time, which the system fills
with zeros: up to a quarter of the processor's time.

    keep_freed_memory()     at the start of a script; loader processes inherit it
    give_back_memory()      where the next work needs another amount: between stages

Elsewhere than on glibc both do nothing. Imports nothing but Python's own, because `utils/startup.py` calls it.
"""

import ctypes
import os
import sys

# mallopt(3): what is free at the heap's end stays (-1), and no block, however large, has pages of its own, which go with it (0).
M_TRIM_THRESHOLD, NEVER = -1, -1
M_MMAP_MAX, NO_BLOCK = -4, 0
OWN = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Of this process and of those that it forks; not where the environment sets the allocator (`OWN`)."""
    library = _glibc()
    if library is not None and not any(name in os.environ for name in OWN):
        library.mallopt(M_TRIM_THRESHOLD, NEVER)
        library.mallopt(M_MMAP_MAX, NO_BLOCK)


def give_back_memory() -> None:
    """Hand what is free back to the system, this once."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """The C library that this process runs with, if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") else None
