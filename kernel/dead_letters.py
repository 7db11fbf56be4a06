"""Messages that could not be handled: kept, bounded in count and age, retried or dropped.

Leaf: it keeps the letters; who becomes one is decided in kernel/answering.py.
Cost: O(1); the oldest go first when there are too many or they are too old.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack

from ext.wire import Envelope
from ipc.syscalls import DeadLetter


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter."""

    number: int
    envelope: Envelope
    receiver_name: str
    reason: str
    error: dict[str, Any] | None
    attempts: int
    died_wall_ns: int

    def to_row(self) -> tuple[Envelope, bytes]:
        """Return the journal row."""
        facts = [self.receiver_name, self.reason, self.error, self.attempts, self.died_wall_ns]
        return self.envelope, msgpack.packb(facts)

    @classmethod
    def from_row(cls, number: int, row: tuple[Envelope, bytes]) -> Letter:
        """Return the letter a row describes."""
        name, reason, error, attempts, died = msgpack.unpackb(row[1])
        return cls(number, row[0], name, reason, error, attempts, died)

    def describe(self, *, with_body: bool = False) -> DeadLetter:
        """Return what the system calls answer."""
        return DeadLetter(
            number=self.number,
            message=self.envelope.message,
            sender=self.envelope.sender,
            receiver=self.envelope.receiver,
            receiver_name=self.receiver_name,
            reason=self.reason,
            error=self.error,
            attempts=self.attempts,
            died_wall_ns=self.died_wall_ns,
            size=self.envelope.size,
            body=self.envelope.payload if with_body else None,
        )


class DeadLetterQueue:
    """All dead letters, oldest first."""

    __slots__ = ("_age_ns", "_limit", "letters")

    def __init__(self, limit: int, age_ns: int) -> None:
        self._limit = limit
        self._age_ns = age_ns
        self.letters: dict[int, Letter] = {}

    def add(self, letter: Letter) -> None:
        """Append a letter; the caller then drops what ``surplus`` names."""
        self.letters[letter.number] = letter

    def surplus(self, wall_ns: int) -> list[int]:
        """Return the numbers of the letters that are too many or too old."""
        over = len(self.letters) - self._limit
        surplus = []
        for place, (number, letter) in enumerate(self.letters.items()):
            if place >= over and letter.died_wall_ns >= wall_ns - self._age_ns:
                break  # the rest is younger: asked at each letter, this must not look at all
            surplus.append(number)
        return surplus

    def newest(self, receiver: int | None, limit: int) -> list[Letter]:
        """Return up to ``limit`` letters, newest first, of one receiver or of all."""
        found = []
        for letter in reversed(self.letters.values()):
            if receiver is None or letter.envelope.receiver == receiver:
                found.append(letter)
            if len(found) == limit:
                break
        return found
