"""Completions while agents, the engine and the kernel are killed: each once, and the right text.

The engine is a process that speaks the real protocol and computes nothing, so that thirty kills
take seconds; tests/torch_engine kills one that computes.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from actors import connect
from tests.chaos.kernel_process import KernelProcess, kill_agent, wait_until_idle
from tests.chaos.pretend_engine import completion_of
from tests.soak import KILLS

HERE = Path(__file__).parent
ENGINE = f"{HERE / 'pretend_engine.py'}:PretendEngine"
WRITER = f"{HERE / 'writers.py'}:Writer"
WRITERS = 4
KINDS = ("write", "converse", "read")


def strike(kernel: KernelProcess, client: Any, rng: random.Random) -> None:
    """Kill the kernel, the engine or a writer."""
    kind = rng.choice(("kernel", "engine", "writer", "writer"))
    if kind == "kernel":
        kernel.replace()
    else:
        kill_agent(client, rng, kind)


def expected_text(kind: str, prompt: str, count: int) -> str:
    first = completion_of(prompt.encode(), count)
    if kind != "converse":
        return first
    return first + completion_of(f"{prompt}{first} and ".encode(), count)


def run_writers(kernel: KernelProcess, *, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    expected: dict[str, str] = {}
    completions = 0
    with connect(home=str(kernel.home)) as client:
        client.system("model_add", spec={"name": "pretend", "driver": ENGINE})
        client.system("model_use", name="pretend")
        writers = [client.spawn(WRITER, name=f"writer-{n}") for n in range(WRITERS)]
        for _ in range(kills):
            for _ in range(rng.randrange(3, 10)):
                number, kind = len(expected), rng.choice(KINDS)
                prompt, count = f"prompt {rng.randrange(50)}", rng.randrange(5, 60)
                getattr(rng.choice(writers).tell, kind)(number, prompt, count)
                expected[f"{number}"] = expected_text(kind, prompt, count)
                completions += 2 if kind == "converse" else 1
            strike(kernel, client, rng)
        wait_until_idle(client)
        found: dict[str, list[str]] = {}
        for writer in writers:
            found |= writer.report()
        assert client.system("dead_letters") == []
        check_nothing_is_left(client)
        (model,) = [info for info in client.system("models") if info["name"] == "pretend"]
    assert model["served"]["completions"] == completions
    assert found == {number: [text] for number, text in expected.items()}


def check_nothing_is_left(client: Any) -> None:
    status = client.system("llm_status")
    for engine in status["engines"]:
        assert (engine["running"], engine["waiting"], engine["blocks_used"]) == (0, 0, 0)
    assert status["owners"] == []
    (model,) = [model for model in client.system("models") if model["name"] == "pretend"]
    assert model["sessions"] == 0


@pytest.mark.slow
def test_every_completion_is_kept_once_through_thirty_kills(kernel: KernelProcess) -> None:
    run_writers(kernel, seed=2026, kills=30)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_every_completion_is_kept_once_through_very_many_kills(
    kernel: KernelProcess, seed: int
) -> None:
    run_writers(kernel, seed=seed, kills=KILLS)
