"""A test kernel whose links are slow, lose batches, and break: the SDK's side of the protocol.

The simulator (tests/simulator) does this to the kernel's core, with peers of its own. Here the
peers are the SDK's: sessions, agents' runtimes, channels. In order within a direction, as ZeroMQ
is; a batch may be lost in the midst of a connection, as when a peer's pipe is full.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from actors.memory_link import MemoryLink
from actors.testing import TestKernel
from ext.wire import Envelope

MAX_DELAY_S = 0.05
_STEP_S = 1e-6  # timers of one instant have no order: no two batches arrive at the same


class RoughKernel(TestKernel):
    """See the module head. ``loss``: how likely a batch is lost; 0 from ``calm`` on."""

    __test__ = False

    def __init__(self, *, seed: int, loss: float, **config: Any) -> None:
        super().__init__(seed=seed, **config)
        self.loss = 0.0  # the first client finds a kernel, or says that there is none
        self._rough_loss = loss
        self._fate = random.Random(seed)
        self._arrivals: dict[tuple[bytes, str], float] = {}

    def roughen(self) -> None:
        """Begin to lose batches."""
        self.loss = self._rough_loss

    def calm(self) -> None:
        """Lose nothing any more."""
        self.loss = 0.0

    def break_link(self) -> None:
        """Break one connection; what is on its way is lost."""
        if self._links:
            route = self._fate.choice(list(self._links))
            self._links[route].cut()

    def attach(self, link: MemoryLink) -> bytes | None:
        """See actors.memory_link.Switch."""
        route = super().attach(link)
        if route is not None:
            self._links[route] = _Slow(self, route, link)  # type: ignore[assignment]
        return route

    def take(self, route: bytes, envelopes: list[Envelope]) -> None:
        """See actors.memory_link.Switch."""
        self.carry(route, "up", lambda: super(RoughKernel, self).take(route, envelopes))

    def carry(self, route: bytes, direction: str, arrive: Callable[[], None]) -> None:
        """Let a batch arrive after a while, behind those before it, or never."""
        if self._fate.random() < self.loss:
            return
        due = self.loop.time() + self._fate.random() * MAX_DELAY_S
        due = max(due, self._arrivals.get((route, direction), 0.0) + _STEP_S)
        self._arrivals[route, direction] = due
        self.loop.call_at(due, self._arrive, route, arrive)

    def _arrive(self, route: bytes, arrive: Callable[[], None]) -> None:
        if route in self._links:
            arrive()


class _Slow:
    """What the kernel sees of a link."""

    def __init__(self, kernel: RoughKernel, route: bytes, link: MemoryLink) -> None:
        self._kernel = kernel
        self._route = route
        self._link = link

    def deliver(self, envelopes: list[Envelope]) -> None:
        copies = [envelope.copy() for envelope in envelopes]
        self._kernel.carry(self._route, "down", lambda: self._link.deliver(copies))

    def cut(self) -> None:
        self._link.cut()
