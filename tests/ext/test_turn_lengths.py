"""How long a turn will be: a fading mean of turns like it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ext.turn_lengths import FIRST_GUESS, TurnLengths, handler_of
from ext.wire import Envelope
from ipc.envelope import join_refs
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind


def learn(lengths: TurnLengths, agent_class: str, handler: bytes, tokens: int) -> None:
    lengths.learn(lengths.mean_of(agent_class, handler), tokens)


def guess(lengths: TurnLengths, agent_class: str, handler: bytes) -> float:
    return lengths.guess(lengths.mean_of(agent_class, handler))


def test_a_guess_is_of_the_handler_else_of_the_class_else_of_all() -> None:
    lengths = TurnLengths()
    assert guess(lengths, "A", b"x") == FIRST_GUESS

    learn(lengths, "A", b"x", 100)
    learn(lengths, "A", b"y", 300)

    assert guess(lengths, "A", b"x") == 100
    assert 100 < guess(lengths, "A", b"z") < 300
    assert guess(lengths, "A", b"") == guess(lengths, "A", b"z")
    assert guess(lengths, "B", b"x") not in (100, 300, FIRST_GUESS)


def test_late_turns_count_more_than_early_ones() -> None:
    lengths = TurnLengths()
    for tokens in [1000] * 20 + [10] * 20:
        learn(lengths, "A", b"x", tokens)

    assert guess(lengths, "A", b"x") < 50


def test_handlers_not_seen_for_long_are_forgotten_and_those_in_use_are_not() -> None:
    lengths = TurnLengths(max_handlers=4)
    for number in range(50):
        learn(lengths, "often", b"", 7)
        guess(lengths, f"class {number}", b"")

    assert len(lengths) == 4
    assert guess(lengths, "often", b"") == 7


@given(
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from([b"", b"x", b"y"]), st.integers(1))),
    st.integers(1, 5),
)
def test_guesses_are_between_the_shortest_and_the_longest_turn(
    turns: list[tuple[str, bytes, int]], max_handlers: int
) -> None:
    lengths = TurnLengths(max_handlers)
    known = [FIRST_GUESS]
    for agent_class, handler, length in turns:
        tokens = length % 10**9 + 1
        learn(lengths, agent_class, handler, tokens)
        known.append(tokens)

        assert len(lengths) <= max_handlers
        assert min(known) <= guess(lengths, agent_class, handler) <= max(known) * (1 + 1e-9)


def test_the_handler_is_read_from_a_messages_body_and_else_is_unknown() -> None:
    def named(payload: bytes, flags: int = 0) -> bytes:
        return handler_of(Envelope(Kind.TELL, 3, 2, payload, flags=flags))

    body = encode_plain(["work", [], {}])
    assert named(body) == b"work"
    assert named(encode_plain(["work", [], {}, {}])) == b"work"
    assert named(encode_plain(["m" * 200, [], {}])) == b"m" * 200
    assert named(join_refs([5, 6], body), Flag.HAS_REFS) == b"work"
    for broken in (b"", b"\x93", b"\x93\xd9", b"\x01\x02", b"\xff" * 9, encode_plain({"a": 1})):
        assert named(broken) == b""
    assert named(b"\xff", Flag.HAS_REFS) == b""
    assert named(b"\xff\xff", Flag.HAS_REFS) == b""


@given(st.binary(max_size=40), st.booleans())
def test_the_handler_of_any_bytes_is_a_part_of_them(noise: bytes, has_refs: bool) -> None:
    flags = Flag.HAS_REFS if has_refs else 0

    assert handler_of(Envelope(Kind.TELL, 3, 2, noise, flags=flags)) in noise
