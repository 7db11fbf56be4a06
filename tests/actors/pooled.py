"""Agents that are members of pools in tests, and one that uses such a pool."""

from __future__ import annotations

import asyncio

from actors import Actor, ActorRef, receive


class Worker(Actor):
    """Remembers what it has handled."""

    def __init__(self, prefix: str = "done") -> None:
        self.prefix = prefix

    @receive
    async def work(self, text: str, delay_s: float = 0.0) -> str:
        """Return the text with this member's name."""
        seen = self.state.get("seen", [])
        self.state["seen"] = [*seen, text]
        if delay_s:
            await asyncio.sleep(delay_s)
        if text == "bad":
            raise ValueError("this one cannot be done")
        return f"{self.prefix} {text}"

    @receive
    async def who(self) -> str:
        """Return who this is."""
        return self.ref.name or ""

    @receive
    async def halve(self, numbers: list[int], pool: ActorRef[Worker]) -> int:
        """Add the numbers by giving half of them to another member."""
        if len(numbers) <= 2:
            return sum(numbers)
        half = len(numbers) // 2
        rest = await pool.halve(numbers[half:], pool)
        return sum(numbers[:half]) + int(rest)


class Boss(Actor):
    """Makes a pool, keeps it in its state, and gives it work."""

    @receive
    async def hire(self, count: int) -> str:
        """Start the pool."""
        pool = await self.spawn_pool(Worker, "hired", name="crew", minimum=count, maximum=count)
        self.state["crew"] = pool
        return await pool.work("first")

    @receive
    async def all_of(self, texts: list[str]) -> list[str | None]:
        """Have all of them done; None for what failed."""
        gathered = await self.state["crew"].scatter(window=2).work(texts)
        return list(gathered.answers)

    @receive
    async def crew(self) -> ActorRef[Worker]:
        """Return the pool."""
        return self.state["crew"]  # type: ignore[no-any-return]

    @receive
    async def slowly(self, texts: list[str]) -> list[str]:
        """Have all of them done, two at a time, each in a second."""
        answers = await self.state["crew"].gather(window=2).work(texts, delay_s=1.0)
        return list(answers)
