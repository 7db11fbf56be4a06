"""Eager tasks and direct resumption: asyncio's own promises still hold."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from actors.eager import start_eagerly
from ext.waiter import Waiter


def at_top(body: Callable[[asyncio.AbstractEventLoop], Coroutine[Any, Any, Any]]) -> Any:
    """Start ``body(loop)`` eagerly from the top of a loop; return its outcome."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()

        def start() -> None:
            task = start_eagerly(loop, body(loop), contextvars.copy_context())
            task.add_done_callback(lambda done: outcome.set_result(done))

        loop.call_soon(start)
        done = await outcome
        return done.result()

    return asyncio.run(main())


def test_a_coroutine_that_does_not_wait_is_done_at_once() -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        seen: asyncio.Future[bool] = loop.create_future()

        async def quick() -> int:
            return 1

        def start() -> None:
            seen.set_result(start_eagerly(loop, quick(), contextvars.copy_context()).done())

        loop.call_soon(start)
        return await seen

    assert asyncio.run(main())


def test_timeouts_and_task_groups_work_in_the_first_step() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> list[int]:
        assert asyncio.current_task() is not None
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, n)) for n in range(3)]
        return [task.result() for task in tasks]

    assert at_top(body) == [0, 1, 2]


def test_a_timeout_cancels_what_waits() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> str:
        try:
            async with asyncio.timeout(0):
                await Waiter(loop)
        except TimeoutError:
            return "timed out"
        return "?"

    assert at_top(body) == "timed out"


def test_a_waiter_resolved_from_the_top_resumes_before_it_returns() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> list[str]:
        events: list[str] = []
        waiter = Waiter(loop)

        def resolve() -> None:
            waiter.resolve("value")
            events.append("resolved")

        async def inner() -> None:
            events.append(await waiter)

        loop.call_soon(lambda: start_eagerly(loop, inner(), contextvars.copy_context()))
        loop.call_soon(resolve)
        await asyncio.sleep(0.001)
        return events

    assert at_top(body) == ["value", "resolved"]


def test_a_waiter_resolved_within_a_task_is_scheduled() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> list[str]:
        events: list[str] = []
        waiter = Waiter(loop)

        async def inner() -> None:
            events.append(await waiter)

        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        waiter.resolve("value")
        events.append("resolved")
        await task
        return events

    assert at_top(body) == ["resolved", "value"]


def test_a_cancelled_waiter_says_so_once() -> None:
    class Noted(Waiter):
        abandonments = 0

        def abandoned(self) -> None:
            self.abandonments += 1

    async def body(loop: asyncio.AbstractEventLoop) -> int:
        waiter = Noted(loop)

        async def inner() -> None:
            await waiter

        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiter.resolve("too late")
        return waiter.abandonments

    assert at_top(body) == 1


def test_a_waiter_that_is_done_gives_its_value_again_and_again() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> list[Any]:
        waiter = Waiter(loop)
        waiter.resolve(1)
        waiter.fail(ValueError())
        return [await waiter, await waiter]

    assert at_top(body) == [1, 1]


@pytest.mark.parametrize("value", [None, (1, 2), (), ValueError("a value"), StopIteration(3)])
def test_any_value_is_given_as_it_is(value: object) -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> Any:
        waiter = Waiter(loop)
        loop.call_soon(waiter.resolve, value)
        return await waiter

    assert at_top(body) is value


def test_an_error_is_raised_where_it_is_waited_for_and_again_when_asked() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> list[str]:
        waiter, raised = Waiter(loop), []
        loop.call_soon(waiter.fail, ValueError("first"))
        loop.call_soon(waiter.resolve, "too late")
        for _ in range(2):
            try:
                await waiter
            except ValueError as error:
                raised.append(str(error))
        return raised

    assert at_top(body) == ["first", "first"]


def test_a_waiter_and_its_task_are_freed_though_nobody_resolves_it() -> None:
    async def body(loop: asyncio.AbstractEventLoop) -> weakref.ref[asyncio.Task[None]]:
        async def wait() -> None:
            await Waiter(loop)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.set_exception_handler(lambda loop, context: None)  # "destroyed but pending"
        return weakref.ref(task)

    found = at_top(body)
    gc.collect()
    assert found() is None
