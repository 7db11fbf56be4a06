"""Which handlers are run without a task, and that nobody can tell."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from actors import Actor, RemoteError, receive
from actors.handlers import handler_table
from actors.testing import TestKernel
from ipc.errors import from_wire
from ipc.plain import decode_plain
from ipc.protocol import Flag
from tests.actors.conftest import Script
from tests.actors.scripted import ScriptedKernel, kinds

NOTE: contextvars.ContextVar[str] = contextvars.ContextVar("note", default="nothing")


class Outcome(BaseException):
    """As pytest.fail raises it: no Exception."""


OUTCOMES = {
    "no exception": Outcome("failed"),
    "a group of those": BaseExceptionGroup("failed", [Outcome("inner")]),
    "unreadable file name": ValueError("failed \udcff"),
}


class Agent(Actor):
    """Handlers that wait, and handlers that do not."""

    @receive
    async def at_once(self, text: str) -> str:
        before = NOTE.get()
        NOTE.set(text)
        self.state["last"] = text
        return before

    @receive
    async def waits(self) -> str:
        await asyncio.sleep(0)
        return "waited"

    @receive
    async def within(self) -> None:
        async with asyncio.Lock():
            self.state["last"] = "within"

    @receive
    async def gathers(self) -> list[int]:
        return [number async for number in self._numbers()]

    async def _numbers(self):  # type: ignore[no-untyped-def]
        yield 1

    @receive
    async def has_task(self) -> bool:
        return asyncio.current_task() is not None

    @receive
    async def breaks(self) -> None:
        raise ValueError("at once")

    @receive
    async def escapes(self, how: str, waits: bool) -> None:
        if waits:
            await asyncio.sleep(0)
        raise OUTCOMES[how]

    @receive
    def blocks(self) -> int:
        return 1

    @receive
    def ends(self) -> int:
        return next(iter(()))


@pytest.fixture
def kernel(script: Script) -> ScriptedKernel:
    return script(Agent)


def test_only_coroutines_without_an_await_never_wait() -> None:
    never = {name for name, handler in handler_table(Agent).items() if handler.never_waits}

    assert never == {"at_once", "breaks"}


def test_a_handler_that_asks_for_its_task_has_one(kernel: ScriptedKernel) -> None:
    (reply,) = kernel.ask("has_task")

    assert decode_plain(reply.payload) is True


def test_each_turn_has_a_context_of_its_own_without_a_task_too(kernel: ScriptedKernel) -> None:
    first = kernel.ask("at_once", "a")
    second = kernel.ask("at_once", "b")

    assert kinds(first) == ["COMMIT+REPLY", "STATE"]
    assert [decode_plain(sent[0].payload) for sent in (first, second)] == ["nothing", "nothing"]


def test_a_handler_that_raises_at_once_is_rolled_back(kernel: ScriptedKernel) -> None:
    (commit,) = kernel.ask("breaks")

    error = from_wire(decode_plain(commit.payload))
    assert commit.flags == Flag.FAILED
    assert (error.type_name, error.message) == ("ValueError", "at once")
    assert "actors/execution.py" not in error.traceback
    assert kinds(kernel.ask("at_once", "next")) == ["COMMIT+REPLY", "STATE"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("how", OUTCOMES)
def test_whatever_a_handler_raises_is_answered(how: str, waits: bool) -> None:
    with TestKernel() as kernel:
        agent = kernel.spawn(Agent)

        with pytest.raises(RemoteError, match="failed"):
            kernel.ask(agent.escapes(how, waits))
        assert kernel.ask(agent.waits()) == "waited"


def test_a_handler_in_a_thread_that_runs_out_of_an_iterator_is_answered() -> None:
    with TestKernel() as kernel:
        agent = kernel.spawn(Agent)

        with pytest.raises(RemoteError, match="StopIteration"):
            kernel.ask(agent.ends())
