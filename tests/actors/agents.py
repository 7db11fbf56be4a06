"""Agents for the tests with real processes; loaded by path."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np

from actors import Actor, ActorRef, receive


class Worker(Actor):
    """Does what a real process can and a test in memory cannot."""

    lease_s = 1.0

    def __init__(self, friend: ActorRef[Any] | None = None) -> None:
        self.friend = friend

    @receive
    async def echo(self, value: Any) -> Any:
        return value

    @receive
    async def pid(self) -> int:
        return os.getpid()

    @receive
    async def double(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return array * 2

    @receive
    async def count(self, up_to: int) -> AsyncIterator[int]:
        for number in range(up_to):
            yield number

    @receive
    async def nap(self, seconds: float) -> int:
        await asyncio.sleep(seconds)
        return os.getpid()

    @receive
    async def hang_once(self, seconds: float) -> int:
        """Block the loop in the first attempt; the file tells the next one."""
        hang_once(Path(os.environ["MARKS"]) / "hung", seconds)
        return os.getpid()

    @receive
    async def seize_once(self, how: str) -> int:
        """Hold the interpreter for ever in the first attempt: no thread of ours runs any more."""
        mark = Path(os.environ["MARKS"]) / f"seized {how}"
        if not mark.exists():
            mark.touch()
            if how == "blocks":
                ctypes.PyDLL(None).pause()
            else:
                re.match(r"(a+)+$", "a" * 64 + "b")  # the age of the universe, all of it in C
        return os.getpid()

    @receive
    async def ask_friend(self, value: Any) -> Any:
        assert self.friend is not None
        return await self.friend.echo(value)

    @receive
    async def fork(self) -> str:
        """Try to use the channel in a forked child."""
        return in_forked_child(self.ask_and_flush)

    def ask_and_flush(self) -> None:
        call = self.ref.echo(1)
        call.is_sent = True
        self._port.ask(call)
        self._port.peer.flush()


def hang_once(mark: Path, seconds: float) -> None:
    if not mark.exists():
        mark.touch()
        time.sleep(seconds)  # what the lease is there for


def in_forked_child(function: Callable[[], None]) -> str:
    """Return the name of the error that the function raises in a forked child."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            function()
            os.write(writer, b"none")
        except Exception as error:
            os.write(writer, type(error).__name__.encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    return os.read(reader, 100).decode()
