"""Agents of the end-to-end tests. They make the system call itself, with all it can say."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from actors import Actor, receive


class Asker(Actor):
    """Asks the model in use."""

    concurrency = 16

    @receive
    async def ask_model(self, text: str, options: dict[str, Any]) -> str:
        return await self._complete(text, options)

    @receive
    async def ask_and_die(self, text: str, mark: str) -> str:
        """Die after the first completion, before the turn's commit."""
        answer = await self._complete(text, {})
        _die_once(Path(mark))
        return answer

    async def _complete(self, text: str, options: dict[str, Any]) -> str:
        messages = [{"role": "user", "content": text}]
        arguments = {"input": {"messages": messages}, "sampling": {"max_tokens": 50}, **options}
        completion = await self._port.system("llm_generate", arguments)
        return str(completion["text"])


def _die_once(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
