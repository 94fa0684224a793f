"""Freed memory is found again, or given back, as the system counts it."""

import platform
import subprocess
import sys

import pytest

from tests.project import ROOT

# Writes three times 40 MB in blocks of 8 MB, as a training step does; prints the page faults after the first time, and
# the resident megabytes at the end and once the memory is given back.
PROGRAM = """
import resource
from utils.memory import give_back_memory, keep_freed_memory

def step():
    blocks = [bytearray(8 * 2**20) for _ in range(5)]

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20

{before}
step()
first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(2):
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another one")
def test_scripts_find_freed_memory_again_and_can_give_it_back_unless_the_environment_says_otherwise():
    faults, kept, given_back = run("from utils.startup import prepare; prepare()")
    assert faults < 100
    assert kept > given_back + 30
    faults, _, _ = run("keep_freed_memory()", MALLOC_MMAP_THRESHOLD_="131072")
    assert faults > 2_000
