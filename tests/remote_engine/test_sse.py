"""Events are the same however their bytes are cut, and no endpoint can make them take memory."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.remote_engine.failure import LieError
from actors.remote_engine.sse import MAX_EVENT, SseReader

LINES = st.lists(
    st.sampled_from(["data: a", "data:b", "data", "", "", ": comment", "event: x", "data:  ü", "é"])
)


def read(*chunks: bytes) -> list[str]:
    reader = SseReader()
    return [event for chunk in chunks for event in reader.feed(chunk)]


def test_the_data_of_an_event_is_its_data_lines() -> None:
    stream = b": hello\n\ndata: one\ndata:two\nid: 7\n\nevent: x\n\ndata:  spaced\r\n\r\ndata: open"

    assert read(stream) == ["one\ntwo", " spaced"]


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.lists(st.integers(0, 200), max_size=8))
def test_where_the_bytes_are_cut_makes_no_difference(
    lines: list[str], end: str, cuts: list[int]
) -> None:
    stream = "".join(line + end for line in lines).encode()
    places = [0, *sorted(cuts), len(stream)]
    parts = [stream[a:b] for a, b in pairwise(places)]

    assert read(*parts) == read(stream) == by_the_book(lines)


def by_the_book(lines: list[str]) -> list[str]:
    """The specification's algorithm, on whole lines."""
    events: list[str] = []
    data: list[str] = []
    for line in lines:
        if line == "":
            events += ["\n".join(data)] if data else []
            data = []
        elif line == "data" or line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
    return events


@pytest.mark.parametrize("part", [b"x" * 1000, b"data: " + b"x" * 993 + b"\n", b": " + b"x" * 1000])
def test_an_event_without_end_is_refused(part: bytes) -> None:
    with pytest.raises(LieError):
        read(*[part] * (MAX_EVENT // 900))


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(LieError):
        read(b"data: \xff\xfe\n\n")
