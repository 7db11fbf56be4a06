"""Calls that turns and clients have made: pending or finished, by turn and digest.

A call's id is the id of the message that carries its ask. While it is pending, that message
(in the journal, with turn, digest and correlation in its header) is its record; once it is
finished, its answer envelope is: REPLY or ERROR with the same fields. So no row of its own.

A retried turn's call takes the lowest unclaimed record with the same digest (DESIGN 4a);
what is unclaimed at the commit makes the turn diverged.

Cost: O(1); ``match`` is linear in the calls of one turn with equal digests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from ext.wire import Envelope

LATEST = 16


class Call:
    """One ask on its way. ``owner``: asking actor or session. ``turn``: 0 outside turns."""

    __slots__ = (
        "answer",
        "claimed",
        "correlation",
        "credit",
        "digest",
        "id",
        "is_stream",
        "items",
        "owner",
        "receiver",
        "request",
        "seen_items",
        "turn",
    )

    def __init__(self, identifier: int, envelope: Envelope, *, is_stream: bool = False) -> None:
        self.id = identifier
        self.owner = envelope.sender
        self.receiver = envelope.receiver
        self.turn = envelope.turn
        self.digest = envelope.digest
        self.correlation = envelope.correlation
        self.request = None if envelope.receiver else envelope  # of a system call
        self.answer: Envelope | None = None
        self.claimed = True  # by the present attempt of the turn
        self.is_stream = is_stream
        self.items: list[Envelope] = []  # recorded items, all of them until the turn commits
        self.seen_items = 0  # how many the present attempt of the producer has given
        self.credit = envelope.index if is_stream else 0

    @property
    def is_finished(self) -> bool:
        """Say whether the answer is recorded."""
        return self.answer is not None


class CallTable:
    """All calls, by id, by turn, and by (owner, correlation)."""

    __slots__ = ("_by_correlation", "_by_id", "_by_turn", "_unclaimed")

    def __init__(self) -> None:
        self._by_id: dict[int, Call] = {}
        self._by_turn: dict[int, dict[int, Call]] = {}
        self._by_correlation: dict[tuple[int, int], Call] = {}
        self._unclaimed: dict[int, int] = {}  # turn -> calls not asked again yet; never 0

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, call: Call) -> None:
        """Register a call under its id, its turn, and its correlation."""
        self._by_id[call.id] = call
        self._by_correlation[call.owner, call.correlation] = call
        if call.turn:
            self._by_turn.setdefault(call.turn, {})[call.id] = call

    def get(self, identifier: int) -> Call | None:
        """Return the call with this id, or None."""
        return self._by_id.get(identifier)

    def find(self, owner: int, correlation: int) -> Call | None:
        """Return the call its owner knows by this number, or None."""
        return self._by_correlation.get((owner, correlation))

    def of_turn(self, turn: int) -> Iterable[Call]:
        """Return the calls of a turn, in the order they were made."""
        return self._by_turn.get(turn, {}).values()

    def restore_order(self) -> None:
        """Put each turn's calls in the order they were made; they were read from two tables."""
        for turn, calls in self._by_turn.items():
            self._by_turn[turn] = dict(sorted(calls.items()))

    def num_of_turn(self, turn: int) -> int:
        """Return how many calls a turn has made."""
        return len(self._by_turn.get(turn, ()))

    def finished_of(self, turn: int, *, is_to_kernel: bool) -> tuple[int, ...]:
        """Return the last calls of a turn that have their answers, latest first; at most LATEST.

        is_to_kernel: calls to the kernel (LLM calls among them), or asks to others. Nothing if
        there is one of the other kind: what had led to it is not known here.
        """
        found: list[int] = []
        for call in itertools.islice(reversed(self._by_turn.get(turn, {}).values()), LATEST):
            if call.is_finished:
                if is_to_kernel != (call.receiver == 0):
                    return ()
                found.append(call.id)
        return tuple(found)

    def release_claims(self, turn: int) -> None:
        """A new attempt at the turn begins: its calls wait to be asked again."""
        calls = self._by_turn.get(turn)
        if calls:
            for call in calls.values():
                call.claimed = False
            self._unclaimed[turn] = len(calls)

    def claim(self, call: Call) -> None:
        """The present attempt of the call's turn has asked it (again)."""
        if not call.claimed:
            call.claimed = True
            self._count_claim(call.turn)

    def match(self, turn: int, digest: bytes) -> Call | None:
        """Claim the lowest unclaimed record of the turn with this digest, or return None."""
        if turn not in self._unclaimed:
            return None
        for call in self.of_turn(turn):
            if not call.claimed and call.digest == digest:
                self.claim(call)
                return call
        return None

    def has_unclaimed(self, turn: int) -> bool:
        """Say whether records of an earlier attempt have not been asked for again."""
        return turn in self._unclaimed

    def _count_claim(self, turn: int) -> None:
        left = self._unclaimed[turn] - 1
        if left:
            self._unclaimed[turn] = left
        else:
            del self._unclaimed[turn]

    def reattach(self, call: Call, owner: int, correlation: int) -> None:
        """Let another asker wait for this call (a client's idempotency key)."""
        self._forget_correlation(call)
        call.owner, call.correlation = owner, correlation
        if correlation:
            self._by_correlation[owner, correlation] = call

    def drop(self, call: Call) -> None:
        """Forget the call."""
        self._by_id.pop(call.id, None)
        self._forget_correlation(call)
        calls = self._by_turn.get(call.turn)
        if calls is not None and calls.pop(call.id, None) is not None:
            if not call.claimed:
                self._count_claim(call.turn)
            if not calls:
                del self._by_turn[call.turn]

    def _forget_correlation(self, call: Call) -> None:
        """Free the number, unless a call of a later incarnation bears it by now."""
        number = (call.owner, call.correlation)
        if self._by_correlation.get(number) is call:
            del self._by_correlation[number]

    def of_owner(self, owner: int) -> list[Call]:
        """Return the calls of a session or actor; linear, for rare use."""
        return [call for call in self._by_id.values() if call.owner == owner]
