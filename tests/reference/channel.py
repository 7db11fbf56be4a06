"""The numbering of envelopes a second time, in plain Python over a deque; the oracle of its tests.

Shares no code with ext/channel.pyx.
"""

from __future__ import annotations

import itertools
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

    def offer(self, envelope: Envelope) -> bool:
        """Number and keep the envelope if it may be sent within the window; say whether."""
        if not self.has_room:
            return False
        self.number(envelope)
        return True

    def offer_all(self, envelopes: list[Envelope]) -> int:
        """``offer`` each in order, up to the first without room; return how many had it."""
        return len(list(itertools.takewhile(self.offer, envelopes)))

    def receive(self, envelope: Envelope) -> Envelope | None:
        """Return the envelope if it is the next one, else None: it is dropped."""
        if envelope.sequence != self.taken + 1:
            return None
        self.taken += 1
        return envelope

    def take(self, envelope: Envelope) -> bool:
        """``receive`` and ``cover`` at once; say whether it was the next one."""
        if self.receive(envelope) is None:
            return False
        self.cover()
        return True

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

    def forget_incoming(self) -> None:
        """Expect number 1 next: the other end begins anew (a new kernel epoch)."""
        self.taken = 0
        self.covered = 0
