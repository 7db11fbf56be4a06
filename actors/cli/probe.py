"""The smallest agent there is; `llmos doctor` spawns one to see that spawning works."""

from __future__ import annotations

from actors import Actor, receive


class Probe(Actor):
    """Answers."""

    @receive
    async def ping(self) -> str:
        """Return a word."""
        return "pong"
