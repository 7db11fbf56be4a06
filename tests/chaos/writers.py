"""Agents that ask a model for completions; those of the chaos test."""

from __future__ import annotations

from actors import Actor, receive


class Writer(Actor):
    """Keeps each completion it was told to get, and how often it got it."""

    concurrency = 4

    @receive
    async def write(self, number: int, prompt: str, count: int) -> None:
        """One completion, kept with this turn."""
        done = await self.llm.complete(prompt, max_tokens=count)
        self.state[f"{number}"] = [*self.state.get(f"{number}", []), done.text]

    @receive
    async def converse(self, number: int, prompt: str, count: int) -> None:
        """Two completions in a session of its own, kept together."""
        async with self.llm.session() as session:
            first = await session.generate(prompt, max_tokens=count)
            second = await session.generate(" and ", max_tokens=count)
        self.state[f"{number}"] = [*self.state.get(f"{number}", []), first.text + second.text]

    @receive
    async def read(self, number: int, prompt: str, count: int) -> None:
        """A streamed completion, joined from its pieces."""
        pieces = [piece async for piece in self.llm.stream(prompt, max_tokens=count)]
        self.state[f"{number}"] = [*self.state.get(f"{number}", []), "".join(pieces)]

    @receive
    async def report(self) -> dict[str, list[str]]:
        """Return all that was kept."""
        return dict(self.state)
