"""ext/channel.pyx does what the same class in plain Python does, whatever is asked of it."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext.channel import Channel
from ext.wire import Envelope
from tests.reference.channel import Channel as Reference

NUMBERS = st.integers(0, 90)
SIZES = st.integers(0, 300)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["number", "offer"]), SIZES),
    st.tuples(st.just("offer_all"), st.integers(0, 20)),
    st.tuples(st.sampled_from(["receive", "take"]), NUMBERS | st.integers(0, 2**64 - 1)),
    st.tuples(st.just("acknowledge"), NUMBERS | st.just(2**64 - 1)),
    st.tuples(st.sampled_from(["cover", "forget_incoming"]), st.none()),
    st.tuples(st.sampled_from(["kept_as_sent", "unacknowledged"]), st.none()),
)
STATE = (
    "next_sequence",
    "taken",
    "covered",
    "heard",
    "window",
    "window_bytes",
    "has_room",
    "num_kept",
    "kept_bytes",
)


def do(channel: Channel | Reference, name: str, argument: int | None) -> Any:
    """Do one step; return what it said, envelopes as their fields."""
    if argument is None:
        result = getattr(channel, name)()
    elif name == "acknowledge":
        result = channel.acknowledge(argument)
    elif name == "offer_all":
        result = channel.offer_all([Envelope(10, payload=bytes(n)) for n in range(argument)])
    elif name in ("receive", "take"):
        result = getattr(channel, name)(Envelope(10, sequence=argument))
    else:
        result = getattr(channel, name)(Envelope(10, payload=bytes(argument)))
    return shown(result)


def shown(result: Any) -> Any:
    if isinstance(result, Envelope):
        return (result.sequence, result.acknowledged, result.payload)
    if isinstance(result, (list, tuple)):
        return (type(result), [shown(item) for item in result])
    return result


def state(channel: Channel | Reference) -> list[int]:
    return [getattr(channel, name) for name in STATE]


@given(st.lists(STEPS, max_size=120), st.integers(1, 60), st.integers(1, 1 << 14), NUMBERS)
def test_it_does_what_the_plain_one_does(
    steps: list[tuple[str, int | None]], window: int, window_bytes: int, taken: int
) -> None:
    channel = Channel(window, window_bytes, taken=taken)
    reference = Reference(window, window_bytes, taken=taken)

    for name, argument in steps:
        assert do(channel, name, argument) == do(reference, name, argument), name
        assert state(channel) == state(reference), name


def test_what_was_acknowledged_is_let_go() -> None:
    channel = Channel(1 << 20, 1 << 40)
    envelopes = [channel.number(Envelope(10)) for _ in range(1000)]
    before = sys.getrefcount(envelopes[0])

    for mark in range(1, 1000):
        channel.acknowledge(mark)

    after = sys.getrefcount(envelopes[0])
    assert after == before - 1
    assert channel.num_kept == 1
    kept: Any = next(held for held in gc.get_referents(channel) if isinstance(held, list))
    assert len(kept) < 100  # K1: it does not grow with what has passed


@pytest.mark.parametrize("method", ["number", "offer", "receive", "take"])
def test_only_envelopes_are_taken(method: str) -> None:
    channel = Channel(8, 1 << 20)

    for wrong in (None, "envelope"):
        with pytest.raises(TypeError):
            getattr(channel, method)(wrong)
    assert (channel.next_sequence, channel.taken, channel.num_kept) == (1, 0, 0)


def test_numbers_out_of_range_are_refused_and_change_nothing() -> None:
    channel = Channel(8, 1 << 20)
    channel.number(Envelope(10))

    for wrong in (-1, 2**64):
        with pytest.raises(OverflowError):
            channel.acknowledge(wrong)
        with pytest.raises(OverflowError):
            channel.taken = wrong
    assert (channel.num_kept, channel.heard, channel.taken) == (1, 0, 0)
