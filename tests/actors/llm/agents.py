"""Agents that use a language model, for the tests with real processes; loaded by path."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from actors import Actor, receive


class Writer(Actor):
    """Lets the model write."""

    @receive
    async def write(self, text: str) -> str:
        return (await self.llm.complete(text)).text

    @receive
    async def write_and_die_once(self, text: str) -> list[str]:
        """Be killed between two completions, in the first attempt."""
        first = await self.llm.complete(text)
        mark = Path(os.environ["MARKS"]) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        second = await self.llm.complete(f"{text} again")
        return [first.text, second.text]

    @receive
    async def read(self, text: str) -> AsyncIterator[str]:
        async for piece in self.llm.stream(text):
            yield piece

    @receive
    def write_in_a_thread(self, text: str) -> str:
        return self.llm.complete(text).result().text
