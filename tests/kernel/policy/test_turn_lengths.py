"""How long a turn will be: a fading mean of turns like it."""

from __future__ import annotations

from ext.wire import Envelope
from ipc.envelope import join_refs
from ipc.plain import encode_plain
from ipc.protocol import Flag, Kind
from kernel.mailbox import Message
from kernel.policy import turn_lengths
from kernel.policy.turn_lengths import FIRST_GUESS, TurnLengths
from kernel.turn_order import method_of


def test_a_guess_is_of_the_handler_else_of_the_class_else_of_all() -> None:
    lengths = TurnLengths()
    assert lengths.guess(("A", "x")) == FIRST_GUESS

    lengths.learn(("A", "x"), 100)
    lengths.learn(("A", "y"), 300)

    assert lengths.guess(("A", "x")) == 100
    assert 100 < lengths.guess(("A", "z")) < 300
    assert lengths.guess(("B", "x")) not in (100, 300, FIRST_GUESS)


def test_late_turns_count_more_than_early_ones() -> None:
    lengths = TurnLengths()
    for tokens in [1000] * 20 + [10] * 20:
        lengths.learn(("A", "x"), tokens)

    assert lengths.guess(("A", "x")) < 50


def test_handlers_not_seen_for_long_are_forgotten(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(turn_lengths, "MAX_HANDLERS", 4)
    lengths = TurnLengths()
    for number in range(50):
        lengths.learn((f"class {number}", "x"), 7)

    assert len(lengths._means) == 4


def test_the_handler_is_read_from_a_messages_body_and_else_is_unknown() -> None:
    def named(payload: bytes, flags: int = 0) -> str:
        return method_of(Message(1, 2, Envelope(Kind.TELL, 3, 2, payload, flags=flags)))

    body = encode_plain(["work", [], {}])
    assert named(body) == "work"
    assert named(encode_plain(["m" * 200, [], {}])) == "m" * 200
    assert named(join_refs([5, 6], body), Flag.HAS_REFS) == "work"
    for broken in (b"", b"\x93", b"\x93\xd9", b"\x01\x02", b"\xff" * 9, encode_plain({"a": 1})):
        assert named(broken) == ""
    assert named(b"\xff", Flag.HAS_REFS) == ""
