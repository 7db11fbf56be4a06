"""Completions through a real kernel and a real torch engine, each a process of its own.

Questions: how many output tokens a second do 64 concurrent requests of clients get (the same
requests as in bench/llm_engine.py), how much of the wall time does the kernel compute (budget:
5 %), what does a cached prefix save of the time to the first token (budget: at most 0.2 of the
uncached), and how soon does an urgent request start at a busy engine (budget: 2 steps).

Cost: a load of the engine, and the requests.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from actors import aconnect
from bench.llm_workload import MODELS, REQUESTS, workload
from bench.procfs import cpu_ns
from bench.world import World

PREFIX_TOKENS = 2000
CONTEXT = 4096
WAITS = 3000  # of 10 ms, for the engine to be busy
_MAKE_FOLDER = """
import sys
from transformers.utils import logging
from bench.llm_workload import make_model
logging.disable_progress_bar()  # it would run through ours
model = make_model(sys.argv[1], "eager")
model.config.max_position_embeddings = int(sys.argv[3])
model.save_pretrained(sys.argv[2])
"""


class LlmWorld:
    """A kernel with one engine of a random Llama."""

    def __init__(self, world: World, size: str) -> None:
        self.world = world
        self.size = size
        self.draws = 0  # of requests
        self.vocab_size = int(MODELS[size]["vocab_size"])
        folder = world.directory / f"model-{size}"
        command = [sys.executable, "-c", _MAKE_FOLDER, size, str(folder), str(CONTEXT)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        spec = {"name": size, "path": str(folder), "max_running": REQUESTS}
        world.client.system("model_add", spec=spec)
        world.client.system("model_use", name=size)
        world.client.system("model_load", name=size)
        self.folder = folder

    def serve(self) -> tuple[float, float]:
        """Have all requests computed at once; return tokens/s and the kernel's CPU share."""
        pid = self.world.process.pid
        self.draws += 1
        works = workload(self.vocab_size, self.draws)
        began, cpu = time.perf_counter(), cpu_ns(pid)
        asyncio.run(self._serve(works))
        elapsed = time.perf_counter() - began
        share = (cpu_ns(pid) - cpu) / 1e9 / elapsed
        return sum(work.output for work in works) / elapsed, share

    async def _serve(self, works: list[Any]) -> None:
        async with await aconnect(home=self.world.home.state_dir) as client:
            calls = (self._complete(client, work.ids, work.output) for work in works)
            done = await asyncio.gather(*calls)
        assert not any(one.usage.cached_tokens for one in done), "prompts were cached"

    async def _complete(self, client: Any, ids: list[int], count: int, **options: Any) -> Any:
        return await client.llm.complete(ids, max_tokens=count, ignore_stop_ids=True, **options)

    def first_token(self) -> tuple[float, float]:
        """Return the time to the first token of a long prompt: cached, and not, in ms."""
        rng = np.random.default_rng(time.perf_counter_ns())
        prefix = rng.integers(3, self.vocab_size, PREFIX_TOKENS).tolist()
        return asyncio.run(self._first_token(prefix))

    async def _first_token(self, prefix: list[int]) -> tuple[float, float]:
        async with await aconnect(home=self.world.home.state_dir) as client:
            times = []
            for tail in ([5, 6, 7], [8, 9, 10]):
                began = time.perf_counter()
                done = await self._complete(client, prefix + tail, 1)
                times.append((time.perf_counter() - began) * 1e3)
            assert done.usage.cached_tokens > PREFIX_TOKENS - 32, "the prefix was not found"
        return times[1], times[0]

    def urgent(self) -> float:
        """Return how many steps end before the one in which an urgent request starts."""
        return asyncio.run(self._urgent())

    async def _urgent(self) -> float:
        rng = np.random.default_rng(7)
        async with await aconnect(home=self.world.home.state_dir) as client:
            busy = [
                asyncio.create_task(
                    self._complete(client, rng.integers(3, 99, 32).tolist(), 100, priority=6)
                )
                for _ in range(2 * REQUESTS)
            ]
            for _ in range(WAITS):
                if (await self._engine(client))["running"] == REQUESTS:
                    break
                await asyncio.sleep(0.01)
            before = (await self._engine(client))["steps"]
            await self._complete(client, rng.integers(3, 99, 16).tolist(), 1, priority=0)
            steps = (await self._engine(client))["steps"] - before - 1  # the last is its own
            for task in busy:
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
        return float(steps)

    async def _engine(self, client: Any) -> Any:
        status = await client.system("llm_status")
        return next(line for line in status["engines"] if line["model"] == self.size)


@contextmanager
def llm_world(size: str) -> Iterator[LlmWorld]:
    """Yield a kernel with a ready engine."""
    with World() as world:
        made = LlmWorld(world, size)
        try:
            yield made
        finally:
            shutil.rmtree(made.folder, ignore_errors=True)


def main() -> None:
    """Print what one size gives, one run each."""
    size = sys.argv[1] if len(sys.argv) > 1 else "small"
    with llm_world(size) as world:
        for _ in range(3):
            rate, share = world.serve()
            print(f"{rate:.0f} output tokens/s, kernel {100 * share:.1f} % of the wall time")
        cached, uncached = world.first_token()
        print(f"first token: {cached:.1f} ms cached, {uncached:.1f} ms not")
        print(f"an urgent request starts after {world.urgent():.0f} steps")


if __name__ == "__main__":
    main()
