"""How much memory a stage has taken."""

import contextlib
import resource
import sys
from pathlib import Path

import torch

from utils.allocator import give_back_memory


def reset_peak_memory() -> None:
    """Begin to measure anew, as far as the system can; what earlier work has freed goes back to it."""
    give_back_memory()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):  # elsewhere than on Linux the peak is the process's so far
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> dict[str, int]:
    """Bytes: `memory` of this process, and `cuda` where there is one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    return {"memory": peak} | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})
