"""Numbering of envelopes between two ends: no gap, no repeat, no loss.

Sans-I/O: the owner moves the bytes. Both ends of a link use this one class.

Invariants (tests/ipc/test_channel.py checks them after every step):
  I1  numbers sent are 1, 2, 3 ... without gaps; an envelope keeps its number when resent.
  I2  ``receive`` lets through exactly the next number; repeats and gaps give None.
  I3  what is not covered by the other end's mark is kept, in order, for resending.
  I4  the other end is only told ``covered``, never ``taken``; an end that journals what it
      takes says ``cover`` when the journal has it (the kernel), else at once (an agent).

Cost: O(1) a message. Bounded: ``has_room`` is False at the window; the owner must wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from ext.wire import Envelope


class Channel:
    """One end of a numbered link."""

    __slots__ = (
        "_kept",
        "_kept_bytes",
        "covered",
        "heard",
        "next_sequence",
        "taken",
        "window",
        "window_bytes",
    )

    def __init__(self, window: int, window_bytes: int, *, taken: int = 0) -> None:
        """Make an end. window: envelopes; taken: highest number already taken earlier."""
        self.window = window
        self.window_bytes = window_bytes
        self.next_sequence = 1
        self.taken = taken
        self.heard = 0  # the highest mark the other end has told
        self.covered = taken
        self._kept: deque[Envelope] = deque()
        self._kept_bytes = 0

    @property
    def has_room(self) -> bool:
        """Say whether another envelope may be sent within the window."""
        return len(self._kept) < self.window and self._kept_bytes < self.window_bytes

    @property
    def num_kept(self) -> int:
        """Return the number of envelopes sent and not yet covered by the other end."""
        return len(self._kept)

    @property
    def kept_bytes(self) -> int:
        """Return the bytes of the envelopes sent and not yet covered."""
        return self._kept_bytes

    def number(self, envelope: Envelope) -> Envelope:
        """Give the envelope the next number and keep it until it is covered."""
        envelope.sequence = self.next_sequence
        envelope.acknowledged = self.covered
        self.next_sequence += 1
        self._kept.append(envelope)
        self._kept_bytes += envelope.size
        return envelope

    def receive(self, envelope: Envelope) -> Envelope | None:
        """Return the envelope if it is the next one, else None: it is dropped."""
        if envelope.sequence != self.taken + 1:
            return None
        self.taken += 1
        return envelope

    def cover(self) -> None:
        """From now on ``taken`` may be told to the other end: it is safe here."""
        self.covered = self.taken

    def acknowledge(self, mark: int) -> list[Envelope]:
        """Forget what the other end has taken, up to ``mark``; return it, oldest first."""
        done: list[Envelope] = []
        self.heard = max(self.heard, mark)
        kept = self._kept
        while kept and kept[0].sequence <= mark:
            envelope = kept.popleft()
            self._kept_bytes -= envelope.size
            done.append(envelope)
        return done

    def kept_as_sent(self) -> tuple[Envelope, ...]:
        """Return what must be resent, each with the mark it first carried.

        A mark tells what was accepted, but for the refusals before it: it must not outrun them.
        """
        return tuple(self._kept)

    def unacknowledged(self) -> Iterable[Envelope]:
        """Return what must be resent, oldest first, with the present mark."""
        for envelope in self._kept:
            envelope.acknowledged = self.covered
        return tuple(self._kept)

    def restart_numbers(self) -> list[Envelope]:
        """Begin at 1 again and return what was kept, now without a number.

        For a new incarnation (peer side) or a new kernel epoch (kernel side).
        """
        kept = list(self._kept)
        for envelope in kept:
            envelope.sequence = 0
        self._kept.clear()
        self._kept_bytes = 0
        self.next_sequence = 1
        self.heard = 0
        return kept

    def forget_incoming(self) -> None:
        """Expect number 1 next: the other end begins anew (a new kernel epoch)."""
        self.taken = 0
        self.covered = 0
