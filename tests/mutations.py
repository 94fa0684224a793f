"""Inputs for fuzzing: valid ones with changed bytes, or with exchanged values of JSON; and how each is tried."""

import copy
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from utils.errors import UserError

INPUTS = int(os.environ.get("IBBNET_FUZZ", "50"))  # of each kind
SECONDS = 30  # from which an input is said to hang
MEMORY = 4 * 2**30  # bytes that reading may take beside what the process has
FUZZED = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs a system with alarms"),
]
CLOCK = iter(range(10**9, 10**18, 10**9))

# What readers trip over: numbers out of range, ways out of a folder, ends of text, what looks like another thing.
TOKENS = (
    *(b"", b"\0", b"\n", b"\r", b"&a ", b"<<: ", b"!!python/object/apply:os.system "),
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    *rb""", ; ' " { } [ ] : # *a ../ ..\ /etc/passwd C:\ CON . / nan inf -1 0 """.split(),
    *rb"""1e999 1:99 2020-13-45 null true ~ &b; \ud800 \u0000 \x1b[2J""".split(),
    *(b"x" * 300, b"9" * 5000, b"0x" + b"f" * 5000, b"<a>" * 50, b"[" * 3000),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0"),
)
NUMBERS = (10**400, 10**30, -(10**30), 2**31, 2**63, 1e308)
TEXTS = ("../x", "/x", "a\0b", "\ud800", "x" * 300, "con", "", "NaN", "a/../../b")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from([*NUMBERS, *TEXTS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed_bytes(draw: Callable, sources: list[bytes]) -> bytes:
    """One of the inputs after up to six changes of bytes; now and then only noise."""
    content = bytearray(draw(st.sampled_from(sources)))
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(content)))
        length = draw(st.sampled_from([1, 1, 2, 4, 16, 200]))
        change = draw(st.integers(0, 4))
        if change == 0:
            content[place : place + 1] = bytes([draw(st.integers(0, 255))])
        elif change == 1:
            del content[place : place + length]
        elif change == 2:
            content[place:place] = content[place : place + length]
        elif change == 3:
            content[place : place + draw(st.sampled_from([0, length]))] = draw(st.sampled_from(TOKENS))
        else:
            other = draw(st.sampled_from(sources))
            content[place : place + length] = other[place : place + length]
    return bytes(content)


@st.composite
def changed_document(draw: Callable, document: Any, values: st.SearchStrategy = VALUES) -> Any:
    """The document after up to three of its values were exchanged, left out or doubled."""
    root = {"": copy.deepcopy(document)}
    for _ in range(draw(st.integers(1, 3))):
        holder: Any = root
        key: Any = ""
        while isinstance(holder[key], dict | list) and len(holder[key]) and draw(st.integers(0, 5)):
            holder = holder[key]
            key = draw(st.sampled_from(sorted(holder, key=repr) if isinstance(holder, dict) else range(len(holder))))
        change = draw(st.integers(0, 5))
        if change == 0 and holder is not root:
            del holder[key]
        elif change == 1 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif change == 2 and isinstance(holder, dict) and holder is not root:
            holder[draw(st.text(max_size=4))] = holder[key]
        else:
            holder[key] = draw(values)
    return root[""]


def changed_json(document: Any) -> st.SearchStrategy[bytes]:
    """The document as JSON, its values or its bytes changed."""
    text = json.dumps(document).encode()
    return st.one_of(
        changed_document(document).map(lambda changed: json.dumps(changed).encode()), changed_bytes([text, text[::-1]])
    )


def fuzz(*strategies: st.SearchStrategy) -> Callable:
    """The test is given `INPUTS` inputs, the same ones each time; it fails with the smallest that it fails with."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    quiet.append(HealthCheck.function_scoped_fixture)
    return lambda test: settings(
        max_examples=INPUTS, deadline=None, derandomize=True, database=None, suppress_health_check=quiet
    )(given(*strategies)(test))


def tried(read: Callable[[], Any]) -> Any:
    """What reading gave, None where it was refused; anything else fails the test."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return read()
    except UserError:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    now = next(CLOCK)
    os.utime(path, ns=(now, now))  # readers that remember a file tell its versions apart by its time
    return path


# Names under `in/`; a file of another name was written by what should only read.
KNOWN = {
    *("labels.csv", "labels.json", "image_labels.csv", "cls_labels.npy", "list.txt", "a b.jpg", "a.jpg", "b.jpg"),
    *("c.png", "p0.jpg", "p1.jpg", "p0.xml", "p1.xml", "cat", "JPEGImages", "ImageSets", "Segmentation", "Annotations"),
    *("annotations", "val", "instances_val.json", "input", "a.npz", "a.pth", "a.png", "b.png", "predictions.json"),
    *("classes.json", "masks", "hints.json", "config.yaml", "b.json", "a.json"),
}


@pytest.fixture(autouse=True)
def bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Bounds memory and time, and looks afterwards whether files were made outside `out/` and the caches."""

    def hangs(*_: Any) -> None:
        raise AssertionError(f"it takes more than {SECONDS} seconds")

    monkeypatch.chdir(tmp_path)
    before_alarm, before_limit = signal.signal(signal.SIGALRM, hangs), resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else None
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before_limit[1]))
    beside = set(tmp_path.parent.iterdir())
    yield
    signal.signal(signal.SIGALRM, before_alarm)
    resource.setrlimit(resource.RLIMIT_AS, before_limit)
    assert set(tmp_path.parent.iterdir()) == beside
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "in", "run"}
    found = {path.name for path in (tmp_path / "in").rglob("*") if "masks_cache" not in path.parts}
    assert found <= KNOWN
