"""Freed memory is found again, or given back, as the system counts it."""

import platform
import subprocess
import sys

import pytest

from tests.project import ROOT

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")

# Ten times 40 MB in blocks of 8 MB, each of which is written to, as a training step does; prints the page faults after the first
# time, and the resident megabytes at the end and once the memory is given back.
PROGRAM = """
import resource
from utils.allocator import give_back_memory, keep_freed_memory

def step():
    blocks = [bytearray(8 * 2**20) for _ in range(5)]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

{before}
step()
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first, resident(), end=" ")
give_back_memory()
print(resident())
"""


def run(before: str, **environment: str) -> tuple[float, float, float]:
    """Page faults, resident MB, resident MB once it is given back."""
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=environment)
    faults, kept, given_back = map(float, ended.stdout.split())
    return faults, kept, given_back


@glibc
def test_freed_memory_is_found_again():
    faults, kept, given_back = run("keep_freed_memory()")
    assert faults < 100
    assert kept > given_back + 30


@glibc
def test_as_it_is_without():
    """Else the test above would say nothing."""
    faults, _, _ = run("")
    assert faults > 2_000


@glibc
def test_what_the_environment_sets_stays():
    faults, _, _ = run("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="131072")
    assert faults > 2_000


@glibc
def test_scripts_keep_it():
    faults, _, _ = run("from utils.startup import prepare; prepare()")
    assert faults < 100


def test_elsewhere_nothing_is_done(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    from utils import allocator

    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: pytest.fail("asked for a library"))
    allocator.keep_freed_memory()
    allocator.give_back_memory()
