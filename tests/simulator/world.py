"""The virtual world: time, randomness, the order of events, and what is written of them.

Nothing here knows the kernel. Events at one instant happen in the order they were planned.
All randomness is the world's ``rng``; nothing iterates over a set. So one seed gives one
history, and ``digest`` is its hash.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

WALL_OFFSET_NS = 1_700_000_000_000_000_000


class Flushes(Protocol):
    """Something that gathers what it sends until the end of the event."""

    def flush(self) -> None:
        """Send what was gathered."""
        ...


class World:
    """See the module head."""

    def __init__(self, seed: int, *, verbose: bool = False) -> None:
        self.rng = random.Random(seed)
        self.now_ns = 1_000_000_000
        self.num_events = 0
        self.has_faults = True
        self.trace: deque[str] = deque(maxlen=100_000 if verbose else 300)
        self._verbose = verbose
        self._heap: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._counter = 0
        self._hash = hashlib.blake2b(digest_size=16)
        self._flushing: dict[int, Flushes] = {}

    @property
    def wall_ns(self) -> int:
        """Return the wall clock."""
        return self.now_ns + WALL_OFFSET_NS

    def after(self, delay_ns: float, action: Callable[..., None], *arguments: Any) -> None:
        """Plan an event."""
        self.at(self.now_ns + int(delay_ns), action, *arguments)

    def at(self, time_ns: int, action: Callable[..., None], *arguments: Any) -> None:
        """Plan an event at an instant; one in the past happens next."""
        self._counter += 1
        due = max(time_ns, self.now_ns)
        heapq.heappush(self._heap, (due, self._counter, action, arguments))

    def flush_later(self, peer: Flushes) -> None:
        """Flush the peer when the present event is over."""
        self._flushing[id(peer)] = peer

    def step(self) -> None:
        """Let the next event happen."""
        self.now_ns, _, action, arguments = heapq.heappop(self._heap)
        self.num_events += 1
        action(*arguments)
        while self._flushing:
            flushing, self._flushing = self._flushing, {}
            for peer in flushing.values():
                peer.flush()

    def chance(self, probability: float) -> bool:
        """Toss a coin, while faults are on."""
        return self.has_faults and probability > 0 and self.rng.random() < probability

    def note(self, *facts: Any) -> None:
        """Write down what happened, for whoever reads a failing history."""
        if self._verbose:
            text = " ".join(str(fact) for fact in facts)
            self.trace.append(f"{self.now_ns / 1e9:10.6f} {text}")
        else:
            self.trace.append((self.now_ns, facts))  # type: ignore[arg-type]

    def story(self) -> list[str]:
        """Return what was noted, as lines."""
        return [
            line
            if isinstance(line, str)
            else f"{line[0] / 1e9:10.6f} " + " ".join(map(str, line[1]))
            for line in self.trace
        ]

    def absorb(self, *data: bytes) -> None:
        """Make bytes part of the history's hash."""
        for part in data:
            self._hash.update(part)

    @property
    def digest(self) -> str:
        """Return the hash of the history so far."""
        copy = self._hash.copy()
        copy.update(b"%d %d" % (self.now_ns, self.num_events))
        return copy.hexdigest()
