"""Inputs for fuzzing: valid ones with changed bytes, or with exchanged values of JSON."""

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

# What readers trip over: numbers out of range, ways out of a folder, ends of text, what looks like another thing.
TOKENS = (
    *(
        b"",
        b"\0",
        b"\n",
        b"\r",
        b"&a ",
        b"<<: ",
        b"!!python/object/apply:os.system ",
        b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    ),
    *rb""", ; ' " { } [ ] : # *a ../ ..\ /etc/passwd C:\ CON . / nan inf -1 0 """.split(),
    *rb"""1e999 1:99 2020-13-45 null true ~ &b; \ud800 \u0000 \x1b[2J""".split(),
    *(b"x" * 300, b"9" * 5000, b"0x" + b"f" * 5000, b"<a>" * 50, b"[" * 3000),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\x80\0\0\0"),
)
NUMBERS = (10**30, -(10**30), 2**31, 2**63, 1e308)
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
