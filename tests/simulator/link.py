"""A connection between a peer and the kernel, and what can go wrong with it.

In order within a direction, as ZeroMQ is, but each batch may be lost (``loss``), the link may
break and lose its tail in both directions, and after a reconnection the last batches of the
link before may arrive a second time. Envelopes travel as bytes: nobody shares objects.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from ext.wire import Envelope
from ipc.envelope import decode, encode

if TYPE_CHECKING:
    from tests.simulator.kernel_host import KernelHost
    from tests.simulator.world import World

Parts = list[Any]


class LinkOwner(Protocol):
    """A peer, seen from its link."""

    def take(self, link: Link, batch: list[Envelope]) -> None:
        """A batch has arrived."""
        ...

    def on_broken(self, link: Link) -> None:
        """The connection is gone."""
        ...


class Link:
    """See the module head. ``route``: what the kernel's ROUTER calls it."""

    def __init__(
        self, world: World, kernel: KernelHost, owner: LinkOwner, before: Link | None
    ) -> None:
        self.world = world
        self.kernel = kernel
        self.owner = owner
        self.epoch = kernel.epoch
        self.route = kernel.new_route(self)
        self.is_open = kernel.is_alive
        self._sent: deque[Parts] = deque(maxlen=4)  # to the kernel, for duplication
        self._received: deque[Parts] = deque(maxlen=4)
        self._arrival_up = self._arrival_down = 0
        self._lost_from = 1 << 62  # what arrives later is lost: the tail of a broken link
        self._before = before

    def to_kernel(self, batch: list[Envelope]) -> None:
        """Send a batch to the kernel."""
        if not self.is_open or self.world.chance(self.kernel.plan.loss):
            return
        parts = encode(batch)
        self.world.absorb(self.route, *parts)
        self._sent.append(parts)
        self._arrival_up = self._arrival(self._arrival_up)
        self.world.at(self._arrival_up, self._arrive_up, parts)

    def to_peer(self, batch: list[Envelope]) -> None:
        """Send a batch to the peer."""
        if not self.is_open or self.world.chance(self.kernel.plan.loss):
            return
        parts = encode(batch)
        self.world.absorb(self.route, *parts)
        self._received.append(parts)
        self._arrival_down = self._arrival(self._arrival_down)
        self.world.at(self._arrival_down, self._arrive_down, parts)

    def _arrival(self, earlier_ns: int) -> int:
        delay = self.world.rng.randint(10_000, self.kernel.plan.max_delay_ns)
        return max(earlier_ns, self.world.now_ns + delay)

    def _arrive_up(self, parts: Parts) -> None:
        if self.world.now_ns < self._lost_from and self.kernel.epoch == self.epoch:
            self.kernel.deliver(self.route, parts)

    def _arrive_down(self, parts: Parts) -> None:
        if self.world.now_ns < self._lost_from:
            self.owner.take(self, decode(parts))

    def repeat_last(self, *, is_resumed: bool) -> None:
        """Let the last batches of the link before arrive again (the same kernel epoch only).

        is_resumed: the kernel goes on counting where it was; otherwise only the peer does.
        """
        before = self._before
        self._before = None
        if before is None or before.epoch != self.epoch:
            return
        if not self.world.chance(self.kernel.plan.duplicates):
            return
        for parts in before._sent:
            self._arrival_up = self._arrival(self._arrival_up)
            self.world.at(self._arrival_up, self._arrive_up, parts)
        for parts in before._received if is_resumed else ():
            self._arrival_down = self._arrival(self._arrival_down)
            self.world.at(self._arrival_down, self._arrive_down, parts)

    def break_off(self, *, tell_after_ns: int | None = None) -> None:
        """Break; the kernel is not told, the peer after a while. What is under way may be lost."""
        if not self.is_open:
            return
        cut = self.world.rng.randint(0, self.kernel.plan.max_delay_ns)
        self._lost_from = self.world.now_ns + cut
        self.is_open = False
        if tell_after_ns is not None:
            self.world.after(tell_after_ns, self.owner.on_broken, self)
