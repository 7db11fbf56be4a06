"""What an agent's runtime is given: who it is, and what it needs of the world."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ipc.clock import Clock
from ipc.errors import LLMOSError


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this process is to the kernel."""

    actor: int
    incarnation: int
    token: str
    name: str
    pid: int
    start_time: int


class Host(Protocol):
    """What a runtime needs of the world."""

    loop: asyncio.AbstractEventLoop
    clock: Clock

    def run_in_thread(self, function: Callable[[], Any]) -> Awaitable[Any]:
        """Run a blocking function beside the loop."""
        ...

    def up(self, grace_s: float) -> None:
        """The kernel has welcomed us; without one, the process may live for ``grace_s``."""
        ...

    def turn_begins(self) -> None:
        """A turn starts while none was running."""
        ...

    def refused(self, error: LLMOSError) -> None:
        """The kernel refused the handshake: end the process."""
        ...

    def leave(self, reason: str) -> None:
        """End the process; all that must be said has been said."""
        ...
