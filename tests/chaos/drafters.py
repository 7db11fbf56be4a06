"""Members of a pool that ask a model, in a session and through a child; those of the chaos test."""

from __future__ import annotations

import asyncio

from actors import Actor, ActorRef, receive


class Proofreader(Actor):
    """Counts what it was asked."""

    @receive
    async def check(self, text: str) -> int:
        """Return how often it has been asked, this time included."""
        self.state["asked"] = self.state.get("asked", 0) + 1
        return int(self.state["asked"])


class Drafter(Actor):
    """Drafts in a turn of many calls; it waits at the gate before the last of them."""

    @receive
    async def draft(self, prompt: str, count: int, gate: ActorRef) -> list[object]:
        """Return the completions, what its child has counted, and the child's name."""
        session = await self.llm.session()
        first = await session.generate(prompt, max_tokens=count)
        reader = await self.spawn(Proofreader)
        asked = await reader.check(first.text)
        await gate.wait()
        second = await session.generate(" and ", max_tokens=count)
        return [first.text, second.text, asked, await reader.check(second.text)]


class Gate(Actor):
    """Lets those who wait through once it is open."""

    concurrency = 8

    def __init__(self) -> None:
        self.num_come = 0
        self.opened = asyncio.Event()

    @receive
    async def wait(self) -> None:
        """Return when the gate is open."""
        self.num_come += 1
        await self.opened.wait()

    @receive
    async def come(self) -> int:
        """Return how many have come so far."""
        return self.num_come

    @receive
    async def open(self) -> None:
        """Let all through."""
        self.opened.set()
