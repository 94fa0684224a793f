"""Memory: keep what is freed for the next step, give it back between stages, and find the peak of a stage.

glibc hands large blocks back to the system as soon as they are freed. A training step on a CPU frees more than a
gigabyte, and the next one asks for it again, 4 kB at a time, filled with zeros: up to a quarter of the time. Without
glibc nothing is done. Imports only Python's own modules: `utils/startup.py` needs it before torch.
"""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8  # of mallopt(3)
OWN = ("MALLOC_", "GLIBC_TUNABLES")  # how variables of the environment begin that set the allocator


def keep_freed_memory() -> None:
    """In this process and those that it forks; not where the environment sets the allocator."""
    library = _glibc()
    if library is not None and not any(name.startswith(OWN) for name in os.environ):
        library.mallopt(M_TRIM_THRESHOLD, -1)  # what is free at the heap's end stays
        library.mallopt(M_MMAP_MAX, 0)  # no block, however large, has pages of its own, which would go with it
        library.mallopt(M_ARENA_MAX, 1)  # what a thread frees is there for the others


def give_back_memory() -> None:
    """Hand what is free back to the system, this once."""
    library = _glibc()
    if library is not None:
        library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    return library if hasattr(library, "gnu_get_libc_version") else None


def reset_peak_memory() -> None:
    """Start a new peak, as far as the system can, after free memory is given back."""
    import torch

    give_back_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # elsewhere than on Linux the peak is the process's so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> dict[str, int]:
    """Bytes: `memory` of this process, and `cuda` where there is one."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    with contextlib.suppress(OSError, StopIteration):  # Linux knows the peak since it was reset
        lines = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return {"memory": peak} | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})
