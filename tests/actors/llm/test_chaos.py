"""Agents, engines and the kernel killed at random while models write: as if nobody had been.

Each completion is asked of the model and counted once, each piece of a stream comes once, nothing
is left.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors import Actor, receive
from actors.testing import ScriptedRequest, TestKernel

AGENTS = 4
ROUNDS = 3
KILLS = 20
ENGINE_KILLS = 2  # a request that is there when three engines die is given up
SETTINGS = {"restart_intensity": 10_000, "max_attempts": 10_000, "session_grace_s": 3600}


class Writer(Actor):
    """Uses a model in each way there is."""

    @receive
    async def write(self, text: str) -> list[str]:
        first = await self.llm.complete(f"{text} first")
        second, third = await asyncio.gather(
            self.llm.complete(f"{text} second"), self.llm.chat(f"{text} third")
        )
        self.state["written"] = self.state.get("written", 0) + 1
        return [first.text, second.text, third.text]

    @receive
    async def read(self, text: str) -> AsyncIterator[str]:
        async for piece in self.llm.stream(f"{text} streamed"):
            yield piece

    @receive
    async def converse(self, text: str) -> list[str]:
        async with self.llm.session() as session:
            await session.append(f"{text} " + "long " * 40)
            forks = await session.fork(2)
            branches = [fork.generate(f"{number}") for number, fork in enumerate(forks)]
            texts = await asyncio.gather(*branches)
            for fork in forks:
                await fork.close()
        return [completion.text for completion in texts]


def answer(request: ScriptedRequest) -> str:
    """Return something that depends on the whole prompt."""
    return " ".join(reversed(request.prompt.split()[:6])) + f" {len(request.prompt)}"


async def work(kernel: TestKernel, writers: list[Any], number: int) -> list[Any]:
    """Do one round with one writer."""
    writer = writers[number % AGENTS]
    text = f"text {number}"
    written = await writer.write(text)
    pieces = [piece async for piece in writer.read(text)]
    conversed = await writer.converse(text)
    return [written, pieces, conversed]


Run = tuple[list[Any], list[str], list[int]]


def run(seed: int, kills: int) -> Run:
    """Return the results, what the model was asked, and what its kernels have counted."""
    dice = random.Random(seed)
    with TestKernel(seed=seed, **SETTINGS) as kernel:
        kernel.llm.step_s = 0.05
        kernel.llm.reply_with(answer)
        writers = [kernel.spawn(Writer, name=f"writer{number}") for number in range(AGENTS)]
        tasks = [
            kernel.loop.create_task(work(kernel, writers, number))
            for number in range(AGENTS * ROUNDS)
        ]
        engine_kills = set(dice.sample(range(kills), ENGINE_KILLS)) if kills else set()
        for number in range(kills):
            kernel.advance(dice.uniform(0.01, 0.5))
            victim = dice.choice(["kernel", *(writer.name for writer in writers)])
            if number in engine_kills:
                victim = "engine.embedded.1"
            if victim == "kernel":
                kernel.restart_kernel()
            else:
                kill(kernel, victim)
        kernel.advance(600)
        results = [task.result() for task in tasks]
        check_nothing_is_left(kernel)
        assert [kernel.state(writer)["written"] for writer in writers] == [ROUNDS] * AGENTS
        asked = sorted(ask.prompt for ask in kernel.llm.requests)
        return results, asked, counted(kernel)


def counted(kernel: TestKernel) -> list[int]:
    """Return the book of the model; which tokens were found in a cache depends on the kills."""
    (model,) = kernel.system("models")
    return [count for name, count in model["served"].items() if name != "cached_tokens"]


def kill(kernel: TestKernel, name: str) -> None:
    """Kill an agent's process, if it has one just now."""
    (info,) = [info for info in kernel.system("ps") if info["name"] == name]
    if info["state"] not in ("starting", "quarantined"):
        kernel.crash(kernel.lookup(name))


def check_nothing_is_left(kernel: TestKernel) -> None:
    status = kernel.system("llm_status")
    assert status["owners"] == []
    for engine in status["engines"]:
        assert (engine["running"], engine["waiting"], engine["blocks_used"]) == (0, 0, 0)
    assert sum(model["sessions"] for model in kernel.system("models")) == 0


@pytest.fixture(scope="module")
def undisturbed() -> Run:
    return run(0, 0)


@pytest.mark.parametrize("seed", range(6))
def test_kills_change_no_result_and_ask_the_model_nothing_twice(
    seed: int, undisturbed: Run
) -> None:
    results, asked, served = undisturbed

    found, found_asked, found_served = run(seed, KILLS)

    assert found == results
    assert found_asked == asked
    assert found_served == served
