"""An agent's process without a process: its runtime, on a link in memory (actors/testing.py).

It dies as a killed process does: silently, with all its open turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from actors.host import Identity
from actors.memory_link import MemoryLink, Switch
from actors.program import Program
from actors.runtime import AgentRuntime
from ipc.clock import Clock
from ipc.errors import LLMOSError
from ipc.protocol import SpawnSpec


class World(Switch, Protocol):
    """What surrounds the agents."""

    def name_class(self, actor_class: type[Any]) -> SpawnSpec:
        """Name a class in a spec."""
        ...

    def run_beside(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """Run a blocking function in a thread."""
        ...

    def agent_left(self, agent: MemoryAgent) -> None:
        """An agent has ended by itself."""
        ...


class MemoryAgent:
    """See the module head. It is the Host of its runtime."""

    def __init__(
        self,
        world: World,
        loop: asyncio.AbstractEventLoop,
        clock: Clock,
        identity: Identity,
        program: Program | LLMOSError,
    ) -> None:
        self.identity = identity
        self.loop = loop
        self.clock = clock
        self._world = world
        self._grace_s = 60.0
        self._given_up: asyncio.TimerHandle | None = None
        self._is_dead = False
        self.runtime = AgentRuntime(identity, self, program)
        self.runtime.port.name_class = world.name_class
        self.link = MemoryLink(world, self.runtime.peer, loop, self._count_down)

    def open(self) -> None:
        """Connect."""
        if not self._is_dead:
            self.link.open()

    def die(self) -> None:
        """Vanish, as a killed process does."""
        if not self._is_dead:
            self._is_dead = True
            self.link.close()
            self.runtime.abandon()
            self._stop_counting()

    def run_in_thread(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """See actors.host.Host."""
        return self._world.run_beside(function)

    def up(self, grace_s: float) -> None:
        """See actors.host.Host."""
        self._grace_s = grace_s
        self._stop_counting()

    def turn_begins(self) -> None:
        """See actors.host.Host: there is no watchdog."""

    def refused(self, error: LLMOSError) -> None:
        """See actors.host.Host."""
        self.leave(str(error))

    def leave(self, reason: str) -> None:
        """See actors.host.Host."""
        self.loop.call_soon(self._left)

    def _left(self) -> None:
        if not self._is_dead:
            self._world.agent_left(self)

    def _count_down(self) -> None:
        if self._given_up is None and not self._is_dead:
            self._given_up = self.loop.call_later(self._grace_s, self.leave, "no kernel")

    def _stop_counting(self) -> None:
        if self._given_up is not None:
            self._given_up.cancel()
            self._given_up = None
